"""Writes one dataset's part of a publication in its transaction: rows, hidden state, kind and properties."""

# ruff: noqa: S608  (identifiers are quoted, values are literals or parameters)

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect_narrative.planes import row_samples
from prefect_narrative.planes.catalog import Catalog, Table
from prefect_narrative.planes.columns import check_append
from prefect_narrative.planes.connection import LAKE
from prefect_narrative.planes.errors import (
    DatasetExistsError,
    DatasetNotFoundError,
    OvertakenError,
    StageLostError,
    WrongKindError,
)
from prefect_narrative.planes.ingestion import record
from prefect_narrative.planes.names import (
    INTERNAL_SCHEMA,
    MAIN_SCHEMA,
    DatasetName,
    dataset_name,
    literal,
    quoted,
    state_table,
)
from prefect_narrative.planes.plane import ROW_ID, Stage, Write
from prefect_narrative.planes.relations import check_row_ids, staged_rows
from prefect_narrative.planes.staging import staged_files

if TYPE_CHECKING:
    import duckdb

DATASETS = f"{LAKE}.{INTERNAL_SCHEMA}.datasets"


class DatasetWriter:
    """Writes datasets in a transaction that has begun under the publish lock.

    Args:
        connection: The connection that may write.
        catalog: The catalog as that connection sees it.
        staged: The folder of all that this attempt has staged.
        job_id: For whom.
    """

    def __init__(self, connection: "duckdb.DuckDBPyConnection", catalog: Catalog, staged: Path, job_id: UUID) -> None:
        self._connection = connection
        self._catalog = catalog
        self._staged = staged
        self._job_id = job_id
        self._newest = catalog.newest()
        self._tables = catalog.tables(self._newest)

    def write(self, write: Write) -> None:
        """Write one dataset."""
        name = dataset_name(write.dataset)
        table = self._tables.get(str(name))
        self._check(name, table, write)
        if write.mode == "drop":
            self._drop(name, write)
        elif write.mode == "change" and table is not None:
            self._change(name, table, write.stage, write.deletes)
        elif write.mode == "append" and table is not None:
            stage = self._stage_of(write)
            check_append(str(name), self._catalog.columns(self._newest, table.table_id), stage.columns)
            self._add(name, stage)
        elif write.mode != "describe":
            if name.schema != MAIN_SCHEMA:
                self._connection.execute(f"CREATE SCHEMA IF NOT EXISTS {LAKE}.{quoted(name.schema)}")
            self._make(name, self._stage_of(write))
        if write.ingestion is not None:
            kept = table if write.mode in {"append", "change"} else None
            record(self._execute, str(name), None if kept is None else kept.table_id, write.ingestion)
        self._write_state(name, write)
        if write.mode != "drop":
            self._describe(str(name), write, exists=table is not None)

    def _execute(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, list(values)).fetchall()

    def _check(self, name: DatasetName, table: Table | None, write: Write) -> None:
        """Raise where the dataset is not what this was made for."""
        if write.mode == "create" and table is not None:
            raise DatasetExistsError(f"There is a dataset {str(name)!r} already.", detail={"dataset": str(name)})
        if write.mode in {"append", "change", "describe", "drop"} and table is None:
            raise DatasetNotFoundError.named(str(name), self._tables)
        if write.replaces is not None and (table is None or table.table_id != write.replaces):
            raise OvertakenError(
                f"The rows were made for table {write.replaces} of {str(name)!r}, which is "
                f"{'gone' if table is None else f'table {table.table_id}'} now.",
                detail={"dataset": str(name), "expected": write.replaces, "found": table and table.table_id},
            )
        if write.mode == "change" and write.since is None:
            raise ValueError("mode 'change' needs the snapshot in which the rows were read")
        if write.since is None or table is None:
            return
        if self._catalog.history.moved(table.table_id, write.since, self._newest):
            raise OvertakenError(
                f"The rows of {str(name)!r} have changed since snapshot {write.since}.", detail={"dataset": str(name)}
            )
        if self._catalog.said(str(name), write.since) != self._catalog.said(str(name), self._newest):
            raise OvertakenError(
                f"What is said about {str(name)!r} has changed since snapshot {write.since}.",
                detail={"dataset": str(name)},
            )

    def _make(self, name: DatasetName, stage: Stage) -> None:
        """Make or replace a table of the stage's columns, with its rows."""
        columns = ", ".join(f"{quoted(column.name)} {column.type}" for column in stage.columns)
        self._connection.execute(f"CREATE OR REPLACE TABLE {name.sql} ({columns})")
        self._add(name, stage)

    def _add(self, name: DatasetName, stage: Stage) -> None:
        """Let staged files be a table's, too."""
        if stage.rows:
            files = literal(f"{stage.folder}/**/*.parquet")
            self._connection.execute(
                f"CALL ducklake_add_data_files({literal(LAKE)}, {literal(name.table)}, {files}, "
                f"schema => {literal(name.schema)}, hive_partitioning => false)"
            )

    def _change(self, name: DatasetName, table: Table, stage: Stage | None, deletes: Stage | None) -> None:
        """Delete rows by their ids and add others."""
        columns = self._catalog.columns(self._newest, table.table_id)
        check_row_ids(str(name), columns)
        if stage is not None:
            self._check_stage(stage)
            check_append(str(name), columns, stage.columns)
        if deletes is not None:
            self._check_stage(deletes)
            found = self._connection.execute(
                f"DELETE FROM {name.sql} WHERE rowid IN (SELECT {quoted(ROW_ID)} FROM ({staged_rows(deletes)}))"
            ).fetchall()[0][0]
            if found != deletes.rows:
                raise OvertakenError(
                    f"{deletes.rows} rows of {str(name)!r} were to be deleted, and {found} of them are there.",
                    detail={"dataset": str(name)},
                )
        if stage is not None:
            self._add(name, stage)

    def _write_state(self, view: DatasetName, write: Write) -> None:
        """Keep a view's hidden state in step with its rows; where there is none for new rows, the old one goes."""
        name = state_table(view)
        if write.state is None:
            if write.mode in {"create", "replace", "drop"}:
                self._connection.execute(f"DROP TABLE IF EXISTS {name.sql}")
        elif write.state.mode == "replace":
            self._check_stage(write.state.stage)
            self._make(name, write.state.stage)
        else:
            table = self._catalog.state(str(view), self._newest)
            if (
                table is None
                or write.since is None
                or self._catalog.history.moved(table.table_id, write.since, self._newest)
            ):
                raise OvertakenError(
                    f"The state of {str(view)!r} has changed since snapshot {write.since}.",
                    detail={"dataset": str(view)},
                )
            self._change(name, table, write.state.stage, write.state.deletes)

    def _drop(self, name: DatasetName, write: Write) -> None:
        """Remove a dataset from the newest snapshot on; the older ones, and its files, are there until they expire."""
        row = self._connection.execute(f"SELECT kind FROM {DATASETS} WHERE dataset = ?", [str(name)]).fetchone()
        kind = "dataset" if row is None else row[0]
        if kind != write.kind:
            raise WrongKindError(f"{str(name)!r} is a {kind}, not a {write.kind}.", detail={"dataset": str(name)})
        self._connection.execute(f"DROP TABLE {name.sql}")
        self._connection.execute(f"DELETE FROM {DATASETS} WHERE dataset = ?", [str(name)])
        row_samples.forget(self._execute, row_samples.of_dataset(self._execute, str(name)))

    def _stage_of(self, write: Write) -> Stage:
        if write.stage is None:
            raise ValueError(f"mode {write.mode!r} needs a stage")
        self._check_stage(write.stage)
        return write.stage

    def _check_stage(self, stage: Stage) -> None:
        if not stage.folder.is_relative_to(self._staged):
            raise ValueError(f"{stage.folder} was not staged by this attempt of job {self._job_id}")
        if sum(size for _, size in staged_files(stage.folder)) != stage.bytes:
            raise StageLostError(f"The files staged in {stage.folder} are not there any more, or not as they were.")

    def _describe(self, dataset: str, write: Write, *, exists: bool) -> None:
        """Keep kind and properties; those that are there stay where the write brings none."""
        connection = self._connection
        row = connection.execute(f"SELECT kind, properties FROM {DATASETS} WHERE dataset = ?", [dataset]).fetchone()
        if row is not None and not exists:  # the dataset was dropped and comes back as a new one
            connection.execute(f"DELETE FROM {DATASETS} WHERE dataset = ?", [dataset])
            row = None
        if exists and write.kind != (row[0] if row is not None else "dataset"):
            raise WrongKindError(
                f"{dataset!r} is a {row[0] if row is not None else 'dataset'}, and these rows are a {write.kind}'s.",
                detail={"dataset": dataset},
            )
        given = None if write.properties is None else json.dumps(dict(write.properties))
        if row is None:
            connection.execute(
                f"INSERT INTO {DATASETS} VALUES (?, ?, ?, ?)", [dataset, write.kind, given or "{}", self._job_id]
            )
        elif given is not None and given != row[1]:
            connection.execute(
                f"UPDATE {DATASETS} SET properties = ?, job_id = ? WHERE dataset = ?", [given, self._job_id, dataset]
            )
