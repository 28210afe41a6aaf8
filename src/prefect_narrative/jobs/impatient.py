"""The job table for a process that has other work to do: where it does not answer, it is hardly waited for."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from queue import SimpleQueue
from typing import Any, TypeVar

from typing_extensions import override

from prefect_narrative.costs import Cost
from prefect_narrative.errors import SupersededError
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
from prefect_narrative.jobs.schema import bring_up_to_date, is_up_to_date
from prefect_narrative.jobs.spending import GroupBy, Spending
from prefect_narrative.jobs.sql import SqlJobStore
from prefect_narrative.jobs.store import Attempt, JobStore, JobTableUnavailableError

Answer = TypeVar("Answer")


class ImpatientJobStore(JobStore):
    """A job table that holds its process up, while it does not answer, for no more than a set time in all.

    That goes for what the work of a run waits for: `apply`, `begin_attempt`, `stage_result`, `add_failure`, `describe`
    and `add_usage`. A thread makes each of these calls, since a driver that blocks can't be interrupted, and the caller
    waits for it no longer than the patience that is left; then it gets `JobTableUnavailableError`. Waiting in vain uses
    the patience up, a write that succeeds gives it back. With none left, a call is still made, but not waited for, and
    none is made beside one that hangs: so the table is found again when it is back.

    A call that was given up may take effect later. News that is late, a result, a failure or usage that comes twice
    change nothing, as in every store; and a late start takes no token from an attempt that has begun since.

    All other methods are for threads that may wait: they do so for as long as the table itself is waited for, and use
    no patience up; progress that is written gives it back.

    Args:
        table: The job table; its tables are made or migrated at the first call that it answers, which is waited for.
        patience: How long it is waited for in vain, in all.
    """

    def __init__(self, table: SqlJobStore, *, patience: timedelta) -> None:
        self._table = table
        self._patience = patience.total_seconds()
        # Several threads change these without a lock, which a fork might find locked for ever. At worst two that wait
        # at once wait twice.
        self._left = self._patience
        self._callers: list[_Caller] = []
        self._given_up: _Caller | None = None
        self._is_ready = False

    @override
    def get(self, job_id: JobId) -> Job | None:
        return self._table.get(job_id)

    @override
    def page(self, narrowed: JobFilter | None = None, *, cursor: str | None = None, limit: int = 50) -> JobPage:
        return self._table.page(narrowed, cursor=cursor, limit=limit)

    @override
    def events(self, job_id: JobId) -> Sequence[JobEvent]:
        return self._table.events(job_id)

    @override
    def cost(self, job_id: JobId) -> Cost | None:
        return self._table.cost(job_id)

    @override
    def spending(self, since: datetime, until: datetime, by: GroupBy) -> Spending:
        return self._table.spending(since, until, by)

    @override
    def active(self) -> Sequence[Job]:
        return self._table.active()

    @override
    def heartbeat(self, job_id: JobId) -> Heartbeat | None:
        return self._table.heartbeat(job_id)

    @override
    def heartbeats(self, *, ended_from: datetime | None = None) -> Mapping[JobId, Heartbeat]:
        return self._table.heartbeats(ended_from=ended_from)

    @override
    def close(self) -> None:
        while self._callers:
            self._callers.pop().dismiss()
        self._table.close()

    @override
    def apply(self, seen: Observation, *, cause: str, if_version: int | None = None) -> Job:
        return self._hurry(lambda: self._table.apply(seen, cause=cause, if_version=if_version))

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
        is_waited_for = True

        def begin() -> Attempt:
            asked = token or 0
            while True:
                try:
                    return self._table.begin_attempt(
                        job_id,
                        executor,
                        dataset=dataset,
                        data_plane=data_plane,
                        code_version=code_version,
                        token=asked,
                        as_given=True,
                    )
                except SupersededError as error:
                    if as_given or not is_waited_for:
                        raise
                    asked = error.detail["newest_token"] + 1

        try:
            return self._hurry(begin)
        finally:
            is_waited_for = False

    @override
    def stage_result(self, job_id: JobId, token: int, result: Mapping[str, Any]) -> None:
        self._hurry(lambda: self._table.stage_result(job_id, token, result))

    @override
    def add_failure(self, job_id: JobId, failure: Failure) -> None:
        self._hurry(lambda: self._table.add_failure(job_id, failure))

    @override
    def describe(self, job_id: JobId, *, dataset: str | None = None, sources: Sequence[str] | None = None) -> None:
        self._hurry(lambda: self._table.describe(job_id, dataset=dataset, sources=sources))

    @override
    def add_usage(self, job_id: JobId, token: int, usage: Usage, cost: Cost | None = None) -> None:
        self._hurry(lambda: self._table.add_usage(job_id, token, usage, cost))

    @override
    def set_progress(self, job_id: JobId, progress: Progress) -> None:
        self._table.set_progress(job_id, progress)
        self._left = self._patience

    @override
    def beat(self, heartbeat: Heartbeat) -> None:
        self._table.beat(heartbeat)  # says nothing of whether the table can be written: without a row, there is no beat

    @override
    def raise_fence(self, job_id: JobId, token: int = 0) -> int:
        return self._table.raise_fence(job_id, token)

    def _hurry(self, call: Callable[[], Answer]) -> Answer:
        """Return what a call of the table returns, if it does in time."""
        if not self._is_ready:
            self._wait_for(self._look)
            if not self._is_ready:
                # It answers, and to make the tables is work: only locks are waited for in vain here.
                self._spend(lambda: bring_up_to_date(self._table.database, patience=timedelta(seconds=self._left)))
                self._is_ready = True
        return self._wait_for(lambda: self._heed(call))

    def _look(self) -> None:
        self._is_ready = is_up_to_date(self._table.database)

    def _heed(self, call: Callable[[], Answer]) -> Answer:
        """Return what a call returns, and be patient again: it has got through."""
        answer = call()
        self._left = self._patience
        return answer

    def _wait_for(self, call: Callable[[], Answer]) -> Answer:
        left, given_up = self._left, self._given_up
        if left <= 0 and given_up is not None and given_up.is_alive():  # in a fork it is not
            raise self._late()
        caller = self._caller()
        answer = caller.make(call)

        def wait() -> Answer:
            try:
                return answer.result(left)
            except TimeoutError:
                if answer.done():
                    raise  # the call itself says so
                raise self._late() from None
            finally:
                if answer.done():
                    self._callers.append(caller)
                else:
                    caller.dismiss()
                    self._given_up = caller

        return self._spend(wait)

    def _caller(self) -> "_Caller":
        while self._callers:
            try:
                caller = self._callers.pop()
            except IndexError:
                break  # another thread took the last
            if caller.is_alive():
                return caller
        return _Caller()

    def _spend(self, wait: Callable[[], Answer]) -> Answer:
        """Return what `wait` returns; what it took counts as waited in vain where the table is unavailable."""
        began = time.monotonic()
        try:
            return wait()
        except JobTableUnavailableError:
            self._left = max(0.0, self._left - (time.monotonic() - began))
            raise

    def _late(self) -> JobTableUnavailableError:
        return self._table.database.unavailable(TimeoutError("it does not answer in time"))


class _Caller(threading.Thread):
    """Makes calls, one after another, until it is dismissed. To start a thread for each takes longer than most."""

    def __init__(self) -> None:
        super().__init__(name="narrative-job-table", daemon=True)
        self._calls: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        self.start()

    def make(self, call: Callable[[], Answer]) -> "Future[Answer]":
        """Make a call; return what will have its answer."""
        answer: Future[Answer] = Future()
        self._calls.put((call, answer))
        return answer

    def dismiss(self) -> None:
        """Make no further call after the one in hand."""
        self.name = "narrative-job-table-dismissed"
        self._calls.put(None)

    @override
    def run(self) -> None:
        while (given := self._calls.get()) is not None:
            call, answer = given
            try:
                answer.set_result(call())
            except BaseException as error:
                answer.set_exception(error)
            del given, call, answer  # what they hold must not live until the next call
