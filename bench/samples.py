"""What a sample costs as a dataset grows: 100 and 1,000 random rows, and the first 100, of 1 to 100 million.

The reference is what DuckDB offers by hand for as many random rows: `USING SAMPLE reservoir(n ROWS)`, which reads
all of them. Both read the same lake, one after the other, on connections that are open and have been used; what is
read from files is what the process says (`rchar` of /proc/self/io), whether the system had it in memory or not.
"""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb
import harness
from views_lake import by_hand, private_plane, write_events
from views_raw import opened

from prefect_narrative.planes import Plane

CUSTOMERS = 500_000


@dataclass(frozen=True)
class Counts:
    """How much is measured."""

    rows: tuple[int, ...]
    pairs: int


FULL = Counts((1_000_000, 10_000_000, 100_000_000), 5)
QUICK = Counts((10_000, 50_000), 1)
WAYS: tuple[tuple[str, Literal["random", "first"], int], ...] = (
    ("random_100", "random", 100),
    ("random_1000", "random", 1000),
    ("first_100", "first", 100),
)


def main() -> None:
    """Measure and report."""
    given = harness.options(__doc__)
    counts = QUICK if given.quick else FULL
    lines = [["", "by hand", "here", "ratio", "read by hand", "read here"]]
    figures: dict[str, Any] = {"runs": {"rows": list(counts.rows), "pairs": counts.pairs}}
    with private_plane() as (home, plane):
        for rows in counts.rows:
            harness.note(f"making {rows:,} rows")
            write_events(plane, f"events_{rows}", rows, customers=CUSTOMERS)
        hand = opened(by_hand(home))
        for rows in counts.rows:
            for name, method, wanted in WAYS:
                harness.note(f"{name} of {rows:,}")
                base = _by_hand(hand, f"events_{rows}", plane.snapshot(), method, wanted)
                here = _here(plane, f"events_{rows}", method, wanted)
                base(), here()  # the first of each opens files
                seconds, read = harness.interleaved(counts.pairs, base, here)
                before, after = (statistics.median(side) for side in (seconds.base, seconds.other))
                files = plane.dataset(f"events_{rows}").bytes
                shares = [statistics.median(side) / files for side in (read.base, read.other)]
                figures[f"{name}_of_{rows}"] = {"seconds": after, "ratio": seconds.ratio, "read_share": shares[1]}
                lines.append(
                    [f"{name} of {rows:,}", f"{before:.3f} s", f"{after:.3f} s", f"{seconds.ratio:.2f}"]
                    + [f"{share:.0%}" for share in shares]
                )
        hand.close()
    smallest, largest = (figures[f"random_100_of_{rows}"]["seconds"] for rows in (counts.rows[0], counts.rows[-1]))
    figures["growth_ratio"] = (largest / smallest) / (counts.rows[-1] / counts.rows[0])
    harness.report(given, "Samples (medians; what was read, of the dataset's stored bytes)", lines, figures)


def _measured(work: Callable[[], object]) -> tuple[float, ...]:
    read, begin = _read_bytes(), time.perf_counter()
    work()
    return time.perf_counter() - begin, float(_read_bytes() - read)


def _read_bytes() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("rchar:"))


def _by_hand(
    connection: duckdb.DuckDBPyConnection, dataset: str, at: int, method: str, rows: int
) -> Callable[[], tuple[float, ...]]:
    source = f"FROM lake.main.{dataset} AT (VERSION => {at})"
    chosen = f"USING SAMPLE reservoir({rows} ROWS) REPEATABLE (7)" if method == "random" else f"LIMIT {rows}"

    def work() -> None:
        json.dumps(connection.execute(f"SELECT * {source} {chosen}").fetchall(), default=str)

    return lambda: _measured(work)


def _here(plane: Plane, dataset: str, method: Literal["random", "first"], rows: int) -> Callable[[], tuple[float, ...]]:
    def work() -> None:
        json.dumps(plane.sample(dataset, at=plane.snapshot(), rows=rows, method=method, seed=7).rows)

    return lambda: _measured(work)


if __name__ == "__main__":
    main()
