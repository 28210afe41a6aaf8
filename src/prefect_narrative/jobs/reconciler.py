"""The reconciler: brings Prefect's truth into the job table where no hook could."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client

from prefect_narrative.jobs.deaths import DeathWatch, NoPublications, Publications
from prefect_narrative.jobs.events import EventFeed
from prefect_narrative.jobs.horizon import Horizon
from prefect_narrative.jobs.outbox import Outbox
from prefect_narrative.jobs.prefect_runs import PrefectRuns
from prefect_narrative.jobs.processes import Machine
from prefect_narrative.jobs.record import Heartbeat, Job, JobFilter, JobId, Observation, order_of
from prefect_narrative.jobs.retries import FORGOTTEN_AFTER, retry_due
from prefect_narrative.jobs.runs import Runs
from prefect_narrative.jobs.states import JobState
from prefect_narrative.jobs.store import MAX_PAGE, JobStore, JobTableUnavailableError

logger = logging.getLogger(__name__)

SWEEP_EVERY = timedelta(seconds=2)
YOUNG = timedelta(seconds=2)
"""A row younger than this may be news of a state that Prefect's database does not show yet."""


def utc_now() -> datetime:
    """Return the time of day, in UTC."""
    return datetime.now(UTC)


def look(
    store: JobStore, runs: Runs, job_id: UUID, *, cause: str = "read", clock: Callable[[], datetime] = utc_now
) -> Job | None:
    """Ask Prefect how one run is, bring the answer into the table, and return the job; None where neither knows it.

    A run that a schedule keeps ready for later is no job yet.

    Args:
        store: The job table.
        runs: Prefect's runs.
        job_id: The job.
        cause: Who asked, for the event.
        clock: Tells the time of day, as the table's own.

    Raises:
        httpx.HTTPError: Prefect can't be reached.
        JobTableUnavailableError: the table can't be reached.
    """
    row = store.get(JobId(job_id))
    seen = runs.read(job_id)
    if seen is None:
        return None if row is None else _gone(store, row, cause, clock())
    if row is None and (not runs.is_ours(seen) or _is_kept_ready(seen, clock())):
        return None
    return bring(store, row, seen, cause=cause, now=clock())


def bring(store: JobStore, row: Job | None, seen: Observation, *, cause: str, now: datetime) -> Job:
    """Bring what Prefect says of a run into the table, and return the job as it then is.

    Args:
        store: The job table.
        row: The row as it was before Prefect was asked; None where there was none.
        seen: What Prefect said.
        cause: Who asked, for the event.
        now: The time of day.
    """
    if row is None or order_of(seen.prefect) > order_of(row.prefect):
        return store.apply(seen, cause=cause)
    if row.prefect.state_id != seen.prefect.state_id and _is_young(row, now):
        return row
    # The same state with more to say about it; or an earlier one: the server's clock was set back, or events lied.
    return store.apply(seen, cause=cause, if_version=row.version)


def _is_kept_ready(seen: Observation, now: datetime) -> bool:
    by_schedule = seen.request_source is not None and seen.request_source.type == "schedule"
    untouched = (seen.prefect.type, seen.prefect.name) == ("SCHEDULED", "Scheduled")
    return by_schedule and untouched and seen.scheduled_for is not None and seen.scheduled_for > now


def _is_young(row: Job, now: datetime) -> bool:
    return timedelta(0) <= now - row.updated_at < YOUNG


def _gone(store: JobStore, row: Job, cause: str, now: datetime) -> Job:
    """Prefect has no such run any more: what was not at rest by then is cancelled."""
    if row.state.terminal or _is_young(row, now):
        return row
    deleted = row.prefect.model_copy(update={"type": "CANCELLED", "name": "Deleted", "timestamp": now})
    seen = Observation(
        job_id=row.job_id,
        type=row.type,
        state=JobState.CANCELLED,
        prefect=deleted,
        message="The run was deleted in Prefect before it ended.",
        ended_at=now,
    )
    return store.apply(seen, cause=f"{cause}: run deleted", if_version=row.version)


class Reconciler:
    """Keeps the job table true to Prefect until it is told to stop. Any number may run at once.

    It listens to Prefect's events, and sweeps every two seconds: over the runs of our deployments that are due and not
    at rest, those that ended since the last sweep, and each of our own rows that is not at rest; every 30 seconds also
    over runs that somebody asked for at a later time, and every hour over all that ended in the last day. After each
    sweep the processes behind the jobs are looked at (`DeathWatch`), a job whose process died is asked for again, as
    often as its `max_retries` says, and a completed run whose result was lost gets it from what it has published. What
    waits in the outbox is delivered.

    Args:
        store: The job table.
        outbox: Results and failures that the table could not take.
        publications: The data planes of this machine.
        connect: Makes a client of Prefect's API.
        deaths: Looks at processes; None: those of this machine.
        horizon: Tells how far to look; None: nobody keeps that for the next reconciler.
        clock: Tells the time of day, as the table's own.
        ticks: Seconds of a clock that only goes forward.
    """

    def __init__(
        self,
        store: JobStore,
        outbox: Outbox,
        publications: Publications | None = None,
        *,
        connect: Callable[[], AbstractContextManager[SyncPrefectClient]] = lambda: get_client(sync_client=True),
        deaths: DeathWatch | None = None,
        horizon: Horizon | None = None,
        clock: Callable[[], datetime] = utc_now,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._publications = publications or NoPublications()
        self._connect = connect
        self._deaths = deaths or DeathWatch(store, Machine.here(), self._publications)
        self._clock = clock
        self._ticks = ticks
        self._horizon = horizon or Horizon(ticks=ticks)
        self._completed_at = -float("inf")
        self._searched: set[UUID] = set()
        self._left: set[UUID] = set()
        """Jobs whose row was too young to be set to what Prefect said."""
        self._wake = threading.Event()

    @property
    def seconds_since_sweep(self) -> float:
        """Seconds since the last sweep that saw everything; infinite before the first."""
        return self._ticks() - self._completed_at

    def run(self, stop: threading.Event) -> None:
        """Listen and sweep until `stop` is set; what can't be reached is tried again."""
        feed = EventFeed(self._store, self._connect, self._wake.set)
        feed.start()
        try:
            self._sweep_until(stop)
        finally:
            feed.stop()

    def _sweep_until(self, stop: threading.Event) -> None:
        trouble: str | None = None
        while not stop.is_set():
            try:
                with self._connect() as client:
                    runs = PrefectRuns(client)
                    while not stop.is_set():
                        self.sweep(runs)
                        if trouble:
                            logger.info("Prefect and the job table are reached again")
                            trouble = None
                        self._rest(stop)
            except (httpx.HTTPError, JobTableUnavailableError) as exc:
                if str(exc) != trouble:
                    logger.warning("A sweep failed and is tried again: %s", exc)
                    trouble = str(exc)
                self._interrupted(stop)
            except Exception:
                logger.exception("A sweep failed and is tried again")
                self._interrupted(stop)

    def _rest(self, stop: threading.Event) -> None:
        """Wait for the next sweep's time, for a reason to sweep now, or for the end."""
        until = time.monotonic() + SWEEP_EVERY.total_seconds()
        while not stop.wait(0.1) and time.monotonic() < until:
            if self._wake.is_set():
                self._wake.clear()
                return

    def _interrupted(self, stop: threading.Event) -> None:
        self._deaths.interrupted()
        stop.wait(SWEEP_EVERY.total_seconds())

    def sweep(self, runs: Runs) -> int:
        """Bring the table up to date once; return how many rows moved.

        Raises:
            httpx.HTTPError: Prefect can't be reached.
            JobTableUnavailableError: the table can't be reached.
        """
        moved = self._outbox.drain(self._store)
        for job_id in self._outbox.waiting():
            moved += self._alone(job_id, partial(self._welcome, runs, job_id))
        rows = {row.job_id: row for row in self._store.active()}  # before Prefect is asked, so that versions tell
        seen: dict[UUID, Observation] = {}
        for one in self._found(runs):
            seen[one.job_id] = one
            moved += self._alone(one.job_id, partial(self._apply, runs, rows.get(one.job_id), one))
        others = runs.known([job_id for job_id in rows if job_id not in seen])
        for job_id, row in rows.items():
            if job_id in others:
                moved += self._alone(job_id, partial(self._apply, runs, row, others[job_id]))
            elif job_id not in seen:
                moved += self._alone(job_id, partial(self._look, runs, row))
        for job_id in self._left - rows.keys():  # no sweep may look back as far again
            moved += self._alone(job_id, partial(self._look_again, runs, job_id))
        self._completed_at = self._ticks()
        moved += self._watch(runs, seen | dict(others))
        for row in self._failed_lately():
            moved += self._alone(row.job_id, partial(self._mend, runs, row))
        return moved

    def _found(self, runs: Runs) -> Iterable[Observation]:
        """Yield the runs that a sweep looks for, each as Prefect says that it is."""
        now = runs.now()
        since, looks_ahead = self._horizon.begin(now)
        yield from runs.due(now)
        yield from runs.ended(since)
        if looks_ahead:
            yield from runs.asked_for(now)
        self._horizon.end(now)

    @staticmethod
    def _alone(job_id: UUID, work: Callable[[], bool]) -> bool:
        """Return what `work` on one job returns; what goes wrong with that job alone does not stop the sweep.

        Raises:
            httpx.HTTPError: Prefect can't be reached.
            JobTableUnavailableError: the table can't be reached.
        """
        try:
            return work()
        except JobTableUnavailableError:
            raise
        except httpx.HTTPError as exc:
            if not (isinstance(exc, httpx.HTTPStatusError) and exc.response.is_client_error):
                raise
            logger.warning("Prefect refused about job %s: %s", job_id, exc, extra={"job_id": str(job_id)})
        except Exception:
            logger.exception("Job %s can't be brought up to date", job_id, extra={"job_id": str(job_id)})
        return False

    def _apply(self, runs: Runs, row: Job | None, one: Observation) -> bool:
        """Bring one run into the table; `row` is its row if that was not at rest before Prefect was asked."""
        if row is None:
            row = self._store.get(JobId(one.job_id))
            if row is not None and not _says(row, one) and order_of(one.prefect) <= order_of(row.prefect):
                return self._look_again(runs, one.job_id)  # that row may be newer than the answer
        if row is not None and _says(row, one):
            return False
        after = bring(self._store, row, one, cause="sweep", now=self._clock())
        return row is None or after.version != row.version

    def _look_again(self, runs: Runs, job_id: UUID) -> bool:
        """Read a row and then its run, in this order, and bring that into the table; or leave it to the next sweep."""
        row, one = self._store.get(JobId(job_id)), runs.read(job_id)
        if row is None or one is None:
            self._left.discard(job_id)
            return False
        after = bring(self._store, row, one, cause="sweep", now=self._clock())
        self._left.discard(job_id)
        if after.prefect.state_id != one.prefect.state_id:
            self._left.add(job_id)
        return after.state is not row.state

    def _welcome(self, runs: Runs, job_id: UUID) -> bool:
        """Bring a run into the table that the outbox has a letter about: so it is a job, whatever made it."""
        seen = runs.read(job_id) if self._store.get(JobId(job_id)) is None else None
        return seen is not None and bool(self._store.apply(seen, cause="sweep"))

    def _look(self, runs: Runs, row: Job) -> bool:
        after = look(self._store, runs, row.job_id, cause="sweep", clock=self._clock)
        return after is not None and after.state is not row.state

    def _watch(self, runs: Runs, seen: Mapping[UUID, Observation]) -> int:
        """Look at the processes behind the jobs that are not at rest, and behind those cancelled a while ago."""
        moved = 0
        beats = self._store.heartbeats(ended_from=self._now() - FORGOTTEN_AFTER)
        active = {row.job_id: row for row in self._store.active()}
        self._deaths.begin_round()
        for job_id, row in active.items():
            one = seen.get(job_id)
            if one is not None and one.prefect.state_id == row.prefect.state_id:
                moved += self._alone(job_id, partial(self._examine, runs, row, one, beats.get(JobId(job_id))))
        for job_id, beat in beats.items():
            if job_id not in active:
                self._alone(job_id, partial(self._examine_cancelled, job_id, beat))
        return moved

    def _examine(self, runs: Runs, row: Job, one: Observation, beat: Heartbeat | None) -> bool:
        return self._deaths.examine(runs, row, one, beat) and self._look(runs, row)

    def _examine_cancelled(self, job_id: JobId, beat: Heartbeat) -> bool:
        row = self._store.get(job_id)
        if row is not None and row.state is JobState.CANCELLED:
            self._deaths.examine_cancelled(row, beat)
        return False

    def _failed_lately(self) -> Sequence[Job]:
        lately = JobFilter(state=frozenset({JobState.FAILED}), ended_from=self._now() - FORGOTTEN_AFTER)
        return self._store.page(lately, limit=MAX_PAGE).jobs

    def _mend(self, runs: Runs, row: Job) -> bool:
        """Give a completed run the result that it has published, or ask for another attempt where its process died."""
        if row.prefect.type == "COMPLETED":
            return self._restore(row)
        due = retry_due(row)
        if due is None or due > self._now():
            return False
        told = runs.retry(row.job_id, row.prefect.state_id, "Its process died: it is tried again.")
        return told and self._look(runs, row)

    def _restore(self, row: Job) -> bool:
        if row.prefect.state_id in self._searched:
            return False
        found = self._publications.published(row.data_plane, row.job_id)
        self._searched.add(row.prefect.state_id)
        if found is None:
            return False
        logger.info("Job %s gets the result that it had published", row.job_id, extra={"job_id": str(row.job_id)})
        self._store.stage_result(JobId(row.job_id), row.token, found)
        return True

    def _now(self) -> datetime:
        """Return the time by the server's clock, as of the last sweep."""
        return self._horizon.swept_at or self._clock()


def _says(row: Job, one: Observation) -> bool:
    """Return whether the row has all that was seen of its run."""
    same = row.prefect.state_id == one.prefect.state_id and row.state is one.state
    # Hooks and events know neither what a run waits for nor the name of its deployment, nor always when it first ran.
    named = one.prefect.deployment in (None, row.prefect.deployment)
    started = one.started_at is None or (row.started_at is not None and row.started_at <= one.started_at)
    return same and named and started and one.waiting_for in (None, row.waiting_for)
