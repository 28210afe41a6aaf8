"""A seeded slice of the fault suite; `python bench/faults.py` plays all of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"
SEED = 4


@pytest.mark.timeout(900)
def test_the_table_becomes_true_again_whatever_happens_to_the_processes() -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NARRATIVE_", "PREFECT_"))}
    asked = ["--table", "sqlite", "--sample", "8", "--seed", str(SEED), "--json"]
    done = subprocess.run(
        [sys.executable, str(BENCH / "faults.py"), *asked], env=kept, capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    wrong = {name: one for name, one in told["by_cell"].items() if one["verdict"] != "right"}
    assert (told["cells"], told["not_played"]) == (8, {})
    assert [told[name] for name in ("wrong_for_ever", "rows_lost", "rows_doubled", "promises_broken")] == [0] * 4, wrong
