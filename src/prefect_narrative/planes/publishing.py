"""Publishes once: staged files, properties and the job's result become visible in one transaction, under the lock."""

# ruff: noqa: S608  (identifiers are our own, values are literals or parameters)

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect_narrative.errors import NarrativeError
from prefect_narrative.planes import ingestion, row_samples, sample_store, statistics_store
from prefect_narrative.planes.catalog import Catalog
from prefect_narrative.planes.column_statistics import KeptStatistics
from prefect_narrative.planes.connection import LAKE, Place
from prefect_narrative.planes.errors import FencedError, PublicationUnknownError
from prefect_narrative.planes.failures import said, translated
from prefect_narrative.planes.internal_tables import Execute
from prefect_narrative.planes.names import INTERNAL_SCHEMA, literal
from prefect_narrative.planes.plane import Guard, KeptSample, Published, RowSample, Stage, Write
from prefect_narrative.planes.writing import DATASETS, DatasetWriter

if TYPE_CHECKING:
    import duckdb

PUBLICATIONS = f"{LAKE}.{INTERNAL_SCHEMA}.publications"
AUTHOR = "prefect-narrative"


def commit(connection: "duckdb.DuckDBPyConnection") -> None:
    """Commit the publication. All that comes before it can be lost, nothing that comes after it can be undone."""
    connection.execute("COMMIT")


class Publisher:
    """Writes to the lake. Every method but `published` needs the publish lock to be held.

    Args:
        place: Where the plane lies.
        connect: Returns the connection that may write; makes a new one after `disconnect`.
        disconnect: Closes it: after a failed commit nobody knows its state.
    """

    def __init__(
        self,
        place: Place,
        connect: Callable[[], "duckdb.DuckDBPyConnection"],
        disconnect: Callable[[], None],
    ) -> None:
        self._place = place
        self._connect = connect
        self._disconnect = disconnect

    def claim(self, job_id: UUID, token: int) -> Published | None:
        """Make sure that the job has a row with this token; return what it has published already.

        Raises:
            FencedError: a higher token was seen.
        """
        connection = self._connect()
        row = find(connection, job_id)
        if row is None:
            connection.execute(f"INSERT INTO {PUBLICATIONS} VALUES (?, ?, NULL)", [job_id, token])
            return None
        seen, result = row
        if result is not None:
            return found_publication(result)
        if seen > token:
            raise FencedError(
                f"Job {job_id} may not publish with token {token}: token {seen} has taken over.",
                detail={"token": token, "highest_token": seen},
            )
        if seen < token:
            connection.execute(f"UPDATE {PUBLICATIONS} SET token = ? WHERE job_id = ?", [token, job_id])
        return None

    def fence(self, job_id: UUID, token: int) -> None:
        """Raise the job's token to at least this one, unless it has published."""
        connection = self._connect()
        row = find(connection, job_id)
        if row is None:
            connection.execute(f"INSERT INTO {PUBLICATIONS} VALUES (?, ?, NULL)", [job_id, token])
        elif row[1] is None and row[0] < token:
            connection.execute(f"UPDATE {PUBLICATIONS} SET token = ? WHERE job_id = ?", [token, job_id])

    def publish(
        self,
        job_id: UUID,
        token: int,
        writes: Sequence[Write],
        result: Mapping[str, Any],
        guard: Guard | None = None,
        keep: Sequence[KeptSample | KeptStatistics] = (),
    ) -> Published:
        """Publish, or return what the job has published already."""
        found = self.claim(job_id, token)
        if found is not None:
            return found
        connection = self._connect()
        execute = self._executing(connection)
        for one in keep:
            (sample_store if isinstance(one, KeptSample) else statistics_store).prepare(execute)
        parts = [f"{write.mode} {write.dataset}" for write in writes]
        parts += [f"sample {one.name}" if isinstance(one, KeptSample) else f"statistics {one.dataset}" for one in keep]
        with self._transaction(connection, job_id, token, ", ".join(parts) or "publish nothing") as snapshot_id:
            recorded = {"snapshot_id": snapshot_id, **result}
            catalog = Catalog(execute)
            if guard is not None:
                guard(catalog.descriptions(snapshot_id - 1))
            writer = DatasetWriter(connection, catalog, self._place.staged(job_id, token), job_id)
            for write in writes:
                writer.write(write)
            for one in keep:
                if isinstance(one, KeptSample):
                    sample_store.keep(execute, job_id, one)
                else:
                    statistics_store.keep(execute, job_id, one)
            self._record(connection, job_id, token, json.dumps(recorded))
        try:
            commit(connection)
        except Exception as error:
            if self._was_committed(job_id, error):
                return Published(snapshot_id=snapshot_id, result=recorded, found=False)
            raise
        return Published(snapshot_id=snapshot_id, result=recorded, found=False)

    def delete_sample(self, name: str) -> bool:
        """Delete a sample; return whether there was one."""
        return sample_store.remove(self._executing(self._connect()), name)

    def keep_row_samples(self, job_id: UUID, token: int, samples: Sequence[tuple[RowSample, Stage | None]]) -> int:
        """Keep row samples in one transaction; return the snapshot in which they are there."""
        connection = self._connect()
        execute = self._executing(connection)
        row_samples.prepare(execute)
        what = f"row samples of {', '.join(sorted({sample.dataset for sample, _ in samples}))}"
        with self._transaction(connection, job_id, token, what) as snapshot_id:
            tables = Catalog(execute).tables(snapshot_id - 1)
            row_samples.forget(execute, [one.name for one in row_samples.heads(execute) if one.dataset not in tables])
            for sample, stage in samples:
                row_samples.keep(execute, sample, stage)
        try:
            commit(connection)
        except BaseException:
            self._disconnect()
            raise
        return snapshot_id

    @staticmethod
    def _executing(connection: "duckdb.DuckDBPyConnection") -> Execute:
        return lambda text, values: connection.execute(text, list(values)).fetchall()

    @contextmanager
    def _transaction(
        self, connection: "duckdb.DuckDBPyConnection", job_id: UUID, token: int, what: str
    ) -> Iterator[int]:
        """Write within a transaction, which the caller commits then; an error rolls it back.

        Args:
            connection: The connection that publishes.
            job_id: For whom.
            token: The attempt's fencing token.
            what: What the snapshot's message says of it.

        Yields:
            The snapshot that it makes.
        """
        connection.execute("BEGIN")
        try:
            yield int(connection.execute(f"SELECT id FROM {LAKE}.current_snapshot()").fetchall()[0][0]) + 1
            extra = json.dumps({"job_id": str(job_id), "token": token})
            connection.execute(
                f"CALL {LAKE}.set_commit_message({literal(AUTHOR)}, {literal(what)}, extra_info => {literal(extra)})"
            )
        except BaseException:
            self._roll_back(connection)
            raise

    @staticmethod
    def _record(connection: "duckdb.DuckDBPyConnection", job_id: UUID, token: int, result: str) -> None:
        """Write the result where the token still stands; a mere reading of it would not conflict with a fence."""
        touched = connection.execute(
            f"UPDATE {PUBLICATIONS} SET result = ? WHERE job_id = ? AND token = ? AND result IS NULL",
            [result, job_id, token],
        ).fetchall()[0][0]
        if touched != 1:
            raise FencedError(f"Job {job_id} may not publish with token {token}: another attempt has taken over.")

    def _roll_back(self, connection: "duckdb.DuckDBPyConnection") -> None:
        import duckdb  # noqa: PLC0415

        try:
            connection.execute("ROLLBACK")
        except duckdb.Error:
            self._disconnect()

    def _was_committed(self, job_id: UUID, error: Exception) -> bool:
        """Return whether a commit that raised was done all the same, as a new connection sees it.

        Raises:
            PublicationUnknownError: that can't be read either.
        """
        import duckdb  # noqa: PLC0415

        self._disconnect()
        try:
            row = find(self._connect(), job_id)
        except (duckdb.Error, NarrativeError, OSError) as unreadable:
            why = translated(error) if isinstance(error, duckdb.Error) else error
            raise PublicationUnknownError(
                f"The commit of job {job_id} broke off ({said(why)}), and whether it was done can't be read "
                f"({said(unreadable)}).",
            ) from error
        return row is not None and row[1] is not None


def find(connection: "duckdb.DuckDBPyConnection", job_id: UUID) -> tuple[int, str | None] | None:
    """Return the token and the result of a job's row, or None."""
    row = connection.execute(f"SELECT token, result FROM {PUBLICATIONS} WHERE job_id = ?", [job_id]).fetchone()
    return None if row is None else (int(row[0]), row[1])


def found_publication(result: str) -> Published:
    """Return a publication that an earlier attempt made."""
    recorded = json.loads(result)
    return Published(snapshot_id=recorded["snapshot_id"], result=recorded, found=True)


def create_internal_tables(connection: "duckdb.DuckDBPyConnection") -> None:
    """Make our own tables in a new lake."""
    connection.execute("BEGIN")
    connection.execute(f"CREATE SCHEMA {LAKE}.{INTERNAL_SCHEMA}")
    connection.execute(f"CREATE TABLE {PUBLICATIONS} (job_id UUID, token BIGINT, result VARCHAR)")
    connection.execute(f"CREATE TABLE {DATASETS} (dataset VARCHAR, kind VARCHAR, properties VARCHAR, job_id UUID)")
    ingestion.create(lambda statement, _: connection.execute(statement).fetchall())
    connection.execute("COMMIT")
