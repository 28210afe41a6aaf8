"""Which takes less time: to run a view's query anew, or to bring its rows up to date. An estimate; nothing is run.

Both are counted in rows that have to be handled, from what metadata tells of the sources and of their changes, and
turned into seconds by what this view's own refreshes took before; the first time by what such queries usually take.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from prefect_narrative.planes.nodes import Node
from prefect_narrative.planes.plane import Changes
from prefect_narrative.views import trees
from prefect_narrative.views.definition import PastRefresh
from prefect_narrative.views.maintaining import Maintenance

ROWS_A_SECOND = 20e6
"""Rows that are read in a second. These figures are fitted to refreshes as `bench/views.py` measures them."""
FULL_SECONDS = 0.2
"""For a full refresh of nothing."""
WRITTEN = 6.0
"""To how many rows read one that is written amounts."""
GROUPED = 18.0
"""Likewise: what comes on top for a group, of which partial results are kept."""
CHANGE_SECONDS = 0.1
"""For an incremental refresh of nothing."""
DELETING_SECONDS = 0.15
"""The same once more where rows are deleted."""
GROUPS_SECONDS = 0.25
"""The same once more where groups are kept."""
JOINED = 3.0
"""To how many rows read one amounts that has changed, or that is joined with what has changed."""
SEARCHED = 2.0
"""Likewise: one of a source's where the change feed looks for deleted ones among all of its rows."""
ADDED = 2.0
"""Likewise: one that has changed, and comes to the view."""
MATCHED = 3.0
"""Likewise: one of the view's that is compared with those to be deleted."""
DELETED = 30.0
"""Likewise: one that has changed, where rows are deleted."""
MATCHED_GROUP = 8.0
"""Likewise: one of the view's groups that is compared with those that change."""
CHANGED_GROUP = 70.0
"""Likewise: one group that changes."""
LATEST = 3
"""So many refreshes of a kind tell how quick the next one will be."""
TRUSTED_SECONDS = 1.0
"""Refreshes that took so long together count as much as what is usual; shorter ones tell little."""


@dataclass(frozen=True)
class Estimate:
    """What a refresh is expected to take."""

    full_seconds: float
    incremental_seconds: float
    changed_rows: int
    """At most so many rows of the sources have changed."""
    source_rows: int
    """Rows in the sources."""
    full_usual: float
    """As `full_seconds`, on a usual machine."""
    incremental_usual: float

    @property
    def better(self) -> Literal["full", "incremental"]:
        """The quicker way."""
        return "incremental" if self.incremental_seconds <= self.full_seconds else "full"

    @property
    def told(self) -> str:
        """Why the quicker way was chosen."""
        full, change = _seconds(self.full_seconds), _seconds(self.incremental_seconds)
        rows = f"{self.changed_rows:,} of {self.source_rows:,} rows"
        if self.better == "incremental":
            return f"{rows}, so bringing it up to date was expected to take {change}, and all of it anew {full}"
        return f"{rows}, so making it anew was expected to take {full}, and bringing it up to date {change}"


def estimate(found: Maintenance, past: Sequence[PastRefresh]) -> Estimate:
    """Return what both ways to refresh a view are expected to take.

    Args:
        found: The view, the form of its query, and how its sources have changed.
        past: Its latest refreshes.
    """
    changed = sum(one.inserted_rows + one.deleted_rows for one in found.changes.values())
    rows = sum(one.rows for one in found.changes.values())
    full = full_usual(rows, found.dataset.rows, grouped=found.shape.results is not None)
    change = _change_usual(found)
    return Estimate(
        full_seconds=full * _pace(past, "full"),
        incremental_seconds=change * _pace(past, "incremental"),
        changed_rows=changed,
        source_rows=rows,
        full_usual=full,
        incremental_usual=change,
    )


def full_usual(source_rows: int, rows: int, *, grouped: bool) -> float:
    """Return the seconds that a full refresh takes on a usual machine.

    Args:
        source_rows: Rows that it reads.
        rows: Rows that it writes.
        grouped: Whether they are groups, of which partial results are kept.
    """
    return FULL_SECONDS + (source_rows + (WRITTEN + GROUPED * grouped) * rows) / ROWS_A_SECOND


def _change_usual(found: Maintenance) -> float:
    """Return the seconds that an incremental refresh takes on a usual machine."""
    changes, rows = found.changes, found.dataset.rows
    changed = sum(one.inserted_rows + one.deleted_rows for one in changes.values())
    deletes = any(one.deletes for one in changes.values())
    seconds = CHANGE_SECONDS + DELETING_SECONDS * deletes
    handled = JOINED * _handled(found.shape.rows, changes)
    handled += SEARCHED * sum(one.rows for one in changes.values() if one.deletes)
    if found.shape.results is not None:
        seconds += GROUPS_SECONDS
        handled += MATCHED_GROUP * rows + CHANGED_GROUP * min(changed, rows)
    else:
        handled += ADDED * changed + (MATCHED * rows + DELETED * changed) * deletes
    return seconds + handled / ROWS_A_SECOND


def _handled(query: Node, changes: Mapping[str, Changes]) -> float:
    """Return how many rows the terms of a query's difference read: what has changed, and all that it is joined with."""
    if query["type"] == "SET_OPERATION_NODE":
        return sum(_handled(query[side], changes) for side in ("left", "right"))
    found = trees.leaves(query["from_table"])
    read = [_read(leaf, changes) for leaf in found]
    handled = 0.0
    for number, leaf in enumerate(found):
        others = sum(read) - read[number]
        if leaf["type"] == "SUBQUERY":
            inner = leaf["subquery"]["node"]
            handled += _handled(inner, changes) + others * _terms(inner, changes)
        elif trees.is_dataset(leaf):
            one = changes[trees.dataset_of(leaf)]
            handled += one.inserted_rows + one.deleted_rows + others * (one.inserts + one.deletes)
    return handled


def _terms(query: Node, changes: Mapping[str, Changes]) -> int:
    if query["type"] == "SET_OPERATION_NODE":
        return sum(_terms(query[side], changes) for side in ("left", "right"))
    found = 0
    for leaf in trees.leaves(query["from_table"]):
        if leaf["type"] == "SUBQUERY":
            found += _terms(leaf["subquery"]["node"], changes)
        elif trees.is_dataset(leaf):
            one = changes[trees.dataset_of(leaf)]
            found += one.inserts + one.deletes
    return found


def _read(part: Node, changes: Mapping[str, Changes]) -> float:
    if part["type"] == "SET_OPERATION_NODE":
        return _read(part["left"], changes) + _read(part["right"], changes)
    if part["type"] == "SELECT_NODE":
        return sum(_read(leaf, changes) for leaf in trees.leaves(part["from_table"]))
    if part["type"] == "SUBQUERY":
        return _read(part["subquery"]["node"], changes)
    return float(changes[trees.dataset_of(part)].rows) if trees.is_dataset(part) else 0.0


def _pace(past: Sequence[PastRefresh], action: Literal["full", "incremental"]) -> float:
    """Return by how much slower than usual this view's refreshes are; those of the other kind tell it at first."""
    by_action = {kind: [one for one in past if one.action == kind][-LATEST:] for kind in ("full", "incremental")}
    known = by_action[action] or by_action["full"]
    took, usual = sum(one.seconds for one in known), sum(one.usual_seconds for one in known)
    return (TRUSTED_SECONDS + took) / (TRUSTED_SECONDS + usual)


def _seconds(value: float) -> str:
    return f"{value:.2g} s" if value < 10 else f"{value:,.0f} s"
