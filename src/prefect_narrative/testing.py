"""What users of prefect-narrative need for the tests of their own jobs."""

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from typing_extensions import override

from prefect_narrative.costs import Cost
from prefect_narrative.jobs import work
from prefect_narrative.jobs.cursor import checked_limit, cursor_after, position_of
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
    PrefectState,
    Progress,
    Usage,
)
from prefect_narrative.jobs.row import Row, storable
from prefect_narrative.jobs.spending import CostGroup, GroupBy, Spending, group_of
from prefect_narrative.jobs.states import JobState, state_of
from prefect_narrative.jobs.store import Attempt, JobStore, UnknownJobError


def observed(
    job_id: UUID, prefect_type: str, at: datetime, *, name: str | None = None, type: str = "test", **known: Any
) -> Observation:
    """Return what is seen of a Prefect run that is in a state, as a store's `apply` takes it.

    The state's id follows from the other arguments, so that the same call is the same news.

    Args:
        job_id: The run's id.
        prefect_type: Type of Prefect's state, such as `RUNNING`.
        at: When the run entered it.
        name: Name of Prefect's state. None: the usual one of its type.
        type: The job's type.
        known: Further fields of `Observation`.
    """
    name = prefect_type.title() if name is None else name
    state_id = uuid5(job_id, f"{prefect_type} {name} {at.astimezone(UTC).isoformat()}")
    return Observation(
        **{
            "job_id": job_id,
            "type": type,
            "state": state_of(prefect_type, suspended=name == "Suspended"),
            "prefect": PrefectState(state_id=state_id, type=prefect_type, name=name, timestamp=at),
            **known,
        }
    )


class MemoryJobStore(JobStore):
    """A job table that lives in this process only, and otherwise behaves as the real one.

    Args:
        clock: Tells the time of a write.
    """

    def __init__(self, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._rows: dict[JobId, Row] = {}
        self._events: dict[JobId, list[JobEvent]] = {}
        self._heartbeats: dict[JobId, Heartbeat] = {}

    @override
    def get(self, job_id: JobId) -> Job | None:
        with self._lock:
            row = self._rows.get(job_id)
            return None if row is None else row.job()

    @override
    def page(self, narrowed: JobFilter | None = None, *, cursor: str | None = None, limit: int = 50) -> JobPage:
        checked_limit(limit)
        before = None if cursor is None else position_of(cursor)
        wanted = storable(narrowed or JobFilter())
        with self._lock:
            rows = sorted(self._rows.values(), key=lambda row: (row.created_at, row.job_id), reverse=True)
        found = [
            row.job()
            for row in rows
            if _matches(row, wanted) and (before is None or (row.created_at, row.job_id) < before)
        ]
        shown = tuple(found[:limit])
        return JobPage(jobs=shown, cursor=cursor_after(shown[-1]) if len(found) > limit else None)

    @override
    def events(self, job_id: JobId) -> Sequence[JobEvent]:
        with self._lock:
            return list(self._events.get(job_id, ()))

    @override
    def cost(self, job_id: JobId) -> Cost | None:
        with self._lock:
            row = self._rows.get(job_id)
        return None if row is None else row.cost()

    @override
    def spending(self, since: datetime, until: datetime, by: GroupBy) -> Spending:
        with self._lock:
            rows = [row for row in self._rows.values() if row.ended_at is not None and since <= row.ended_at < until]
        return Spending.of(
            CostGroup(
                group=group_of(row, by),
                jobs=1,
                unpriced=int(row.started_at is not None and row.cost() is None),
                cost=row.cost() or Cost.of(()),
            )
            for row in rows
        )

    @override
    def active(self) -> Sequence[Job]:
        with self._lock:
            rows = sorted(self._rows.values(), key=lambda row: (row.created_at, row.job_id))
        return [row.job() for row in rows if not row.state.terminal]

    @override
    def heartbeat(self, job_id: JobId) -> Heartbeat | None:
        with self._lock:
            return self._heartbeats.get(job_id)

    @override
    def heartbeats(self, *, ended_from: datetime | None = None) -> Mapping[JobId, Heartbeat]:
        with self._lock:
            return {
                job_id: heartbeat
                for job_id, heartbeat in self._heartbeats.items()
                if (ended := self._rows[job_id].ended_at) is None
                or (ended_from is not None and ended >= ended_from and self._rows[job_id].state is JobState.CANCELLED)
            }

    @override
    def close(self) -> None:
        """Do nothing: there are no connections."""

    @override
    def apply(self, seen: Observation, *, cause: str, if_version: int | None = None) -> Job:
        with self._lock:
            row = self._rows.get(JobId(seen.job_id))
            if not is_due(row, seen, if_version):
                if row is None:
                    raise UnknownJobError(f"There is no job {seen.job_id}, so none at version {if_version}.")
                return row.job()
            return self._keep(*project(row, seen, self._clock(), cause=cause)).job()

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
        with self._lock:
            before = self._known(job_id)
            beat = self._heartbeats.get(job_id)
            heard = 0 if beat is None else beat.token
            after = work.begin(
                before,
                executor,
                self._clock(),
                dataset=dataset,
                data_plane=data_plane,
                code_version=code_version,
                token=token,
                as_given=as_given,
                heard=heard,
            )
            self._keep(after)
            return Attempt(number=after.attempt, token=after.token, follows=before.token > 0 or heard > 0)

    @override
    def stage_result(self, job_id: JobId, token: int, result: Mapping[str, Any]) -> None:
        with self._lock:
            self._keep(*work.stage(self._known(job_id), token, result, self._clock()))

    @override
    def add_failure(self, job_id: JobId, failure: Failure) -> None:
        with self._lock:
            self._keep(work.fail(self._known(job_id), failure, self._clock()))

    @override
    def describe(self, job_id: JobId, *, dataset: str | None = None, sources: Sequence[str] | None = None) -> None:
        with self._lock:
            self._keep(work.describe(self._known(job_id), self._clock(), dataset=dataset, sources=sources))

    @override
    def add_usage(self, job_id: JobId, token: int, usage: Usage, cost: Cost | None = None) -> None:
        with self._lock:
            self._keep(work.use(self._known(job_id), token, usage, cost, self._clock()))

    @override
    def set_progress(self, job_id: JobId, progress: Progress) -> None:
        with self._lock:
            self._keep(work.advance(self._known(job_id), progress))

    @override
    def beat(self, heartbeat: Heartbeat) -> None:
        with self._lock:
            job_id = JobId(heartbeat.job_id)
            standing = self._heartbeats.get(job_id)
            if job_id in self._rows and (standing is None or standing.token <= heartbeat.token):
                self._heartbeats[job_id] = storable(heartbeat)

    @override
    def raise_fence(self, job_id: JobId, token: int = 0) -> int:
        with self._lock:
            return self._keep(work.fence(self._known(job_id), token, self._clock())).token

    def _known(self, job_id: JobId) -> Row:
        if job_id not in self._rows:
            raise UnknownJobError(f"There is no job {job_id}.")
        return self._rows[job_id]

    def _keep(self, row: Row, event: JobEvent | None = None) -> Row:
        self._rows[JobId(row.job_id)] = row
        if event is not None:
            self._events.setdefault(JobId(row.job_id), []).append(event)
        return row


def _matches(row: Row, wanted: JobFilter) -> bool:
    exact = {
        "type": row.type,
        "dataset": row.dataset,
        "data_plane": row.data_plane,
        "request_source": row.request_source.type,
    }
    ended = row.ended_at
    return (
        all(getattr(wanted, name) in (None, value) for name, value in exact.items())
        and (wanted.state is None or row.state in wanted.state)
        and (wanted.tag is None or wanted.tag in row.tags)
        and (wanted.created_from is None or row.created_at >= wanted.created_from)
        and (wanted.created_before is None or row.created_at < wanted.created_before)
        and (wanted.ended_from is None or (ended is not None and ended >= wanted.ended_from))
        and (wanted.ended_before is None or (ended is not None and ended < wanted.ended_before))
    )
