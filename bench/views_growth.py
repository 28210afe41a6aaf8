"""What deciding and refreshing take as a plane grows: views, and rows."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import harness
from views_lake import SHAPES, define, define_many, private_plane, refresh, write_events

from prefect_narrative.planes import Plane
from prefect_narrative.views.refreshing import plan_refresh

CUSTOMER_COUNT = 10_000
CHANGED_ROWS = 10_000
TIMES = 20
QUERY = SHAPES["groups"].format(events="events")


@dataclass(frozen=True)
class Planning:
    """What deciding takes on a plane of some size; milliseconds, medians."""

    size: int
    """Views, or rows."""
    unchanged_ms: float
    """To find that there is nothing to do."""
    changed_ms: float
    """To find what there is to do."""
    snapshot_ms: float
    """The reference: to ask for the newest snapshot only."""


def by_views(counts: Sequence[int]) -> list[Planning]:
    """Measure planning on planes with so many views, each on the same small dataset."""
    found = []
    with private_plane() as (_, plane):
        write_events(plane, "events", 1000, customers=100)
        made = 0
        for count in counts:
            harness.note(f"{count:,} views")
            for first in range(made, count, 100):
                define_many(plane, first, min(first + 100, count), QUERY)
            made = count
            found.append(_planning(plane, "view_0", count, first=1000 * (len(found) + 1), changed=10))
    return found


def by_rows(counts: Sequence[int]) -> tuple[list[Planning], list[float]]:
    """Measure planning and full refreshes of a view over so many rows; seconds of the refreshes."""
    found, seconds = [], []
    with private_plane() as (_, plane):
        made = 0
        for count in counts:
            harness.note(f"{count:,} rows")
            write_events(plane, "events", count - made, customers=CUSTOMER_COUNT, first=made)
            if not made:
                define(plane, "grown", QUERY)
            made = count
            seconds.append(harness.seconds(lambda: refresh(plane, "grown", "full"))[0])
            planning = _planning(plane, "grown", count, first=made, changed=CHANGED_ROWS)
            made += CHANGED_ROWS
            found.append(planning)
    return found, seconds


def figures(views: Sequence[Planning], rows: Sequence[Planning], seconds: Sequence[float]) -> dict[str, Any]:
    """Return the figures for programs."""
    return {
        "no_change_ms": views[0].unchanged_ms,
        "no_change_ms_by_views": {one.size: one.unchanged_ms for one in views},
        "plan_ms_by_views": {one.size: one.changed_ms for one in views},
        "plan_views_growth": views[-1].changed_ms / views[0].changed_ms,
        "no_change_ms_by_rows": {one.size: one.unchanged_ms for one in rows},
        "plan_ms_by_rows": {one.size: one.changed_ms for one in rows},
        "plan_rows_growth": rows[-1].changed_ms / rows[0].changed_ms,
        "full_seconds_by_rows": {one.size: second for one, second in zip(rows, seconds, strict=True)},
    }


def lines(views: Sequence[Planning], rows: Sequence[Planning], seconds: Sequence[float]) -> list[list[str]]:
    """Return the table's lines: the newest snapshot asked for, planning, and their ratio."""
    table = []
    for what, found in (("views", views), ("rows", rows)):
        for one in found:
            for name, figure in (("nothing changed", one.unchanged_ms), ("planning a refresh", one.changed_ms)):
                ratio = f"{figure / one.snapshot_ms:.2f}"
                table.append(
                    [f"{name}, {one.size:,} {what}", f"{one.snapshot_ms:.1f} ms", f"{figure:.1f} ms", ratio, ""]
                )
    first = seconds[0]
    for one, second in zip(rows, seconds, strict=True):
        table.append(
            [f"full refresh, {one.size:,} rows", f"{first:.2f} s", f"{second:.2f} s", f"{second / first:.2f}", ""]
        )
    return table


def _planning(plane: Plane, view: str, size: int, *, first: int, changed: int) -> Planning:
    refresh(plane, view, "full")
    unchanged = _milliseconds(plane, view, "no_data")
    write_events(plane, "events", changed, customers=CUSTOMER_COUNT, first=first)
    return Planning(size, unchanged, _milliseconds(plane, view), _median(plane.snapshot))


def _milliseconds(plane: Plane, view: str, action: str | None = None) -> float:
    plan = plan_refresh(plane, view)
    if (plan.action == "no_data") != (action == "no_data"):
        raise RuntimeError(f"the plan for {view} is {plan.action}: {plan.reason}")
    return _median(lambda: plan_refresh(plane, view))


def _median(work: Any) -> float:
    return 1000 * statistics.median(harness.seconds(work)[0] for _ in range(TIMES))
