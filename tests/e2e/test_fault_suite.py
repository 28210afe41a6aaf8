"""The fault suite: a slice of it, chosen by a seed, in each test run, and all of it in the long one.

`NARRATIVE_FAULTS_SEED` chooses another slice; `python bench/faults.py --only NAME` plays one cell again.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import environment_of, nothing_runs_in

FAULTS = Path(__file__).parents[2] / "bench" / "faults.py"
SEED = os.environ.get("NARRATIVE_FAULTS_SEED", "3")
SLICE = 1


def play(folder: Path, *arguments: str, seconds: float) -> dict[str, Any]:
    """Play cells, and return the figures once nothing of them runs any more."""
    with (folder / "told.txt").open("w+") as told:
        done = subprocess.run(
            [sys.executable, str(FAULTS), "--json", *arguments],
            cwd=folder,
            env=environment_of(folder),
            stdout=subprocess.PIPE,
            stderr=told,
            text=True,
            check=False,
            timeout=seconds,
        )
        told.seek(0)
        print(told.read())  # how each cell went, for whoever reads why the test failed
    assert nothing_runs_in(folder)
    assert not list((folder / "tmp").iterdir())
    assert done.stdout, "it broke off"
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def faults(figures: dict[str, Any]) -> dict[str, Any]:
    """What must be 0 or empty; how long the table was wrong is for a quiet machine to say."""
    counts = ("wrong_for_ever", "rows_lost", "rows_doubled", "promises_broken")
    bad = {name: cell for name, cell in figures["by_cell"].items() if cell["wrong_for_ever"] or cell["broken"]}
    return {**{name: figures[name] for name in counts}, "bad": bad}


SOUND = {"wrong_for_ever": 0, "rows_lost": 0, "rows_doubled": 0, "promises_broken": 0, "bad": {}}


@pytest.mark.timeout(400)
def test_a_slice_of_the_faults(tmp_path: Path) -> None:
    figures = play(tmp_path, "--table", "sqlite", "--sample", str(SLICE), "--seed", SEED, seconds=380)
    assert (figures["cells"], faults(figures)) == (SLICE, SOUND)


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("table", ["sqlite", "postgresql"])
def test_all_faults(table: str, tmp_path: Path) -> None:
    figures = play(tmp_path, "--table", table, "--long", seconds=7000)
    assert faults(figures) == SOUND
