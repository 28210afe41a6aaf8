"""One statement by hand, in a process of its own: DuckDB and its lake, and no code of ours.

`python views_raw.py '<JSON>'` with `config`, `extensions` (paths), `attach` and `statement`. It prints, as JSON, the
seconds from the opening of the engine to its closing, those of CPU, and the process's largest resident size in bytes.
"""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb


def opened(given: Mapping[str, Any]) -> duckdb.DuckDBPyConnection:
    """Return a connection with the lake attached."""
    connection = duckdb.connect(":memory:", config=given["config"])
    for path in given["extensions"]:
        connection.execute(f"LOAD '{path}'")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(given["attach"])
    return connection


def peak_memory_bytes() -> int:
    """Return the largest resident size that this process has had, imports and all; its parent's does not count."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def main() -> None:
    """Run the statement and print what it took."""
    given = json.loads(sys.argv[1])
    begin, cpu = time.perf_counter(), time.process_time()
    connection = opened(given)
    connection.execute(given["statement"])
    connection.close()
    took = [time.perf_counter() - begin, time.process_time() - cpu, peak_memory_bytes()]
    print(json.dumps(took))


if __name__ == "__main__":
    main()
