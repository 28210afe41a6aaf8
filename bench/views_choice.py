"""How often `auto` chooses the better of the two ways to refresh a view: three copies of it, and both ways measured.

One copy is always refreshed by what has changed, one always in full, the third one as `auto` says; a choice is right
where the way that was chosen took at most a tenth longer than the other one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import harness
from views_lake import CUSTOMERS, SHAPES, by_hand, define, private_plane, refresh, write, write_events
from views_raw import opened

from prefect_narrative.planes import Plane
from prefect_narrative.views.refreshing import plan_refresh

CUSTOMER_COUNT = 100_000
TOLERANCE = 1.1
CHANGES = {
    "0.1 % added": ("add", 1000),
    "10 % added": ("add", 10),
    "half as many added": ("add", 2),
    "0.1 % changed": ("UPDATE lake.main.events SET amount = amount + 1", 1000),
    "5 % changed": ("UPDATE lake.main.events SET amount = amount + 1", 20),
    "0.1 % deleted": ("DELETE FROM lake.main.events", 1000),
    "5 % deleted": ("DELETE FROM lake.main.events", 20),
}
"""What is done to the events: so many of them are added, or one of so many is changed or deleted."""


@dataclass(frozen=True)
class Choice:
    """One refresh, done in both ways."""

    shape: str
    change: str
    chosen: str
    full_seconds: float
    incremental_seconds: float

    @property
    def regret(self) -> float:
        """How much longer the chosen way took than the other one; 1: as long."""
        ratio = self.incremental_seconds / self.full_seconds
        return ratio if self.chosen == "incremental" else 1 / ratio

    @property
    def right(self) -> bool:
        """Whether the other way would not have been much better."""
        return self.regret <= TOLERANCE


def choices(sizes: Sequence[int], rounds: int) -> list[Choice]:
    """Measure refreshes of views over so many rows after changes of each kind, again and again."""
    found = []
    for rows in sizes:
        for shape, text in SHAPES.items():
            harness.note(f"choices for {shape} of {rows:,} rows")
            with private_plane() as (home, plane):
                write(plane, "customers", CUSTOMERS.format(customers=CUSTOMER_COUNT))
                write_events(plane, "events", rows, customers=CUSTOMER_COUNT)
                for view in ("incremental", "full", "auto"):
                    define(plane, view, text.format(events="events", customers="customers"))
                first = rows
                for number in range(rounds):
                    for change in CHANGES:
                        first += _change(home, plane, change, first, number)
                        found.append(_both(plane, shape, change))
    return found


def _change(home: Path, plane: Plane, change: str, first: int, number: int) -> int:
    """Change the events and return how many were added."""
    what, part = CHANGES[change]
    if what == "add":
        added = max(1, plane.dataset("events").rows // part)
        write_events(plane, "events", added, customers=CUSTOMER_COUNT, first=first)
        return added
    connection: duckdb.DuckDBPyConnection = opened(by_hand(home))
    try:
        connection.execute(f"{what} WHERE hash(event_id) % {part} = {number}")
    finally:
        connection.close()
    return 0


def _both(plane: Plane, shape: str, change: str) -> Choice:
    chosen = plan_refresh(plane, "auto").action
    incremental, full = (
        harness.seconds(lambda mode=mode: refresh(plane, mode, mode))[0] for mode in ("incremental", "full")
    )
    done = refresh(plane, "auto")["action"]
    if done != chosen:
        raise RuntimeError(f"{chosen} was chosen, and {done} was done")
    return Choice(shape, change, chosen, full, incremental)


def lines(found: Sequence[Choice]) -> list[list[str]]:
    """Return the table's lines: seconds in full, seconds by what has changed, what was chosen, and how often that."""
    table = []
    for shape in SHAPES:
        for change in CHANGES:
            ours = [one for one in found if (one.shape, one.change) == (shape, change)]
            full, incremental = (
                ", ".join(f"{value:.2f}" for value in values)
                for values in ([one.full_seconds for one in ours], [one.incremental_seconds for one in ours])
            )
            chosen = ", ".join(one.chosen[:4] for one in ours)
            table.append([f"{shape}, {change}: full, incremental, auto", full, incremental, chosen, _right(ours)])
    table.append([f"auto took what was better (by {TOLERANCE - 1:.0%})", "", "", "", _right(found)])
    return table


def _right(found: Sequence[Choice]) -> str:
    return f"{sum(one.right for one in found)} of {len(found)}"


def figures(found: Sequence[Choice]) -> dict[str, Any]:
    """Return the figures for programs."""
    return {
        "auto_right": sum(one.right for one in found) / len(found),
        "auto_strictly_right": sum(one.regret <= 1 for one in found) / len(found),
        "auto_worst_regret": max(one.regret for one in found),
        "auto_choices": len(found),
    }
