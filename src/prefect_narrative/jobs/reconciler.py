"""The reconciler: brings Prefect's truth into the job table where no hook could."""

import logging
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client

from prefect_narrative.jobs.outbox import Outbox
from prefect_narrative.jobs.prefect_runs import PrefectRuns
from prefect_narrative.jobs.record import Job, JobFilter, JobId, Observation
from prefect_narrative.jobs.retries import FORGOTTEN_AFTER, retry_due
from prefect_narrative.jobs.states import JobState
from prefect_narrative.jobs.store import MAX_PAGE, JobStore, JobTableUnavailableError

logger = logging.getLogger(__name__)

SWEEP_EVERY = timedelta(seconds=2)
LOOK_AHEAD_EVERY = timedelta(seconds=30)
YOUNG = timedelta(seconds=2)
"""A row younger than this may be news of a run that Prefect's database does not show yet."""
OVERLAP = timedelta(minutes=2)
"""How far a sweep looks back beyond the last one: for clocks that differ and writes that were late."""


def look(store: JobStore, runs: PrefectRuns, job_id: UUID, *, cause: str = "read") -> Job | None:
    """Ask Prefect how one run is, bring the answer into the table, and return the job; None where neither knows it.

    Raises:
        httpx.HTTPError: Prefect can't be reached.
        JobTableUnavailableError: the table can't be reached.
    """
    row = store.get(JobId(job_id))
    seen = runs.read(job_id)
    if seen is None:
        return None if row is None else _gone(store, row, cause)
    return store.apply(seen, cause=cause, if_version=row.version if row else 0)


def _gone(store: JobStore, row: Job, cause: str) -> Job:
    """Prefect has no such run any more: what was not at rest by then is cancelled."""
    now = datetime.now(UTC)
    if row.state.terminal or now - row.updated_at < YOUNG:
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
    """Sweeps over Prefect's runs until it is told to stop. Any number may run at once.

    A sweep, every two seconds, looks at the runs of our deployments that are due and not at rest, at those that ended
    since the last sweep, and at each of our own rows that is not at rest; every 30 seconds also at runs that somebody
    asked for at a later time. A job whose process died is asked for again, as often as its `max_retries` says. What
    waits in the outbox is delivered.

    It does not look at processes, and it does not listen to Prefect's events: a move that no hook reports is seen by
    the next sweep.

    Args:
        store: The job table.
        outbox: Results and failures that the table could not take.
        connect: Makes a client of Prefect's API.
    """

    def __init__(
        self,
        store: JobStore,
        outbox: Outbox,
        connect: Callable[[], AbstractContextManager[SyncPrefectClient]] = lambda: get_client(sync_client=True),
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._connect = connect
        self._swept_at = datetime.now(UTC) - timedelta(days=1)
        self._looked_ahead_at = datetime.min.replace(tzinfo=UTC)

    def run(self, stop: threading.Event) -> None:
        """Sweep until `stop` is set; what can't be reached is tried again."""
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
                        stop.wait(SWEEP_EVERY.total_seconds())
            except (httpx.HTTPError, JobTableUnavailableError) as exc:
                if str(exc) != trouble:
                    logger.warning("A sweep failed and is tried again: %s", exc)
                    trouble = str(exc)
                stop.wait(SWEEP_EVERY.total_seconds())
            except Exception:
                logger.exception("A sweep failed and is tried again")
                stop.wait(SWEEP_EVERY.total_seconds())

    def sweep(self, runs: PrefectRuns) -> int:
        """Bring the table up to date once; return how many rows moved.

        Raises:
            httpx.HTTPError: Prefect can't be reached.
            JobTableUnavailableError: the table can't be reached.
        """
        now = datetime.now(UTC)
        moved = self._outbox.drain(self._store)
        ours = runs.deployments()
        seen: set[UUID] = set()
        found: Iterable[Observation] = ()
        if ours:
            found = chain(runs.active(ours, due_before=now), runs.ended(ours, since=self._swept_at - OVERLAP))
            if now - self._looked_ahead_at >= LOOK_AHEAD_EVERY:
                found = chain(found, runs.asked_for(ours, due_after=now))
                self._looked_ahead_at = now
        for one in found:
            seen.add(one.job_id)
            moved += self._alone(one.job_id, partial(self._apply, one, ours))
        for row in self._store.active():
            if row.job_id not in seen:
                moved += self._alone(row.job_id, partial(self._look, runs, row))
        for row in self._died_lately(now):
            moved += self._alone(row.job_id, partial(self._retry, runs, row))
        self._swept_at = now
        return moved

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

    def _retry(self, runs: PrefectRuns, row: Job) -> bool:
        return runs.retry(row.job_id, row.prefect.state_id) and self._look(runs, row)

    def _died_lately(self, now: datetime) -> list[Job]:
        """Return the jobs whose process died and whose next attempt is due."""
        lately = JobFilter(state=frozenset({JobState.FAILED}), ended_from=now - FORGOTTEN_AFTER)
        failed = self._store.page(lately, limit=MAX_PAGE).jobs
        return [job for job in failed if (due := retry_due(job)) is not None and due <= now]

    def _apply(self, one: Observation, ours: dict[UUID, str]) -> bool:
        row = self._store.get(JobId(one.job_id))
        if row is not None and row.prefect.state_id == one.prefect.state_id and row.state is one.state:
            return False
        name = ours.get(one.prefect.deployment_id) if one.prefect.deployment_id else None
        one = one.model_copy(update={"prefect": one.prefect.model_copy(update={"deployment": name})})
        after = self._store.apply(one, cause="sweep", if_version=row.version if row else 0)
        return row is None or after.version != row.version

    def _look(self, runs: PrefectRuns, row: Job) -> bool:
        after = look(self._store, runs, row.job_id, cause="sweep")
        return after is not None and after.state is not row.state
