"""The statistics store: what was calculated of datasets' columns, as JSON, in a table of ours in the lake.

Statistics are kept in the transaction in which their job publishes its result, in the place of those of the same
dataset and snapshot. Of each dataset those of the newest snapshots are kept.
"""

# ruff: noqa: S608  (identifiers are our own, values are parameters)

import json
from uuid import UUID

from prefect_narrative.planes.column_statistics import KeptStatistics
from prefect_narrative.planes.internal_tables import Execute, is_there, path_of
from prefect_narrative.planes.internal_tables import prepare as prepare_table

TABLE = "statistics"
STATISTICS = path_of(TABLE)
KEPT_SNAPSHOTS = 10
"""Of each dataset."""


def prepare(execute: Execute) -> None:
    """Make the store where there is none yet; under the lock, and before the transaction of a publication begins."""
    prepare_table(
        execute, TABLE, "dataset VARCHAR, snapshot_id BIGINT, job_id UUID, head VARCHAR, column_statistics VARCHAR"
    )


def keep(execute: Execute, job_id: UUID, kept: KeptStatistics) -> None:
    """Keep statistics; within the transaction of their publication, under the lock."""
    there = execute(f"SELECT DISTINCT snapshot_id FROM {STATISTICS} WHERE dataset = ?", [kept.dataset])
    newest = sorted({kept.snapshot_id, *(row[0] for row in there)}, reverse=True)[:KEPT_SNAPSHOTS]
    left = [snapshot for snapshot in newest if snapshot != kept.snapshot_id]
    execute(f"DELETE FROM {STATISTICS} WHERE dataset = ? AND NOT list_contains(?, snapshot_id)", [kept.dataset, left])
    values = [kept.dataset, kept.snapshot_id, job_id, json.dumps(dict(kept.head)), json.dumps(list(kept.columns))]
    execute(f"INSERT INTO {STATISTICS} VALUES (?, ?, ?, ?, ?)", values)


def remove(execute: Execute, dataset: str) -> int:
    """Remove a dataset's statistics, under the lock; return of how many snapshots there were any."""
    if not is_there(execute, TABLE):
        return 0
    return int(execute(f"DELETE FROM {STATISTICS} WHERE dataset = ?", [dataset])[0][0])


def find(execute: Execute, dataset: str | None) -> list[KeptStatistics]:
    """Return the statistics of a dataset, newest snapshot first; without columns those of all datasets, for None."""
    if not is_there(execute, TABLE):
        return []
    columns, where = ("'[]'", "") if dataset is None else ("column_statistics", "WHERE dataset = ?")
    rows = execute(
        f"SELECT dataset, snapshot_id, head, {columns} FROM {STATISTICS} {where} ORDER BY dataset, snapshot_id DESC",
        [] if dataset is None else [dataset],
    )
    return [KeptStatistics(name, at, json.loads(head), json.loads(held)) for name, at, head, held in rows]
