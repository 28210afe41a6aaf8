"""Full refreshes against `CREATE TABLE AS` of the same query by hand, each in a process of its own."""

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness
from views_lake import CUSTOMERS, SHAPES, by_hand, define, private_plane, write, write_events

BENCH = Path(__file__).parent
CUSTOMER_COUNT = 500_000


@dataclass(frozen=True)
class FullFigures:
    """What was measured of one query."""

    shape: str
    seconds: harness.Pairs
    """By hand, and refreshed."""
    cpu: harness.Pairs
    memory: harness.Pairs
    """Bytes."""


def full_against_ctas(rows: int, pairs: int, shapes: Sequence[str]) -> list[FullFigures]:
    """Measure full refreshes of views over so many rows, in turns with the same by hand."""
    found = []
    with private_plane() as (home, plane):
        harness.note(f"making {rows:,} rows")
        write_events(plane, "events", rows, customers=CUSTOMER_COUNT)
        write(plane, "customers", CUSTOMERS.format(customers=CUSTOMER_COUNT))
        for shape in shapes:
            harness.note(f"full refresh of {shape}, {pairs} pairs")
            query = SHAPES[shape].format(events="events", customers="customers")
            define(plane, shape, query)
            raw = _raw_command(home, shape, plane.snapshot())
            ours = [sys.executable, str(BENCH / "views_process.py"), str(home), shape]
            measured = harness.interleaved(pairs, lambda raw=raw: _run(raw), lambda ours=ours: _run(ours))
            found.append(FullFigures(shape, *measured))
    return found


def lines(found: Sequence[FullFigures]) -> list[list[str]]:
    """Return the table's lines: by hand, here, ratio and its middle half."""
    table = []
    for one in found:
        for name, pairs, unit, size in (
            (f"full refresh, {one.shape}", one.seconds, "s", 1.0),
            ("  CPU", one.cpu, "s", 1.0),
            ("  peak memory", one.memory, "MiB", 2.0**20),
        ):
            base, other = (statistics.median(side) / size for side in (pairs.base, pairs.other))
            low, high = pairs.ratio_range
            digits = 2 if unit == "s" else 0
            figures = [f"{base:.{digits}f} {unit}", f"{other:.{digits}f} {unit}"]
            table.append([f"{name} ({len(pairs.base)})", *figures, f"{pairs.ratio:.3f}", f"{low:.3f} - {high:.3f}"])
    return table


def figures(found: Sequence[FullFigures]) -> dict[str, Any]:
    """Return the figures for programs; the two ratios are those of the query that comes off worst."""
    return {
        "full_ratio": max(one.seconds.ratio for one in found),
        "full_cpu_ratio": max(one.cpu.ratio for one in found),
        "full_memory_ratio": max(one.memory.ratio for one in found),
        "full_ratios": {one.shape: one.seconds.ratio for one in found},
        "full_cpu_ratios": {one.shape: one.cpu.ratio for one in found},
        "full_memory_ratios": {one.shape: one.memory.ratio for one in found},
    }


def _raw_command(home: Path, shape: str, snapshot: int) -> list[str]:
    events, customers = (f"lake.main.{name} AT (VERSION => {snapshot})" for name in ("events", "customers"))
    query = SHAPES[shape].format(events=events, customers=customers)
    given = {**by_hand(home), "statement": f"CREATE OR REPLACE TABLE lake.main.{shape}_by_hand AS {query}"}
    return [sys.executable, str(BENCH / "views_raw.py"), json.dumps(given)]


def _run(command: list[str]) -> tuple[float, ...]:
    return tuple(json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout))
