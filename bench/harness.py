"""What the benches share: their options, interleaved pairs, medians, a table for people and a line for programs.

Figures of one run are compared with each other only. Seconds differ from machine to machine and from hour to hour;
the ratio of two things that were measured in turns, in one run, does not.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Options:
    """How a bench was asked to run."""

    quick: bool
    """A short form: it shows that the bench works, its figures say little."""
    as_json: bool
    """One JSON object as the last line of stdout, instead of a table."""


def options(description: str | None) -> Options:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--quick", action="store_true", help="a short form, whose figures say little")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of stdout")
    given = parser.parse_args()
    return Options(quick=given.quick, as_json=given.json)


def note(text: str) -> None:
    """Tell a person what the bench does now; stdout is for the figures."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Pairs:
    """Two things measured in turns; all lists in the order of the runs."""

    base: tuple[float, ...]
    other: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Median of the pairs' ratios: what slows the machine down for a while slows down both of a pair."""
        return statistics.median(other / base for base, other in zip(self.base, self.other, strict=True))

    @property
    def ratio_range(self) -> tuple[float, float]:
        """Bounds of the middle half of the pairs' ratios: how far to trust the median."""
        ratios = [other / base for base, other in zip(self.base, self.other, strict=True)]
        return percentile(ratios, 25), percentile(ratios, 75)

    @property
    def added(self) -> float:
        """Median of the pairs' differences."""
        return statistics.median(other - base for base, other in zip(self.base, self.other, strict=True))


def interleaved(
    count: int, base: Callable[[], tuple[float, ...]], other: Callable[[], tuple[float, ...]]
) -> list[Pairs]:
    """Measure two things in turns, A B A B; each call returns its figures, and there are pairs for each figure."""
    runs = [(base(), other()) for _ in range(count)]
    bases, others = (tuple(zip(*side, strict=True)) for side in zip(*runs, strict=True))
    return [Pairs(*figures) for figures in zip(bases, others, strict=True)]


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Return how long a call takes by the wall clock, and how much CPU time this process used meanwhile."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest of the values that at least `percent` of a hundred of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


_MEASURE = """\
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
print(used.ru_maxrss * 1024)
sys.exit(1 if status else 0)
"""


def peak_memory_bytes(command: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
    """Run a command and return the largest resident size that its process had, imports and all.

    A small process stands between: Linux counts to a new process's peak what its parent had in memory.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    measured = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _MEASURE, *command],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return int(measured.stdout)


def report(given: Options, title: str, rows: Sequence[Sequence[str]], figures: Mapping[str, Any]) -> None:
    """Print the figures: a table for people, or one line for programs.

    Args:
        given: How the bench was asked to run.
        title: What was measured, above the table.
        rows: The table's lines, its heading first.
        figures: The JSON object; floats are rounded to four digits behind the point.
    """
    if given.as_json:
        print(json.dumps({name: _rounded(value) for name, value in figures.items()}), flush=True)
        return
    table = Table(title=title, title_justify="left")
    for number, heading in enumerate(rows[0]):
        table.add_column(heading, justify="right" if number else "left")
    for row in rows[1:]:
        table.add_row(*row)
    console = Console()
    # In a pipe there is no width to keep to.
    (console if console.is_terminal else Console(width=130)).print(table)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, Mapping):
        return {name: _rounded(one) for name, one in value.items()}
    return value
