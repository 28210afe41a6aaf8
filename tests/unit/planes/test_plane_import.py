"""Importing the package must not load the engine: blocks and the command line import it everywhere."""

import subprocess
import sys


def test_the_package_loads_no_engine() -> None:
    code = (
        "import sys, prefect_narrative.planes; print([m for m in ('duckdb', 'sqlglot', 'prefect') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
