"""The embedded data plane: DuckDB over a DuckLake whose catalog is a SQLite file, for one machine."""

# ruff: noqa: S608  (identifiers are quoted, values are literals or parameters, queries are checked trees)

import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar
from uuid import UUID

import duckdb

from prefect_narrative.errors import NarrativeError
from prefect_narrative.planes import importing, row_samples, sample_store, scans, statistics_store
from prefect_narrative.planes.binding import described_over
from prefect_narrative.planes.catalog import Catalog, Table
from prefect_narrative.planes.check import QueryCheck, Runnable
from prefect_narrative.planes.column_statistics import DatasetProfile, HistogramOptions, KeptStatistics, Statistic
from prefect_narrative.planes.columns import chosen
from prefect_narrative.planes.connection import (
    ENGINE,
    LAKE,
    Place,
    SpillFolder,
    execute_one,
    one_moment,
    open_importer,
    open_reader,
    open_writer,
)
from prefect_narrative.planes.errors import (
    ChangesUnknownError,
    DatasetNotFoundError,
    PlaneClosedError,
    PlaneUnavailableError,
    SampleNotFoundError,
    UnreadableFileError,
)
from prefect_narrative.planes.failures import quotes_values, translated
from prefect_narrative.planes.feeds import changes_since, check_feeds, lost
from prefect_narrative.planes.ingestion import aged
from prefect_narrative.planes.inlining import settle_inlining
from prefect_narrative.planes.internal_tables import Execute
from prefect_narrative.planes.lock import PublishLock
from prefect_narrative.planes.names import DatasetName, dataset_name
from prefect_narrative.planes.plane import (
    Aged,
    ChangedRows,
    Changes,
    CheckedQuery,
    Column,
    Dataset,
    Description,
    Freshness,
    Guard,
    KeptSample,
    PlaneUsage,
    Published,
    Relation,
    Rows,
    RowSample,
    SampledRows,
    SampleMethod,
    Scanned,
    SourceVersion,
    Stage,
    Write,
)
from prefect_narrative.planes.profiling import Wanted as WantedProfile
from prefect_narrative.planes.profiling import profile_dataset
from prefect_narrative.planes.publishing import Publisher, create_internal_tables, found_publication
from prefect_narrative.planes.relations import with_relations
from prefect_narrative.planes.sampled import Wanted, sample_dataset, sample_query
from prefect_narrative.planes.sensitive import marked, withheld
from prefect_narrative.planes.staging import described, make_stage_folder, remove_unpublished, write_stage
from prefect_narrative.planes.worker import EngineThread
from prefect_narrative.settings import Settings, refuse_network_file_system

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

T = TypeVar("T")

_UNSAFE_PATH = re.compile(r"[*?\[\]\0]")


class DuckLakePlane:
    """A plane in a folder of its own: `catalog.sqlite`, `publish.lock` and `data/`.

    Connections are opened when they are first needed (about 0.2 s each) and closed by `close`. A signal that arrives
    while data is being published is raised once that is done, which takes about 0.1 s.

    Usage: read rows and bytes are those of the datasets that the queries run here name, as whole, before any file or
    column is left out, and those of imported files; written ones are those of staged files.

    Args:
        name: The plane's name.
        directory: Its folder; made, with an empty lake, where it is missing.
        settings: Memory, threads, temporary folder, lock timeout and import roots.

    Raises:
        NetworkFileSystemError: the folder lies on a network file system.
        PlaneUnavailableError: the folder can't be used.
        ExtensionMissingError: DuckDB has no DuckLake here.
        PublishLockTimeoutError: another process has been setting it up for too long.
    """

    def __init__(self, name: str, directory: Path, settings: Settings) -> None:
        self._name = name
        self._settings = settings
        self._place = Place(directory.expanduser().absolute())
        self._lock = PublishLock(self._place.lock, settings.publish_lock_timeout)
        self._reader: DuckDBPyConnection | None = None
        self._writer: DuckDBPyConnection | None = None
        self._opening: Future[DuckDBPyConnection] | None = None
        self._running: DuckDBPyConnection | None = None
        self._check: QueryCheck | None = None
        self._spill: SpillFolder | None = None
        self._usage = PlaneUsage()
        self._reads: tuple[CheckedQuery, set[int]] | None = None
        self._known_tables: dict[int, dict[str, Table]] = {}
        self._metadata: tuple[int, list[scans.ScannedTable], scans.Metadata] | None = None
        self._moment: ExitStack | None = None
        self._closed = False
        self._make_place()
        self._engine = EngineThread(self.interrupt)
        self._publisher = Publisher(self._place, self._writing, self._stop_writing)
        if not self._place.catalog.exists():
            try:
                self._set_up()
            except BaseException:
                self.close()
                raise

    @property
    def name(self) -> str:
        """The plane's name."""
        return self._name

    def engine(self) -> str:
        """Return the versions of DuckDB and of its DuckLake."""

        def work() -> str:
            return str(self._reading().execute(f"SELECT getvariable('{ENGINE}')").fetchall()[0][0])

        return self._run(work)

    @contextmanager
    def steady(self) -> Iterator[None]:
        """Let all that is told within a block be of one moment: what others publish meanwhile is not seen."""
        if self._moment is not None:
            yield
            return
        self._run(self._begin_moment)
        try:
            yield
        finally:
            self._engine.call(self._end_moment)

    def snapshot(self) -> int:
        """Return the id of the newest snapshot."""
        return self._run(lambda: self._catalog().newest())

    def datasets(self, at: int | None = None) -> Sequence[Dataset]:
        """Return all datasets as of a snapshot (None: the newest), by name."""

        def work() -> list[Dataset]:
            catalog = self._catalog()
            snapshot = catalog.resolve(at)
            return catalog.datasets(snapshot, catalog.tables(snapshot).values())

        return self._look(work)

    def descriptions(self, at: int | None = None, names: Collection[str] | None = None) -> Sequence[Description]:
        """Return what datasets are as of a snapshot (None: the newest), by name; quicker than `datasets`."""

        def work() -> list[Description]:
            catalog = self._catalog()
            return catalog.descriptions(catalog.resolve(at), names)

        return self._look(work)

    def dataset(self, name: str, at: int | None = None) -> Dataset:
        """Return one dataset as of a snapshot (None: the newest)."""

        def work() -> Dataset:
            catalog = self._catalog()
            snapshot = catalog.resolve(at)
            return catalog.datasets(snapshot, [catalog.table(name, snapshot)])[0]

        return self._look(work)

    def exists(self, name: str) -> bool:
        """Return whether the newest snapshot has a dataset of that name."""
        key = str(dataset_name(name))

        def work() -> bool:
            catalog = self._catalog()
            return key in catalog.tables(catalog.newest())

        return self._look(work)

    def check(
        self, query: str, at: int | None = None, *, deltas: bool = False, relations: Collection[str] | None = None
    ) -> CheckedQuery:
        """Return the query if it is exactly one SELECT over existing datasets with allowed functions only."""

        def work() -> CheckedQuery:
            catalog = self._catalog()
            known = catalog.tables(catalog.resolve(at))
            checked = self._checking().check(query, known, deltas=deltas, relations=relations)
            self._require(catalog, self._checking().versions(checked))
            return checked

        return self._look(work)

    def describe(
        self, query: CheckedQuery, at: int | None = None, given: Mapping[str, Sequence[Column]] | None = None
    ) -> Sequence[Column]:
        """Return the columns that a query yields, without running it; `given` are columns that datasets might have."""

        def work() -> list[Column]:
            runnable, snapshot = self._runnable(query, at, dict.fromkeys(query.deltas))
            if not given:
                return described(self._reading(), runnable.sql)
            catalog = self._catalog()
            sql, tables = self._checking().unpinned(query, LAKE)
            shapes: dict[DatasetName, Sequence[Column]] = {}
            for table, (name, version) in tables.items():
                seen = snapshot if version is None else version
                known = given.get(str(name)) if version is None else None
                shapes[table] = known or catalog.datasets(seen, [catalog.table(str(name), seen)])[0].columns
            return described_over(sql, shapes)

        return self._look(work)

    def read(
        self,
        query: CheckedQuery,
        *,
        limit: int,
        at: int | None = None,
        relations: Mapping[str, Relation] | None = None,
    ) -> Rows:
        """Run a query as of a snapshot (None: the newest) and return its first `limit` rows."""

        def work() -> Rows:
            runnable, snapshot = self._runnable(query, at)
            sql = with_relations(runnable.sql, relations or {}, runnable.uses, self._catalog())
            connection = self._reading()
            columns = described(connection, sql)
            rows = execute_one(connection, f"SELECT * FROM ({sql}) AS result LIMIT {int(limit) + 1}", "SELECT")
            self._count_read(query, snapshot, None, relations)
            return Rows(tuple(columns), tuple(rows[:limit]), truncated=len(rows) > limit, snapshot_id=snapshot)

        if limit < 0:
            raise ValueError(f"limit is {limit}: it is a number of rows, from 0")
        return self._run(work)

    def sample(
        self,
        source: str | CheckedQuery,
        *,
        at: int,
        rows: int,
        method: SampleMethod,
        seed: int = 0,
        columns: Sequence[str] | None = None,
        hidden: Collection[str] = (),
    ) -> SampledRows:
        """Return some rows of a dataset or of a query as of a snapshot; all of them where there are no more."""

        def work() -> SampledRows:
            connection = self._reading()
            wanted = Wanted(rows, method, seed, columns, hidden)
            if isinstance(source, str):
                found = sample_dataset(connection, self._catalog(), source, at, wanted)
                self._add_usage(read_rows=len(found.rows))
            else:
                runnable, snapshot = self._runnable(source, at)
                found = sample_query(connection, runnable.sql, snapshot, wanted)
                self._count_read(source, snapshot)
            return found

        return self._run(work)

    def profile(
        self,
        dataset: str,
        *,
        at: int,
        columns: Sequence[str] | None,
        statistics: Collection[Statistic],
        histogram: HistogramOptions,
        hidden: Collection[str] = (),
    ) -> DatasetProfile:
        """Return statistics of a dataset's columns as of a snapshot."""
        wanted = WantedProfile(columns, statistics, histogram, hidden)

        def work() -> DatasetProfile:
            found = profile_dataset(self._reading(), self._catalog(), dataset, at, wanted)
            self._add_usage(read_rows=found.rows * found.passes, read_bytes=found.read_bytes)
            return found

        return self._run(work)

    def statistics(self, dataset: str | None = None) -> Sequence[KeptStatistics]:
        """Return the statistics that are kept of a dataset, newest snapshot first; without columns of all, for None."""
        return self._run(lambda: statistics_store.find(self._execute_reading(), dataset))

    def samples(self) -> Sequence[KeptSample]:
        """Return what is known of all samples, by name, without their rows."""
        return self._run(lambda: sample_store.heads(self._execute_reading()))

    def kept_sample(self, name: str) -> KeptSample:
        """Return a sample with its rows."""
        return self._run(lambda: sample_store.find(self._execute_reading(), name))

    def delete_sample(self, name: str) -> None:
        """Delete a sample."""
        with self._lock.held(f"deletion of sample {name}"):
            deleted = self._run(lambda: self._publisher.delete_sample(name))
        if not deleted:
            raise SampleNotFoundError.named(name, [one.name for one in self.samples()])

    def versions(self, names: Sequence[str], at: int, pins: Mapping[str, int] | None = None) -> Sequence[SourceVersion]:
        """Return which contents of these datasets a query as of snapshot `at`, or of their own in `pins`, reads."""

        def work() -> list[SourceVersion]:
            catalog = self._catalog()
            found = []
            for name in names:
                key = str(dataset_name(name))
                version = catalog.resolve((pins or {}).get(key, at))
                found.append(SourceVersion(key, catalog.table(key, version).table_id, version))
            return found

        return self._look(work)

    def changed(self, seen: SourceVersion, at: int) -> bool:
        """Return whether a dataset's contents at snapshot `at` may differ from those that were seen."""

        def work() -> bool:
            catalog = self._catalog()
            catalog.require([at])
            table = catalog.tables(at).get(seen.name)
            if table is None or table.table_id != seen.table_id:
                return True
            return catalog.changed(seen.table_id, *sorted((seen.snapshot_id, at)))

        return self._look(work)

    def changes(self, seen: SourceVersion, at: int) -> Changes:
        """Return how much a dataset has changed since contents that were seen, up to snapshot `at`."""

        def work() -> Changes:
            catalog = self._catalog()
            catalog.require([at])
            table = catalog.tables(at).get(seen.name)
            if table is None or table.table_id != seen.table_id:
                raise ChangesUnknownError(
                    f"{seen.name} was {'dropped' if table is None else 'replaced'} since snapshot {seen.snapshot_id}.",
                    detail={"dataset": seen.name},
                )
            rows = catalog.sizes(at, [table])[table.table_id].rows
            return catalog.history.changes(seen, at, catalog.columns(at, table.table_id), rows)

        return self._look(work)

    def has_state(self, view: str, at: int) -> bool:
        """Return whether a view has a hidden state in a snapshot."""
        return self._look(lambda: self._catalog().state(str(dataset_name(view)), at) is not None)

    def snapshot_at(self, moment: datetime) -> int:
        """Return the newest snapshot that was there at a moment."""
        return self._run(lambda: self._catalog().at_moment(moment))

    def scanned(self, query: CheckedQuery, at: int) -> Sequence[Scanned]:
        """Return what a query as of a snapshot would read of each of its datasets, without running it."""

        def work() -> list[Scanned]:
            runnable, snapshot = self._runnable(query, at)
            connection = self._reading()
            plan = connection.execute(f"EXPLAIN (FORMAT json) {runnable.sql}").fetchall()[0][1]
            catalog = self._catalog()
            own = {name for name, _ in runnable.versions}
            read = sorted({*runnable.versions, *((name, snapshot) for name in query.sources if name not in own)})
            tables = [
                scans.ScannedTable(name, (table := catalog.table(name, version)).name.table, table.table_id, version)
                for name, version in read
            ]
            if not tables:
                return []
            newest = catalog.newest()
            if self._metadata is None or self._metadata[:2] != (newest, tables):
                known = scans.Metadata(tables, lambda statement: execute_one(connection, statement, "SELECT"))
                self._metadata = (newest, tables, known)
            return scans.scanned(scans.scans_of(plan), tables, self._metadata[2])

        return self._look(work)

    def look(self, text: str, at: int, relations: Mapping[str, Relation]) -> Sequence[tuple[Any, ...]]:
        """Return what a query of ours yields; quicker than `read`, since its columns are not asked for."""

        def work() -> list[tuple[Any, ...]]:
            catalog = self._catalog()
            checked = self._checking().check(text, catalog.tables(at), relations=set(relations))
            self._reads = (checked, {at})
            runnable = self._checking().runnable(checked, at, LAKE)
            self._require(catalog, runnable.versions)
            sql = with_relations(runnable.sql, relations, runnable.uses, catalog)
            return execute_one(self._reading(), sql, "SELECT")

        return self._look(work)

    def row_samples(self) -> Sequence[RowSample]:
        """Return what is known of all samples of rows that estimates are made from, by name."""
        return self._look(lambda: row_samples.heads(self._execute_reading()))

    def keep_row_samples(self, job_id: UUID, token: int, samples: Sequence[tuple[RowSample, Stage | None]]) -> int:
        """Keep row samples in the place of those of their names; the publish lock is held meanwhile."""
        with self._lock.held(str(job_id)):
            return self._run(lambda: self._publisher.keep_row_samples(job_id, token, samples))

    def aged(self, dataset: str, moment: datetime) -> Aged | None:
        """Return which rows of a dataset were ingested at a moment or before; None where none is known to be so old."""
        name = str(dataset_name(dataset))

        def work() -> Aged | None:
            connection = self._reading()
            return aged(lambda statement, values: connection.execute(statement, list(values)).fetchall(), name, moment)

        return self._look(work)

    def freshness(self, seen: Sequence[SourceVersion], at: int) -> Sequence[Freshness]:
        """Return of many contents whether they may have changed since, up to snapshot `at`, and when they first did."""

        def work() -> list[Freshness]:
            catalog = self._catalog()
            catalog.require([at])
            return catalog.freshness(seen, at)

        return self._look(work)

    def delta_lost(self, seen: SourceVersion, at: int) -> str | None:
        """Return why it can't be told what has changed in a dataset since it was seen; None where it can."""
        return self._look(lambda: lost(self._catalog(), seen, at))

    def stage_query(
        self,
        job_id: UUID,
        token: int,
        dataset: str,
        query: CheckedQuery,
        *,
        at: int,
        columns: Sequence[str] | None = None,
        partitioned_by: Sequence[str] = (),
        since: Mapping[str, SourceVersion | None] | None = None,
        pins: Mapping[str, int] | None = None,
        relations: Mapping[str, Relation] | None = None,
    ) -> Stage:
        """Run a query as of a snapshot and write its rows as files, outside any lock.

        HUGEINT, which sums of whole numbers yield, is kept as DECIMAL(38,0); ENUM as text; a column of NULLs only as
        INTEGER. A type that files would change (INTERVAL, UNION, BIT...) is refused.
        """
        name = str(dataset_name(dataset))

        def work() -> Stage:
            if self._moment is not None:
                raise ValueError("nothing can be staged while the plane is held steady")
            self._prepare_to_publish()
            connection = self._reading()
            catalog = self._catalog()
            newest = catalog.newest()
            runnable, snapshot = self._runnable(query, at, since, pins)
            sql = with_relations(runnable.sql, relations or {}, runnable.uses, catalog)
            kept = chosen(described(connection, sql), columns)
            folder = make_stage_folder(self._place.staged(job_id, token), name)
            stage = write_stage(connection, sql, kept, folder, partitioned_by)
            read = {name: (relations or {})[name] for name in query.relations}
            check_feeds(catalog, [seen for seen in (since or {}).values() if seen], read, newest)
            self._count_read(query, snapshot, pins, relations)
            self._count_written(stage)
            return stage

        return self._run(work)

    def stage_files(
        self,
        job_id: UUID,
        token: int,
        dataset: str,
        source: str,
        file_format: Literal["auto", "parquet", "csv", "json"],
        *,
        partitioned_by: Sequence[str] = (),
        sensitive: bool = False,
    ) -> Stage:
        """Read files and write their rows as files of the lake, outside any lock.

        A relative source is looked for below each import root in turn. Several files need the same columns, in any
        order; JSON objects may leave keys out. `.gz` and `.zst` are unpacked.
        """
        name = str(dataset_name(dataset))
        files = importing.find_files(source, self._settings.allowed_import_roots)
        kind = importing.format_of(files, file_format)

        def work() -> Stage:
            folder = make_stage_folder(self._place.staged(job_id, token), name)
            unreadable: UnreadableFileError | None = None
            connection = open_importer(self._settings, self._spilling(), [file.path for file in files], folder.parent)
            self._running = connection
            try:
                stage = self._import(connection, files, kind, folder, partitioned_by)
            except UnreadableFileError as error:
                if not sensitive:
                    raise
                unreadable = importing.without_words(error, kind)
            finally:
                self._running = None
                connection.close()
            if unreadable is not None:
                raise unreadable  # with no trace of the engine's own error, which a log would print
            importing.check_unchanged(files)
            self._add_usage(read_rows=stage.rows, read_bytes=sum(file.bytes for file in files))
            self._count_written(stage)
            return stage

        return self._run(work)

    def claim(self, job_id: UUID, token: int) -> Published | None:
        """Say that this attempt is about to publish; return what an earlier attempt has already published."""
        with self._lock.held(str(job_id)):
            return self._run(lambda: self._publisher.claim(job_id, token))

    def publish(
        self,
        job_id: UUID,
        token: int,
        writes: Sequence[Write],
        result: Mapping[str, Any],
        guard: Guard | None = None,
        keep: Sequence[KeptSample | KeptStatistics] = (),
    ) -> Published:
        """Make staged data visible, all of it in one transaction with the job's result, under the publish lock."""
        names = [str(dataset_name(write.dataset)) for write in writes]
        if len(set(names)) != len(names):
            raise ValueError(f"one publication writes a dataset twice: {sorted(names)}")
        with self._lock.held(str(job_id)):
            return self._run(lambda: self._publisher.publish(job_id, token, writes, result, guard, keep))

    def published(self, job_id: UUID) -> Published | None:
        """Return what a job has published, or None."""

        def work() -> Published | None:
            catalog = self._catalog()
            row = catalog.publication(job_id, catalog.newest())
            return None if row is None or row[1] is None else found_publication(row[1])

        return self._look(work)

    def fence(self, job_id: UUID, token: int) -> None:
        """See to it that no attempt with a lower token than this can publish any more."""
        with self._lock.held(str(job_id)):
            self._run(lambda: self._publisher.fence(job_id, token))

    def discard(self, job_id: UUID, token: int) -> None:
        """Remove what an attempt staged and did not publish; what was published stays."""
        attempt = self._place.staged(job_id, token)
        if not attempt.is_dir():
            return

        def work() -> None:
            remove_unpublished(attempt, self._catalog().known_files(f"{attempt}/"))

        # Without the lock, files could go away between being added to the lake and the commit.
        with self._lock.held(str(job_id)):
            self._run(work)

    def interrupt(self) -> None:
        """Stop the query that is running, if one is."""
        running = self._running
        if running is not None:
            running.interrupt()

    def progress(self) -> float | None:
        """Return the share of the running query that is done, 0 to 1, or None."""
        running = self._running
        if running is None:
            return None
        try:
            percentage = running.query_progress()
        except duckdb.Error:  # closed meanwhile
            return None
        return min(percentage / 100, 1.0) if percentage >= 0 else None

    def usage(self) -> PlaneUsage:
        """Return what was read and written through this object so far."""
        return self._usage

    def close(self) -> None:
        """Release connections, the thread and the temporary folder."""
        if self._closed:
            return
        self._closed = True
        self._engine.close()
        self._disconnect()
        if self._spill is not None:
            self._spill.remove()

    def __enter__(self) -> Self:
        """Return this plane, to be closed at the end of the block."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Release connections."""
        self.close()

    def _run(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, done in the engine's thread; its errors in our words."""
        if self._closed:
            raise PlaneClosedError
        self._reads = None
        try:
            return self._engine.call(work)
        except (duckdb.FatalException, duckdb.InternalException) as error:
            # It may have made the whole connection useless; the next call opens new ones.
            self._engine.call(self._disconnect)
            failed: duckdb.Error = error
        except duckdb.Error as error:
            failed = error
        if self._moment is not None:  # after most errors nothing more can be asked in a transaction
            self._engine.call(self._end_moment)
            self._engine.call(self._begin_moment)
        told = translated(failed)
        if quotes_values(told) and self._may_quote_sensitive():
            raise withheld()  # with no trace of the engine's own error, which a log would print
        raise told from failed

    def _look(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, which asks for many things of one moment and writes nothing."""

        def looking() -> T:
            if self._moment is not None:
                return work()
            with one_moment(self._reading()):
                return work()

        return self._run(looking)

    def _begin_moment(self) -> None:
        self._moment = ExitStack()
        self._moment.enter_context(one_moment(self._reading()))

    def _end_moment(self) -> None:
        moment, self._moment = self._moment, None
        if moment is not None:
            moment.close()

    def _may_quote_sensitive(self) -> bool:
        """Return whether what has failed reads sensitive columns, or may: views and our own relations may derive."""
        if self._reads is None:
            return False
        query, snapshots = self._reads
        try:
            found = [one for at in (None, *sorted(snapshots)) for one in self.descriptions(at)]
        except NarrativeError:
            return True
        if not any(marked(one.properties) for one in found):
            return False
        read = [one for one in found if one.name in query.sources]
        return bool(query.relations) or any(one.kind == "view" or marked(one.properties) for one in read)

    def _disconnect(self) -> None:
        """Close all connections; they are opened anew when they are next needed."""
        self._metadata = None
        self._forget_opening()
        opened = (self._reader, self._writer, self._check)
        self._reader = self._writer = self._check = None
        for one in opened:
            if one is not None:
                one.close()

    def _make_place(self) -> None:
        if _UNSAFE_PATH.search(str(self._place.directory)):
            raise PlaneUnavailableError(
                f"The plane's folder {str(self._place.directory)!r} may not have *, ?, [ or ] in its path.",
                remedy="Set NARRATIVE_HOME to another folder.",
            )
        try:
            self._place.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise PlaneUnavailableError(
                f"The plane's folder {self._place.directory} can't be made: {error}."
            ) from error
        refuse_network_file_system(self._place.directory)

    def _set_up(self) -> None:
        """Make an empty lake. The catalog appears under its name once it is complete."""
        unfinished = self._place.catalog.with_suffix(".unfinished")

        def work() -> None:
            for left in self._place.directory.glob(f"{unfinished.name}*"):
                left.unlink()
            connection = open_writer(self._place, self._settings, self._spilling(), unfinished)
            try:
                create_internal_tables(connection)
                settle_inlining(connection)
                connection.execute("USE memory")
                connection.execute(f"DETACH {LAKE}")
            finally:
                connection.close()
            for left in self._place.directory.glob(f"{unfinished.name}-*"):
                raise PlaneUnavailableError(f"{left} was not written into the catalog.")
            unfinished.rename(self._place.catalog)

        with self._lock.held(f"set-up of plane {self._name}"):
            if not self._place.catalog.exists():
                self._run(work)

    def _spilling(self) -> Path:
        if self._spill is None:
            self._spill = SpillFolder(self._settings.spill_directory)
        return self._spill.path

    def _reading(self) -> "DuckDBPyConnection":
        if self._reader is None:
            self._reader = open_reader(self._place, self._settings, self._spilling())
        self._running = self._reader
        return self._reader

    def _writing(self) -> "DuckDBPyConnection":
        """Return the connection that publishes. It is never interrupted: it holds the lock, and soon lets go of it."""
        self._running = None
        if self._writer is None:
            opening, self._opening = self._opening or self._opened(), None
            writer = opening.result()
            settle_inlining(writer)
            self._writer = writer
        return self._writer

    def _prepare_to_publish(self) -> None:
        """Begin to open the connection that publishes: it takes 0.3 s, for which nobody shall wait under the lock."""
        if self._writer is None and self._opening is None:
            self._opening = self._opened()

    def _opened(self) -> "Future[DuckDBPyConnection]":
        """Return a connection that publishes, which is being opened in a thread of its own."""
        opened: Future[DuckDBPyConnection] = Future()
        spill = self._spilling()

        def work() -> None:
            try:
                opened.set_result(open_writer(self._place, self._settings, spill))
            except BaseException as error:  # for whoever needs the connection
                opened.set_exception(error)

        threading.Thread(target=work, name="narrative-plane-writer", daemon=True).start()
        return opened

    def _forget_opening(self) -> None:
        """Close what is being opened and was not needed."""
        opening, self._opening = self._opening, None
        if opening is not None and opening.exception() is None:
            opening.result().close()

    def _stop_writing(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _execute_reading(self) -> Execute:
        connection = self._reading()
        return lambda statement, values: connection.execute(statement, list(values)).fetchall()

    def _catalog(self) -> Catalog:
        connection = self._reading()
        return Catalog(
            lambda statement, values: connection.execute(statement, list(values)).fetchall(), self._known_tables
        )

    def _checking(self) -> QueryCheck:
        if self._check is None:
            self._check = QueryCheck()
        return self._check

    def _runnable(
        self,
        query: CheckedQuery,
        at: int | None,
        since: Mapping[str, SourceVersion | None] | None = None,
        pins: Mapping[str, int] | None = None,
    ) -> tuple[Runnable, int]:
        """Return a query as it runs, pinned to a snapshot, and that snapshot; `since` is for what DELTA names."""
        catalog = self._catalog()
        snapshot = catalog.resolve(at)
        tables = catalog.tables(snapshot)
        for source in query.sources:
            if pins and source in pins:
                catalog.table(source, catalog.resolve(pins[source]))
            elif source not in tables:
                raise DatasetNotFoundError.named(source, tables, snapshot)
        changes = {
            name: None if seen is None else changes_since(catalog, seen, (pins or {}).get(name, snapshot))
            for name, seen in (since or {}).items()
            if name in query.deltas
        }
        runnable = self._checking().runnable(query, snapshot, LAKE, changes, pins)
        self._reads = (query, {snapshot, *(pins or {}).values(), *(version for _, version in runnable.versions)})
        self._require(catalog, runnable.versions)
        return runnable, snapshot

    @staticmethod
    def _require(catalog: Catalog, versions: Sequence[tuple[str, int]]) -> None:
        """Raise unless every dataset that a query reads AT a snapshot of its own was there."""
        catalog.require(version for _, version in versions)
        for source, version in versions:
            if source not in (tables := catalog.tables(version)):
                raise DatasetNotFoundError.named(source, tables, version)

    def _import(
        self,
        connection: "DuckDBPyConnection",
        files: Sequence[importing.ImportFile],
        kind: importing.FileFormat,
        folder: Path,
        partitioned_by: Sequence[str],
    ) -> Stage:
        def execute(sql: str) -> list[tuple[Any, ...]]:
            return execute_one(connection, sql, "SELECT")

        shape = None
        try:
            found = importing.reading(files, kind, execute)
            shape = found.shape
            if kind != "json" and len(files) > 1:
                rows = [importing.reading([file], kind, execute).rows for file in files]
                names = [[column.name for column in described(connection, one)] for one in rows]
                importing.check_same_columns(list(zip(files, names, strict=True)))
            return write_stage(connection, found.rows, described(connection, found.rows), folder, partitioned_by)
        except duckdb.Error as error:
            if isinstance(error, duckdb.InterruptException | duckdb.OutOfMemoryException) or "space left" in str(error):
                raise
            reason: duckdb.Error = error
            if shape is not None:
                try:
                    execute(shape)  # it knows the line, where the detection of types has only given up
                except duckdb.InterruptException:
                    raise
                except duckdb.Error as broken:
                    reason = broken
            raise importing.unreadable(reason, files, kind) from error

    def _count_read(
        self,
        query: CheckedQuery,
        at: int,
        pins: Mapping[str, int] | None = None,
        relations: Mapping[str, Relation] | None = None,
    ) -> None:
        catalog = self._catalog()
        versions = {source: (pins or {}).get(source, at) for source in query.sources}
        for version in sorted(set(versions.values())):
            tables = catalog.tables(version)
            found = catalog.sizes(version, [tables[name] for name, one in versions.items() if one == version])
            self._add_usage(
                read_rows=sum(one.rows for one in found.values()), read_bytes=sum(one.bytes for one in found.values())
            )
        for name in query.relations:
            relation = (relations or {})[name]
            if isinstance(relation, ChangedRows):
                changes = relation.changes
                inserted = relation.kind == "inserted"
                self._add_usage(read_rows=changes.inserted_rows if inserted else changes.deleted_rows)

    def _count_written(self, stage: Stage) -> None:
        self._add_usage(written_rows=stage.rows, written_bytes=stage.bytes)

    def _add_usage(self, **counts: int) -> None:
        self._usage = replace(
            self._usage, **{name: (getattr(self._usage, name) or 0) + count for name, count in counts.items()}
        )
