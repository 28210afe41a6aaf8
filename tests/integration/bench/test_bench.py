"""Every bench runs in its short form and prints the figures that it promises; what they are is for a quiet machine."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

BENCH = Path(__file__).parents[3] / "bench"
DATABASES = ("sqlite", "postgresql")
PROMISED = {
    "hooks.py": {
        *(
            f"{table}_{what}_p{percent}_ms"
            for table in DATABASES
            for what in ("hook", "insert")
            for percent in (50, 99)
        ),
        *(f"{table}_hook_ratio" for table in DATABASES),
        "delay_seconds",
        "delay_ratio",
        "delay_max_seconds",
        "runs",
    },
    "overhead.py": {
        "overhead_ratio",
        "overhead_ratio_worker",
        "overhead_ratio_empty",
        "hook_p50_ms",
        "hook_p99_ms",
        "runs",
    },
    "profiles.py": {
        "scan_ratio",
        "hand_written_ratio",
        "summarize_speedup",
        "pandas_speedup",
        "peak_mb",
        "growth_ratio",
        "columns_growth",
        "runs",
    },
    "samples.py": {"growth_ratio", "random_100_of_50000", "random_1000_of_50000", "first_100_of_50000", "runs"},
    "views.py": {
        "full_ratio",
        "full_cpu_ratio",
        "full_memory_ratio",
        "append_speedup",
        "append_ratio_by_hand",
        "merge_speedup",
        "merge_ratio_by_hand",
        "no_change_ms",
        "plan_views_growth",
        "plan_rows_growth",
        "auto_right",
        "runs",
    },
}


def scripts() -> set[str]:
    return {path.name for path in BENCH.glob("*.py") if "harness.options(" in path.read_text()}


def test_every_bench_promises_figures() -> None:
    assert scripts() == set(PROMISED)


def test_no_module_hides_one_of_the_standard_library() -> None:
    assert not {path.stem for path in BENCH.glob("*.py")} & sys.stdlib_module_names


def processes_in(folder: Path) -> list[str]:
    """The command lines of all processes that work in a folder, as their environment says."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(str(folder) in value for value in process.environ().values()):
                found.append(" ".join(process.cmdline()))
    return found


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", sorted(PROMISED))
def test_the_short_form_prints_the_figures_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("NARRATIVE_", "PREFECT_"))}
    done = subprocess.run(
        [sys.executable, str(BENCH / name), "--quick", "--json"],
        cwd=tmp_path,
        env={**kept, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=540,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures.keys() >= PROMISED[name]
    assert not list(tmp_path.glob("narrative-bench-*"))
    assert not processes_in(tmp_path)
