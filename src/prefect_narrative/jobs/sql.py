"""The job table in SQLite or PostgreSQL."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import (
    ClauseElement,
    CompoundSelect,
    Connection,
    Select,
    bindparam,
    delete,
    insert,
    literal,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from typing_extensions import override

from prefect_narrative.costs import Cost
from prefect_narrative.jobs import work
from prefect_narrative.jobs.cursor import checked_limit, cursor_after, position_of
from prefect_narrative.jobs.database import Database
from prefect_narrative.jobs.projection import is_due, project
from prefect_narrative.jobs.record import (
    Executor,
    Failure,
    Heartbeat,
    Job,
    JobEvent,
    JobFilter,
    JobId,
    JobPage,
    Observation,
    Progress,
    Usage,
)
from prefect_narrative.jobs.row import Row, storable
from prefect_narrative.jobs.schema import bring_up_to_date
from prefect_narrative.jobs.spending import GroupBy, Spending
from prefect_narrative.jobs.spending_query import spending_of, spending_query
from prefect_narrative.jobs.states import JobState
from prefect_narrative.jobs.store import Attempt, JobStore, UnknownJobError
from prefect_narrative.jobs.table import job_events, job_heartbeats, job_tags, jobs, row_of, values_of
from prefect_narrative.settings import Settings

PATIENCE = timedelta(seconds=10)
"""How long a store waits for its database by default."""


def utc_now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


def open_store(settings: Settings, *, patience: timedelta = PATIENCE) -> "SqlJobStore":
    """Return the job table of these settings, made or migrated where needed.

    Args:
        settings: Say where the table lies.
        patience: How long each call waits for a busy or absent database before it raises; hooks use about a second.

    Raises:
        JobTableUnavailableError: the database can't be used.
        NewerSchemaError: the table was made by a newer version.
        InvalidDatabaseUrlError: the URL is not one of an SQLite file or of PostgreSQL.
        NetworkFileSystemError: the home or the SQLite file lies on a network file system.
    """
    settings.make_home()
    store = SqlJobStore(settings.jobs_database_url, patience=patience)
    try:
        bring_up_to_date(store.database)
    except BaseException:
        store.close()
        raise
    return store


class SqlJobStore(JobStore):
    """The job table in an SQLite file or in PostgreSQL, for any number of threads, also after a fork.

    In SQLite a write waits for the whole table, in PostgreSQL only for its row. What SQLite committed survives the
    process, but not always a loss of power: the sweep then brings back what Prefect knows.

    Args:
        url: SQLAlchemy URL; the tables are there already, see `open_store`.
        patience: How long each call waits for a busy or absent database.
        clock: Tells the time of a write.
    """

    def __init__(self, url: str, *, patience: timedelta = PATIENCE, clock: Callable[[], datetime] = utc_now) -> None:
        self.database = Database(url, patience=patience)
        self._clock = clock
        # What every write needs is compiled once: to make a statement each time takes longer than to write a row.
        compiled: Callable[..., Any] = partial(ClauseElement.compile, dialect=self.database.engine.dialect)
        insert_if_new = self._insert(jobs).on_conflict_do_nothing().returning(jobs.c.job_id)
        # SQLite ignores FOR UPDATE: the transaction holds the lock on everything.
        self._locked_row = compiled(_row_query(bindparam("job_id")).with_for_update())
        heard = select(job_heartbeats.c.token).where(job_heartbeats.c.job_id == bindparam("job_id"))
        self._heard = compiled(heard)
        self._insert_if_new = compiled(insert_if_new, column_keys=jobs.c.keys())
        self._insert_event = compiled(insert(job_events), column_keys=job_events.c.keys())

    @override
    def get(self, job_id: JobId) -> Job | None:
        found = self.database.read(lambda connection: connection.execute(_row_query(job_id)).mappings().first())
        return None if found is None else row_of(found).job()

    @override
    def page(self, narrowed: JobFilter | None = None, *, cursor: str | None = None, limit: int = 50) -> JobPage:
        query = page_query(storable(narrowed or JobFilter()), cursor=cursor, limit=checked_limit(limit))
        found = self.database.read(lambda connection: connection.execute(query).mappings().all())
        shown = tuple(row_of(one).job() for one in found[:limit])
        return JobPage(jobs=shown, cursor=cursor_after(shown[-1]) if len(found) > limit else None)

    @override
    def events(self, job_id: JobId) -> Sequence[JobEvent]:
        query = select(job_events).where(job_events.c.job_id == job_id).order_by(job_events.c.number)
        found = self.database.read(lambda connection: connection.execute(query).mappings().all())
        return [JobEvent(**one) for one in found]

    @override
    def cost(self, job_id: JobId) -> Cost | None:
        found = self.database.read(lambda connection: connection.execute(_row_query(job_id)).mappings().first())
        return None if found is None else row_of(found).cost()

    @override
    def spending(self, since: datetime, until: datetime, by: GroupBy) -> Spending:
        query = spending_query(since, until, by, sqlite=self.database.is_sqlite)
        found = self.database.read(lambda connection: connection.execute(query).mappings().all())
        return spending_of(found, by)

    @override
    def active(self) -> Sequence[Job]:
        found = self.database.read(lambda connection: connection.execute(active_query()).mappings().all())
        return [row_of(one).job() for one in found]

    @override
    def heartbeat(self, job_id: JobId) -> Heartbeat | None:
        query = select(job_heartbeats).where(job_heartbeats.c.job_id == job_id)
        found = self.database.read(lambda connection: connection.execute(query).mappings().first())
        return None if found is None else Heartbeat(**found)

    @override
    def heartbeats(self, *, ended_from: datetime | None = None) -> Mapping[JobId, Heartbeat]:
        query = heartbeats_query(ended_from)
        found = self.database.read(lambda connection: connection.execute(query).mappings().all())
        return {JobId(one["job_id"]): Heartbeat(**one) for one in found}

    @override
    def close(self) -> None:
        self.database.close()

    @override
    def apply(self, seen: Observation, *, cause: str, if_version: int | None = None) -> Job:
        def write(connection: Connection) -> Row:
            while True:
                row = self._locked(connection, seen.job_id)
                if not is_due(row, seen, if_version):
                    if row is None:
                        raise UnknownJobError(f"There is no job {seen.job_id}, so none at version {if_version}.")
                    return row
                after, event = project(row, seen, self._clock(), cause=cause)
                if row is not None:
                    self._save(connection, row, after, event)
                    return after
                if self._create(connection, after, event):
                    return after

        return self.database.write(write).job()

    @override
    def begin_attempt(
        self,
        job_id: JobId,
        executor: Executor,
        *,
        dataset: str | None = None,
        data_plane: str | None = None,
        code_version: str | None = None,
        token: int | None = None,
        as_given: bool = False,
    ) -> Attempt:
        known = {"dataset": dataset, "data_plane": data_plane, "code_version": code_version}

        def begin(connection: Connection) -> Attempt:
            row = self._known(connection, job_id)
            heard = connection.execute(self._heard, {"job_id": job_id}).scalar() or 0
            after = work.begin(row, executor, self._clock(), token=token, as_given=as_given, heard=heard, **known)
            self._save(connection, row, after, None)
            return Attempt(number=after.attempt, token=after.token, follows=row.token > 0 or heard > 0)

        return self.database.write(begin)

    @override
    def stage_result(self, job_id: JobId, token: int, result: Mapping[str, Any]) -> None:
        self._change(job_id, lambda row: work.stage(row, token, result, self._clock()))

    @override
    def add_failure(self, job_id: JobId, failure: Failure) -> None:
        self._change(job_id, lambda row: (work.fail(row, failure, self._clock()), None))

    @override
    def describe(self, job_id: JobId, *, dataset: str | None = None, sources: Sequence[str] | None = None) -> None:
        self._change(job_id, lambda row: (work.describe(row, self._clock(), dataset=dataset, sources=sources), None))

    @override
    def add_usage(self, job_id: JobId, token: int, usage: Usage, cost: Cost | None = None) -> None:
        self._change(job_id, lambda row: (work.use(row, token, usage, cost, self._clock()), None))

    @override
    def set_progress(self, job_id: JobId, progress: Progress) -> None:
        self._change(job_id, lambda row: (work.advance(row, progress), None))

    @override
    def raise_fence(self, job_id: JobId, token: int = 0) -> int:
        return self._change(job_id, lambda row: (work.fence(row, token, self._clock()), None)).token

    @override
    def beat(self, heartbeat: Heartbeat) -> None:
        new = self._insert(job_heartbeats).values(**storable(heartbeat).model_dump())
        upsert = new.on_conflict_do_update(
            index_elements=["job_id"],
            set_={name: new.excluded[name] for name in Heartbeat.model_fields},
            where=job_heartbeats.c.token <= new.excluded.token,
        )

        def write(connection: Connection) -> None:
            if connection.execute(select(jobs.c.job_id).where(jobs.c.job_id == heartbeat.job_id)).first():
                connection.execute(upsert)

        self.database.write(write)

    def _change(self, job_id: JobId, change: Callable[[Row], tuple[Row, JobEvent | None]]) -> Row:
        """Read a row under its lock, change it, write it; return it as it then is."""

        def write(connection: Connection) -> Row:
            row = self._known(connection, job_id)
            after, event = change(row)
            self._save(connection, row, after, event)
            return after

        return self.database.write(write)

    def _known(self, connection: Connection, job_id: JobId) -> Row:
        row = self._locked(connection, job_id)
        if row is None:
            raise UnknownJobError(f"There is no job {job_id}.")
        return row

    def _locked(self, connection: Connection, job_id: Any) -> Row | None:
        found = connection.execute(self._locked_row, {"job_id": job_id}).mappings().first()
        return None if found is None else row_of(found)

    def _create(self, connection: Connection, row: Row, event: JobEvent | None) -> bool:
        """Write a new row; return False where another transaction has just made it."""
        if connection.execute(self._insert_if_new, values_of(row)).first() is None:
            return False
        self._append(connection, event)
        _tag(connection, row)
        return True

    def _save(self, connection: Connection, before: Row, after: Row, event: JobEvent | None) -> None:
        if after is before:
            return
        old, new = values_of(before), values_of(after)
        changed = {name: value for name, value in new.items() if value != old[name]}
        if changed:
            connection.execute(update(jobs).where(jobs.c.job_id == after.job_id).values(**changed))
        self._append(connection, event)
        if {"tags", "created_at"} & changed.keys():
            connection.execute(delete(job_tags).where(job_tags.c.job_id == after.job_id))
            _tag(connection, after)

    def _append(self, connection: Connection, event: JobEvent | None) -> None:
        if event is not None:
            connection.execute(self._insert_event, event.model_dump())

    def _insert(self, table: Any) -> Any:
        return (sqlite_insert if self.database.is_sqlite else postgresql_insert)(table)


def page_query(narrowed: JobFilter, *, cursor: str | None, limit: int) -> Select[Any]:
    """Return the query of one page and of one row more, which tells whether there is another page."""
    query = select(jobs)
    order = (jobs.c.created_at, jobs.c.job_id)
    if narrowed.tag is not None:
        query = query.join(job_tags, job_tags.c.job_id == jobs.c.job_id).where(job_tags.c.tag == narrowed.tag)
        order = (job_tags.c.created_at, job_tags.c.job_id)
    for column, value in (
        (jobs.c.type, narrowed.type),
        (jobs.c.dataset, narrowed.dataset),
        (jobs.c.data_plane, narrowed.data_plane),
        (jobs.c.request_source_type, narrowed.request_source),
    ):
        if value is not None:
            query = query.where(column == value)
    if narrowed.state is not None:
        query = query.where(jobs.c.state.in_(sorted(narrowed.state)))
    if narrowed.created_from is not None:
        query = query.where(order[0] >= narrowed.created_from)
    if narrowed.created_before is not None:
        query = query.where(order[0] < narrowed.created_before)
    if narrowed.ended_from is not None:
        query = query.where(jobs.c.ended_at >= narrowed.ended_from)
    if narrowed.ended_before is not None:
        query = query.where(jobs.c.ended_at < narrowed.ended_before)
    if cursor is not None:
        query = query.where(
            tuple_(*order)
            < tuple_(*(literal(part, column.type) for part, column in zip(position_of(cursor), order, strict=True)))
        )
    return query.order_by(order[0].desc(), order[1].desc()).limit(limit + 1)


def active_query() -> Select[Any]:
    """Return the query of the jobs that are not at rest: those without an end, by the table's own check."""
    return select(jobs).where(jobs.c.ended_at.is_(None)).order_by(jobs.c.created_at, jobs.c.job_id)


def heartbeats_query(ended_from: datetime | None) -> Select[Any] | CompoundSelect[Any]:
    """Return the query of the signs of life of all jobs that are not at rest or were cancelled since `ended_from`."""
    query = select(job_heartbeats).join(jobs, jobs.c.job_id == job_heartbeats.c.job_id)
    active = query.where(jobs.c.ended_at.is_(None))
    if ended_from is None:
        return active
    # Two parts, since each has its own index.
    return active.union_all(query.where(jobs.c.ended_at >= ended_from, jobs.c.state == JobState.CANCELLED))


def _row_query(job_id: Any) -> Select[Any]:
    return select(jobs).where(jobs.c.job_id == job_id)


def _tag(connection: Connection, row: Row) -> None:
    if row.tags:
        common = {"created_at": row.created_at, "job_id": row.job_id}
        connection.execute(insert(job_tags), [{"tag": tag, **common} for tag in row.tags])
