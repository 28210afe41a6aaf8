"""Samples of rows that estimates are made from: tables of ours in the lake, which no query of a user's can reach.

Each has the columns of a dataset, without those that were sensitive when it was taken, and two of ours: `UNIT`, evenly
spread over 0 to 1, below the sample's share; and where rows are sampled one by one, `ROW_ID`.
"""

# ruff: noqa: S608  (identifiers are quoted or our own, values are parameters)

import json
from collections.abc import Sequence

from prefect_narrative.planes.connection import LAKE
from prefect_narrative.planes.internal_tables import Execute, is_there, path_of
from prefect_narrative.planes.internal_tables import prepare as prepare_table
from prefect_narrative.planes.names import INTERNAL_SCHEMA, literal, quoted
from prefect_narrative.planes.plane import UNIT, KeptRows, RowSample, Stage

TABLE = "row_samples"
ROW_SAMPLES = path_of(TABLE)
PREFIX = "rows_"
"""Before a sample's name, the name of its table."""


def prepare(execute: Execute) -> None:
    """Make the list of samples where there is none yet; under the lock."""
    prepare_table(execute, TABLE, "name VARCHAR, dataset VARCHAR, head VARCHAR")


def heads(execute: Execute) -> list[RowSample]:
    """Return what is known of all samples, by name."""
    if not is_there(execute, TABLE):
        return []
    found = execute(f"SELECT name, dataset, head FROM {ROW_SAMPLES} ORDER BY name", [])
    return [RowSample(name, dataset, json.loads(head)) for name, dataset, head in found]


def keep(execute: Execute, sample: RowSample, stage: Stage | None) -> None:
    """Keep a sample in the place of the one of its name; within a transaction, under the lock.

    Args:
        execute: Runs a statement on the connection that writes.
        sample: What is known of it.
        stage: Its rows; None: nothing is kept but what is known.
    """
    execute(f"DELETE FROM {ROW_SAMPLES} WHERE name = ?", [sample.name])
    table = f"{PREFIX}{sample.name}"
    execute(f"DROP TABLE IF EXISTS {path_of(quoted(table))}", [])
    if stage is not None:
        columns = ", ".join(f"{quoted(column.name)} {column.type}" for column in stage.columns)
        execute(f"CREATE TABLE {path_of(quoted(table))} ({columns})", [])
        if stage.rows:
            files = literal(f"{stage.folder}/**/*.parquet")
            execute(
                f"CALL ducklake_add_data_files({literal(LAKE)}, {literal(table)}, {files}, "
                f"schema => {literal(INTERNAL_SCHEMA)}, hive_partitioning => false)",
                [],
            )
    execute(f"INSERT INTO {ROW_SAMPLES} VALUES (?, ?, ?)", [sample.name, sample.dataset, json.dumps(dict(sample.head))])


def forget(execute: Execute, names: Sequence[str]) -> None:
    """Remove samples, under the lock."""
    for name in names:
        execute(f"DELETE FROM {ROW_SAMPLES} WHERE name = ?", [name])
        execute(f"DROP TABLE IF EXISTS {path_of(quoted(PREFIX + name))}", [])


def of_dataset(execute: Execute, dataset: str) -> list[str]:
    """Return the names of the samples of a dataset."""
    if not is_there(execute, TABLE):
        return []
    return [str(name) for (name,) in execute(f"SELECT name FROM {ROW_SAMPLES} WHERE dataset = ?", [dataset])]


def rows(relation: KeptRows) -> str:
    """Return a query for the rows of a sample, with the columns of its dataset; NULL in those that it has not."""
    columns = [
        f"CAST(NULL AS {column.type}) AS {quoted(column.name)}"
        if column.name.casefold() in relation.absent
        else quoted(column.name)
        for column in relation.columns
    ]
    if relation.unit:
        columns.append(quoted(UNIT))
    table = path_of(quoted(PREFIX + relation.name))
    below = "" if relation.below is None else f" WHERE {quoted(UNIT)} < {relation.below!r}"
    return f"SELECT {', '.join(columns)} FROM {table} AT (VERSION => {int(relation.at)}){below}"
