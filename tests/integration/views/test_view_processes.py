"""Processes that refresh overlapping views at once: no errors, no view that is a mixture, and the truth at the end."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from uuid import uuid4

import pytest
from view_crowd import LAST, ROUNDS
from view_world import check_world, make_world, opened, refresh

from prefect_narrative.views.lineage import Lineage

SCRIPT = Path(__file__).with_name("view_crowd.py")


def start(*arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(process: "subprocess.Popen[str]") -> "Counter[str]":
    output, errors = process.communicate(timeout=1500)
    assert process.returncode == 0, errors[-3000:]
    return Counter(json.loads(output))


def crowd(home: Path, workers: int, seconds: float) -> tuple["Counter[str]", "Counter[str]"]:
    """Let processes work for so many seconds, and one read; return what the workers and the reader have done."""
    reader = start("read", home)
    crew = [start("work", home, number, seconds) for number in range(1, workers + 1)]
    try:
        worked: Counter[str] = Counter()
        for process in crew:
            worked += ended(process)
        (home / LAST).touch()
        return worked, ended(reader)
    finally:
        for process in (reader, *crew):
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    ("workers", "seconds"),
    [
        pytest.param(3, 0, id="3 processes", marks=pytest.mark.long),
        pytest.param(8, 240, id="8 processes", marks=[pytest.mark.long, pytest.mark.timeout(1800)]),
    ],
)
def test_processes_refresh_overlapping_views_at_once(tmp_path: Path, workers: int, seconds: float) -> None:
    home = tmp_path / "home"
    with opened(home) as plane:
        make_world(plane)
        worked, read = crowd(home, workers, seconds)
        assert worked["rounds"] >= workers * ROUNDS
        assert read["looks"] >= 1
        lineage = Lineage.of(plane.descriptions())
        check_world(plane)
        for view in sorted(lineage.reads, key=lambda view: len(lineage.ancestors(view))):
            refresh(plane, uuid4(), 1, view, "auto")
        check_world(plane, up_to_date=True)
