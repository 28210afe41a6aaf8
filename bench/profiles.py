"""What measuring all columns costs: TPC-H's lineitem with ten columns, against others that find the same.

Each side is a process of its own, with two threads and 2 GB of memory for the engine; imports do not count. In turns:

- all twelve statistics of each column, as the job `calculate-column-statistics` calculates them;
- a raw scan: the largest value of each column;
- a query by hand for the same figures: one statement with every plain aggregate of every column, exact and approximate
  distinct values among them, then one with all histograms (bins over the bounds that are known by then, most frequent
  values of text);
- `SUMMARIZE`, which has approximate distinct values only, quartiles instead of histograms, and no stored bytes;
- pandas: Parquet files of the same rows read whole, then the same figures column by column.

And growth: the same with more rows, and with more columns, against the smallest of each.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import harness
from views_lake import by_hand, private_plane, settings_in, write

from prefect_narrative.planes import Plane, Write

BENCH = Path(__file__).parent
ROWS_A_SCALE = 6_000_000
"""About so many rows has lineitem at scale 1."""
COLUMNS = (
    "l_orderkey", "l_partkey", "l_suppkey", "l_linenumber", "l_quantity", "l_extendedprice", "l_discount",
    "l_returnflag", "l_shipdate", "l_shipmode",
)  # fmt: skip


@dataclass(frozen=True)
class Counts:
    """How much is measured."""

    rows: int
    """Of lineitem, at least."""
    pairs: int
    pandas_pairs: int
    growth: tuple[int, ...]
    """Rows."""
    columns: tuple[int, ...]


FULL = Counts(18_000_000, 3, 1, (1_000_000, 10_000_000, 100_000_000), (10, 100, 1000))
QUICK = Counts(60_000, 1, 1, (10_000, 50_000), (5, 20))


def main() -> None:
    """Measure and report."""
    given = harness.options(__doc__)
    counts = QUICK if given.quick else FULL
    rows = [["", "reference", "here", "ratio", "its middle half"]]
    figures: dict[str, Any] = {"runs": {"rows": counts.rows, "pairs": counts.pairs}}
    with private_plane() as (home, plane):
        harness.note(f"making {counts.rows:,} rows of lineitem")
        _make_lineitem(home, plane, counts.rows)
        at = plane.snapshot()
        for name, how, pairs in (
            ("scan", "scan", counts.pairs),
            ("hand_written", "hand", counts.pairs),
            ("summarize", "summarize", counts.pairs),
            ("pandas", "pandas", counts.pandas_pairs),
        ):
            harness.note(f"{name}, {pairs} pairs")
            other = _side(how, home, at)
            seconds, cpu, memory = harness.interleaved(pairs, other, _side("profile", home, at))
            rows += [_line(name, seconds, 1, "s"), _line("  CPU", cpu, 1, "s")]
            rows.append(_line("  peak memory", memory, 2.0**20, "MiB"))
            speedup = name in {"summarize", "pandas"}
            figures[f"{name}_{'speedup' if speedup else 'ratio'}"] = 1 / seconds.ratio if speedup else seconds.ratio
            figures[f"{name}_cpu_ratio"], figures[f"{name}_memory_ratio"] = cpu.ratio, memory.ratio
            figures["peak_mb"] = statistics.median(memory.other) / 1e6
        grown = _growth(home, plane, counts)
        rows += grown[0]
        figures.update(grown[1])
    harness.report(given, "Measuring columns (plain figures are medians)", rows, figures)


def _make_lineitem(home: Path, plane: Plane, rows: int) -> None:
    """Load lineitem, as the TPC-H extension makes it, into the plane and into Parquet files."""
    folder = settings_in(home).allowed_import_roots[0]
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(BENCH / "lineitem.py"), str(folder), str(rows / ROWS_A_SCALE), ",".join(COLUMNS)]
    subprocess.run(command, check=True)
    job = uuid4()
    stage = plane.stage_files(job, 1, "lineitem", "lineitem.parquet", "parquet")
    plane.publish(job, 1, [Write("lineitem", "replace", stage)], {})


def _side(how: str, home: Path, at: int, dataset: str = "lineitem") -> Callable[[], tuple[float, ...]]:
    given = {"how": how, "home": str(home), "dataset": dataset, "at": at, **by_hand(home)}
    command = [sys.executable, str(BENCH / "profile_sides.py"), json.dumps(given)]

    def run() -> tuple[float, ...]:
        return tuple(json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout))

    return run


def _line(name: str, pairs: harness.Pairs, size: float, unit: str) -> list[str]:
    base, other = (statistics.median(side) / size for side in (pairs.base, pairs.other))
    low, high = pairs.ratio_range
    digits = 2 if unit == "s" else 0
    figures = [f"{base:.{digits}f} {unit}", f"{other:.{digits}f} {unit}"]
    return [f"{name} ({len(pairs.base)})", *figures, f"{pairs.ratio:.3f}", f"{low:.3f} - {high:.3f}"]


def _growth(home: Path, plane: Plane, counts: Counts) -> tuple[list[list[str]], dict[str, Any]]:
    """Measure ever more rows of ten columns, and ever more columns of as many values in all."""
    wide: list[tuple[str, Sequence[str]]] = []
    for rows in counts.growth:
        query = ", ".join(f"hash(i + {number}) % {10 ** (number % 8)} AS c{number}" for number in range(10))
        _write_parts(plane, f"rows_{rows}", query, rows)
        wide.append((f"{rows:,} rows", [f"rows_{rows}"]))
    for columns in counts.columns:
        rows = max(1, counts.growth[0] // columns)
        query = ", ".join(f"hash(i + {number}) % {10 ** (number % 6)} AS c{number}" for number in range(columns))
        _write_parts(plane, f"columns_{columns}", query, rows)
        wide.append((f"{columns:,} columns of {rows:,} rows", [f"columns_{columns}"]))
    at = plane.snapshot()
    lines, figures = [], {}
    for count, first in ((len(counts.growth), 0), (len(counts.columns), len(counts.growth))):
        base: tuple[float, ...] | None = None
        for name, (dataset,) in wide[first : first + count]:
            harness.note(name)
            seconds, _, memory = _side("profile", home, at, dataset)()
            base = base or (seconds, memory)
            figures[f"seconds_{dataset}"] = seconds
            figures[f"mb_{dataset}"] = memory / 1e6
            ratio, size = f"{seconds / base[0]:.1f}", f"{memory / 2**20:.0f} MiB"
            lines.append([name, f"{base[0]:.2f} s", f"{seconds:.2f} s", ratio, size])
    smallest, largest = counts.growth[0], counts.growth[-1]
    more = figures[f"seconds_rows_{largest}"] / figures[f"seconds_rows_{smallest}"]
    figures["growth_ratio"] = more / (largest / smallest)
    figures["columns_growth"] = (
        figures[f"seconds_columns_{counts.columns[-1]}"] / figures[f"seconds_columns_{counts.columns[0]}"]
    )
    return lines, figures


def _write_parts(plane: Plane, name: str, columns: str, rows: int) -> None:
    step = 10_000_000
    for first in range(0, rows, step):
        query = f"SELECT {columns} FROM range({first}, {min(rows, first + step)}) AS source(i)"
        write(plane, name, query, "append" if first else "replace")


if __name__ == "__main__":
    main()
