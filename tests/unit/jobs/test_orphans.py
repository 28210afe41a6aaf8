"""A process goes on when nobody reads its output any more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import logging, sys
from pathlib import Path
from rich.console import Console
from prefect_narrative.jobs.orphans import outlive_readers

if sys.argv[2] == "outlives":
    outlive_readers()
console = Console(file=sys.stderr)
for number in range(3):
    console.print("line", number)
    print("said", flush=True) if sys.argv[2] == "outlives" else None
Path(sys.argv[1]).write_text("went on")
"""


@pytest.mark.parametrize(("how", "goes_on"), [("outlives", True), ("as rich does", False)])
def test_a_broken_pipe_ends_it_only_without_care(how: str, goes_on: bool, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    told = tmp_path / "told"
    subprocess.run([sys.executable, "-c", SCRIPT, str(told), how], stdout=write, stderr=write, check=False, timeout=60)
    os.close(write)
    assert told.exists() is goes_on
