"""When the rows of a dataset were ingested: a ledger of row ids, which outlives compaction and the expiry of snapshots.

Rows get rising ids, and keep them when their files are merged or rewritten. So one entry for each publication is
enough: from this id on, until the next entry's, rows were ingested at this time. The publication's snapshot would say
the same for as long as it is there; the lake's own column of snapshots does not, since rewriting files changes it.
"""

# ruff: noqa: S608  (identifiers are quoted, values are literals or parameters)

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from prefect_narrative.planes.connection import LAKE, METADATA
from prefect_narrative.planes.names import INTERNAL_SCHEMA
from prefect_narrative.planes.plane import Aged, Ingestion

LEDGER = f"{LAKE}.{INTERNAL_SCHEMA}.ingestions"
ALL_ROWS = 2**63 - 1
"""A row's id that no row has."""

Execute = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]


def create(execute: Execute) -> None:
    """Make the ledger where there is none yet: lakes that were made before it have none."""
    execute(f"CREATE TABLE IF NOT EXISTS {LEDGER} (dataset VARCHAR, first_row BIGINT, ingested_at TIMESTAMP)", [])


def record(execute: Execute, dataset: str, table_id: int | None, ingestion: Ingestion) -> None:
    """Note when the rows that are being added were ingested; within the transaction that adds them, under the lock.

    Args:
        execute: Runs a statement on the connection that publishes.
        dataset: The dataset's name.
        table_id: The table that they are added to; None where it is new.
        ingestion: When, and which entries nothing needs any more.
    """
    create(execute)
    if table_id is None:
        execute(f"DELETE FROM {LEDGER} WHERE dataset = ?", [dataset])
    elif ingestion.oldest_row is not None:
        execute(f"DELETE FROM {LEDGER} WHERE dataset = ? AND first_row < ?", [dataset, ingestion.oldest_row])
    first = 0
    if table_id is not None:
        found = execute(f"SELECT next_row_id FROM {METADATA}.ducklake_table_stats WHERE table_id = ?", [table_id])
        first = int(found[0][0]) if found else 0
    # An entry of this id is of a write that has added no rows.
    execute(f"DELETE FROM {LEDGER} WHERE dataset = ? AND first_row >= ?", [dataset, first])
    latest = execute(f"SELECT max(ingested_at) FROM {LEDGER} WHERE dataset = ?", [dataset])[0][0]
    # A clock that was set back must not make rows look older than those before them.
    at = max(filter(None, (ingestion.at.astimezone(UTC).replace(tzinfo=None), latest)))
    execute(f"INSERT INTO {LEDGER} VALUES (?, ?, ?)", [dataset, first, at])


def aged(execute: Execute, dataset: str, moment: datetime) -> Aged | None:
    """Return which rows of a dataset were ingested at a moment or before; None where none is known to be so old."""
    if not _is_there(execute):
        return None
    before = moment.astimezone(UTC).replace(tzinfo=None)
    old, first, end = execute(
        "SELECT count(*) FILTER (ingested_at <= $2), min(first_row), min(first_row) FILTER (ingested_at > $2) "
        f"FROM {LEDGER} WHERE dataset = $1",
        [dataset, before],
    )[0]
    return Aged(int(first), ALL_ROWS if end is None else int(end)) if old else None


def _is_there(execute: Execute) -> bool:
    return bool(
        execute(
            f"""
            SELECT 1 FROM {METADATA}.ducklake_table WHERE table_name = 'ingestions' AND end_snapshot IS NULL
                AND schema_id IN (SELECT schema_id FROM {METADATA}.ducklake_schema
                    WHERE schema_name = '{INTERNAL_SCHEMA}' AND end_snapshot IS NULL)
            """,
            [],
        )
    )
