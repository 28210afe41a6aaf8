"""What runs of a query before tell of its next one: rows, seconds and CPU."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from prefect_narrative.forecasts.estimators import Estimate, known

LATEST = 5
"""So many runs of a query tell about the next one."""
DRIFT = 0.15
"""By how much the rows of a query may differ from what its last run, corrected, makes one expect."""


@dataclass(frozen=True)
class PastRun:
    """A run of the same query."""

    rows: int
    """That it returned."""
    forecast_rows: float | None
    """What was forecast before it, from samples alone; None: nothing was."""
    unchanged: bool
    """Whether all that it read is still as it was."""


@dataclass(frozen=True)
class Taken:
    """What a run took."""

    scanned_bytes: int
    seconds: float
    cpu_seconds: float | None
    same_query: bool


@dataclass(frozen=True)
class Pace:
    """What a query is expected to take."""

    seconds: float
    cpu_seconds: float | None
    runs: int
    """So many runs tell it."""
    same_query: bool
    """Whether they are of the same query; else it is fitted to the bytes that others scanned."""


def learned(rows: Estimate, past: Sequence[PastRun]) -> tuple[Estimate, str | None]:
    """Return what samples tell of a query, corrected by what its own runs returned, and how.

    A sample errs in the same way each time. So the ratio of what came back to what was forecast, of the latest runs, is
    what a forecast is multiplied by: a ratio estimator (Cochran, Sampling Techniques, 1977, chapter 6).

    Args:
        rows: What samples tell.
        past: The runs, the newest first.
    """
    if rows.exact or not past:
        return rows, None
    if past[0].unchanged:
        return known(past[0].rows), "as in its last run: what it reads has not changed since"
    ratios = [
        one.rows / one.forecast_rows
        for one in past[:LATEST]
        if one.forecast_rows and one.forecast_rows > 0 and one.rows
    ]
    if not ratios:
        return rows, None
    middle = statistics.median(ratios)
    spread = max((max(ratio / middle, middle / ratio) - 1 for ratio in ratios), default=0.0)
    width = max(DRIFT, spread)
    point = rows.rows * middle
    corrected = Estimate(point, point / (1 + width), point * (1 + width))
    return corrected, f"corrected by the {len(ratios)} latest of its own runs"


def pace(scanned_bytes: int, past: Sequence[Taken]) -> Pace | None:
    """Return what a query is expected to take; None where no run tells.

    Runs of the same query: the middle one of the latest, in proportion to the bytes scanned. Else a line through all
    runs, by least squares, seconds = fixed + bytes / speed, neither of them negative.

    Args:
        scanned_bytes: What it would scan.
        past: Runs, the newest first.
    """
    same = [one for one in past if one.same_query][:LATEST]
    if same:
        factors = [max(1, scanned_bytes) / max(1, one.scanned_bytes) for one in same]
        times = [one.seconds * min(4.0, max(0.25, factor)) for one, factor in zip(same, factors, strict=True)]
        cpus = [one.cpu_seconds for one in same if one.cpu_seconds is not None]
        return Pace(statistics.median(times), statistics.median(cpus) if cpus else None, len(same), same_query=True)
    if not past:
        return None
    measured = [one for one in past if one.cpu_seconds is not None]
    cpu = _line(scanned_bytes, [(one.scanned_bytes, one.cpu_seconds or 0.0) for one in measured]) if measured else None
    seconds = _line(scanned_bytes, [(one.scanned_bytes, one.seconds) for one in past])
    return Pace(seconds, cpu, len(past), same_query=False)


def _line(at: int, points: Sequence[tuple[int, float]]) -> float:
    """Return the value at a place of the line through points."""
    mean_x = statistics.fmean(x for x, _ in points)
    mean_y = statistics.fmean(y for _, y in points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
    slope = max(0.0, slope)
    fixed = mean_y - slope * mean_x
    if fixed < 0:
        fixed, slope = 0.0, mean_y / mean_x if mean_x else 0.0
    return fixed + slope * at
