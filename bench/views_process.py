"""One refresh of a view in a process of its own: `python views_process.py <home> <view>`.

It prints, as JSON, the seconds from the opening of the plane to its closing, those of CPU, and the process's largest
resident size in bytes.
"""

import json
import sys
import time
from pathlib import Path

from views_lake import opened, refresh
from views_raw import peak_memory_bytes


def main() -> None:
    """Refresh the view and print what it took."""
    begin, cpu = time.perf_counter(), time.process_time()
    with opened(Path(sys.argv[1])) as plane:
        refresh(plane, sys.argv[2], "full")
    took = [time.perf_counter() - begin, time.process_time() - cpu, peak_memory_bytes()]
    print(json.dumps(took))


if __name__ == "__main__":
    main()
