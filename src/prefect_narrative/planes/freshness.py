"""Whether contents that were seen are still the newest, and since when they are not: of many datasets at once."""

# ruff: noqa: S608  (identifiers are our own, values are literals or parameters)

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from prefect_narrative.planes.asking import Query
from prefect_narrative.planes.connection import METADATA
from prefect_narrative.planes.history import COMPACTIONS, touched
from prefect_narrative.planes.plane import Freshness, SourceVersion


def freshness(query: Query, seen: Sequence[SourceVersion], tables: Mapping[str, int], at: int) -> list[Freshness]:
    """Return of each contents whether they may have changed since, up to snapshot `at`, and when they first did.

    Args:
        query: Runs a statement on a connection to which the lake is attached.
        seen: What was seen.
        tables: The ids of the datasets' tables at `at`, by name.
        at: A snapshot that is there.
    """
    if not seen:
        return []
    oldest = min(one.snapshot_id for one in seen)
    snapshots = {
        int(snapshot): _made(made)
        for snapshot, made in query(
            f"""
            SELECT snapshot_id, coalesce(changes_made, '') FROM {METADATA}.ducklake_snapshot
            LEFT JOIN {METADATA}.ducklake_snapshot_changes USING (snapshot_id)
            WHERE snapshot_id > ? AND snapshot_id <= ? ORDER BY snapshot_id
            """,
            [oldest, at],
        )
    }
    begun = {
        int(table_id): int(snapshot)
        for table_id, snapshot in query(
            f"SELECT table_id, min(begin_snapshot) FROM {METADATA}.ducklake_table GROUP BY table_id", []
        )
    }
    known = list(snapshots)
    changes: dict[int, list[int]] = {}
    for snapshot, changed in snapshots.items():
        for table_id in changed:
            changes.setdefault(table_id, []).append(snapshot)
    firsts: list[tuple[bool, int | None]] = []
    for one in seen:
        now = tables.get(one.name)
        if now is None:
            firsts.append((True, None))
        elif now != one.table_id:
            firsts.append((True, begun.get(now)))
        elif len(known) - bisect_right(known, one.snapshot_id) != max(at - one.snapshot_id, 0):
            firsts.append((True, None))  # history has expired
        else:
            after = changes.get(now, [])[bisect_right(changes.get(now, []), one.snapshot_id) :]
            firsts.append((bool(after), after[0] if after else None))
    times = _times(query, sorted({first for _, first in firsts if first is not None}))
    return [Freshness(changed, None if first is None else times.get(first)) for changed, first in firsts]


def _made(made: str) -> set[int]:
    """Return the tables whose rows a snapshot's changes may have changed."""
    return {table_id for kind, table_id in touched(made) if kind not in COMPACTIONS}


def _times(query: Query, snapshots: Sequence[int]) -> dict[int, datetime]:
    if not snapshots:
        return {}
    # A catalog in SQLite keeps times as text.
    rows = query(
        f"SELECT snapshot_id, snapshot_time::TIMESTAMPTZ FROM {METADATA}.ducklake_snapshot "
        "WHERE list_contains(?, snapshot_id)",
        [list(snapshots)],
    )
    return {int(snapshot): moment.astimezone(UTC) for snapshot, moment in rows}
