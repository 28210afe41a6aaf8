"""Finds attempts whose process has died, hangs or should not be, and ends them: the fence first, then Prefect's run."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Protocol
from uuid import UUID

from prefect_narrative.errors import FailureKind
from prefect_narrative.jobs.processes import Life
from prefect_narrative.jobs.record import Failure, Heartbeat, Job, JobId, Observation
from prefect_narrative.jobs.row import CANCELLED_WHILE_RUNNING
from prefect_narrative.jobs.runs import Runs
from prefect_narrative.jobs.states import JobState
from prefect_narrative.jobs.store import JobStore

logger = logging.getLogger(__name__)

SURE_AFTER = timedelta(seconds=2)
"""How long a process of this machine must be gone: whoever reports its end himself gets the time to do so."""
SILENT_FOR = timedelta(seconds=75)
"""How long a process that can't be seen from here may give no sign of life; it gives one every 15 seconds."""
LONGEST_ROUND = timedelta(seconds=30)
"""Who took longer than this from one look to the next was held up himself, and may have missed as much."""
LONGEST_BACKOFF = timedelta(seconds=60)
"""A process that waits for its next attempt gives no sign of life as long."""
WORKER_ENDS_WITHIN = timedelta(seconds=10)
"""How long a worker may take to say that a cancelled process is gone: it imports the flow anew to run its hooks first.

Said later than a retry that somebody asked for at once, it would cancel the new attempt.
"""
START_WITHIN = timedelta(minutes=5)
"""How long a worker may take to start the process of a run that it has taken."""
CANCEL_WITHIN = timedelta(seconds=45)
"""How long a process may take to end that was asked to cancel; workers kill it after 30 seconds."""
CANCEL_UNSTARTED_WITHIN = timedelta(seconds=20)
"""How long the cancelling of a run may take that has not started."""
BEGIN_WITHIN = timedelta(minutes=1)
"""How long a process may take from the start of its run to that of its attempt."""
LEAVE_WITHIN = timedelta(seconds=3)
"""How long a process may live on after its run was cancelled."""


class Processes(Protocol):
    """What can be seen and done from here about processes."""

    def life_of(self, beat: Heartbeat) -> Life:
        """Return what can be seen of the process that gave a sign of life."""
        ...

    def kill(self, beat: Heartbeat) -> bool:
        """Kill that process, if it lives in sight; say whether it did."""
        ...


class Publications(Protocol):
    """What is asked of the data planes of this machine."""

    def fence(self, plane: str | None, job_id: UUID, token: int) -> None:
        """See to it that no attempt of a job with a lower token than this can publish any more.

        Where the plane is not known, a job may have opened any: it is fenced out of all of them.
        """
        ...

    def published(self, plane: str | None, job_id: UUID) -> Mapping[str, Any] | None:
        """Return the result that a job has published, or None."""
        ...


class NoPublications:
    """Where there are no data planes: nothing is published, so nothing need be fenced."""

    def fence(self, plane: str | None, job_id: UUID, token: int) -> None:
        """Do nothing."""

    def published(self, plane: str | None, job_id: UUID) -> Mapping[str, Any] | None:  # noqa: ARG002
        """Return None."""
        return None


@dataclass(frozen=True)
class _End:
    """How a run is to end, and why."""

    type: Literal["CRASHED", "CANCELLED"]
    message: str


class DeathWatch:
    """Looks at the processes behind jobs, a round at a time. Any number may do so at once.

    - A process of this machine that is gone ends its attempt after two looks. One on another machine, or in a container
      that can't be looked into, ends it by giving no sign of life for 75 seconds; the time counts from when this object
      first missed it, by a clock that nobody sets, and anew after `interrupted` and where a round took over 30 seconds.
    - A run that a worker has taken and not started for five minutes is ended, and so is one whose cancelling nobody is
      there to carry out.
    - A process that lives on although its run was cancelled can't publish, and is killed after 45 seconds. A run that
      goes on after it was cancelled, without anybody's retry, is cancelled again.

    Args:
        store: The job table.
        processes: What can be seen of processes from here.
        publications: The data planes of this machine.
        clock: Seconds of a clock that only goes forward.
        now: The time of day.
    """

    def __init__(
        self,
        store: JobStore,
        processes: Processes,
        publications: Publications,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._processes = processes
        self._publications = publications
        self._clock = clock
        self._now = now
        self._since: dict[tuple[UUID, str], tuple[object, float]] = {}
        self._looked_at: set[tuple[UUID, str]] = set()
        self._round_began = clock()

    def interrupted(self) -> None:
        """Forget how long anything has lasted: who could not look could not have heard either."""
        self._since.clear()

    def begin_round(self) -> None:
        """Forget what the round before did not look at, and begin another one, with what was read just now."""
        if self._is_held_up():
            self.interrupted()
        self._round_began = self._clock()
        self._since = {key: value for key, value in self._since.items() if key in self._looked_at}
        self._looked_at.clear()

    def examine(self, runs: Runs, job: Job, seen: Observation, beat: Heartbeat | None) -> bool:
        """End a job's attempt where its process is dead, or can't come to life; say whether Prefect was told so.

        Args:
            runs: Prefect's runs.
            job: The job's row, not at rest.
            seen: How its run is.
            beat: The last sign of life of its process.
        """
        if self._is_held_up():
            return False  # what was read is old by now
        if job.state is JobState.PENDING_CANCELLATION:
            self._keep_from_publishing(job, seen, beat)
        if job.state is JobState.RUNNING and self._was_cancelled(runs, job, seen):
            return runs.cancel(job.job_id, "It was cancelled, and ran all the same.")
        end = self._end_of(job, seen, beat)
        if end is None:
            return False
        fresh = runs.read(job.job_id)
        if fresh is None or fresh.prefect.state_id != seen.prefect.state_id:
            return False
        level = logging.WARNING if end.type == "CRASHED" else logging.INFO
        logger.log(level, "Job %s is ended: %s", job.job_id, end.message, extra={"job_id": str(job.job_id)})
        self._fence(job, beat)
        return runs.end(job.job_id, seen.prefect.state_id, end.type, end.message)

    def examine_cancelled(self, job: Job, beat: Heartbeat) -> None:
        """See to it that a cancelled job's process, where it lives on, publishes nothing and ends."""
        if self._processes.life_of(beat) is not Life.ALIVE:
            return
        lasted = self._lasted(job.job_id, "outlives", beat.token)
        if lasted >= LEAVE_WITHIN and beat.token >= job.token:
            what = f"Process {beat.pid} on {beat.host} worked on when the run was set to Cancelled."
            logger.warning("Job %s: %s It is ended.", job.job_id, what, extra={"job_id": str(job.job_id)})
            self._fence(job, beat)  # its own process sees that, too, and ends
            self._store.add_failure(JobId(job.job_id), _outlived(job, what, self._now()))
        if lasted >= CANCEL_WITHIN:
            self._processes.kill(beat)

    def _end_of(self, job: Job, seen: Observation, beat: Heartbeat | None) -> _End | None:
        if not seen.held:
            if seen.prefect.type == "PENDING" and self._lasted(job.job_id, "starts", _state(seen)) >= START_WITHIN:
                return _End("CRASHED", f"A worker took the run at {_at(seen)} and did not start it in 5 minutes.")
            return None
        cancelling = job.state is JobState.PENDING_CANCELLATION
        why = self._why_dead(job, seen, beat if beat is not None and _is_newest(job, beat) else None)
        if why is None and cancelling:
            lasted = self._lasted(job.job_id, "cancels", _state(seen))
            if job.started_at is None and lasted >= CANCEL_UNSTARTED_WITHIN:
                why = "Nobody started the run, and nobody carried out its cancelling."
            elif beat is not None and lasted >= CANCEL_WITHIN:
                self._processes.kill(beat)
        if why is None:
            return None
        return _End("CANCELLED" if cancelling else "CRASHED", why)

    def _why_dead(self, job: Job, seen: Observation, beat: Heartbeat | None) -> str | None:
        """Return why the process that has the run must be dead, or None where it need not be.

        Args:
            job: The job's row.
            seen: Its run, which a process has.
            beat: The last sign of life of that very process; None where there is none.
        """
        if beat is None:
            # A plain flow gives no signs, and is no job: it gets more time, for the sake of who runs it.
            patience = SILENT_FOR if job.executor is not None else START_WITHIN
            missed = job.started_at is not None and self._lasted(job.job_id, "unheard", _state(seen)) >= patience
            return "Its process never gave a sign of life." if missed else None
        who = f"Process {beat.pid} on {beat.host}"
        life = self._processes.life_of(beat)
        if life is Life.DEAD:
            sure_after = WORKER_ENDS_WITHIN if job.state is JobState.PENDING_CANCELLATION else SURE_AFTER
            if self._lasted(job.job_id, "dead", (beat.token, beat.pid)) >= sure_after:
                return f"{who} is gone."
        if life is Life.OUT_OF_SIGHT:
            waits = job.state is JobState.PENDING
            patience = SILENT_FOR + LONGEST_BACKOFF if waits else SILENT_FOR
            if self._lasted(job.job_id, "silent", (beat.token, beat.at, waits)) >= patience:
                return f"{who} has given no sign of life since {beat.at:%Y-%m-%d %H:%M:%S} UTC."
        return None

    def _keep_from_publishing(self, job: Job, seen: Observation, beat: Heartbeat | None) -> None:
        """Fence an attempt out of the lake that was asked to cancel and is still there: it may have been stopped."""
        stays = self._lasted(job.job_id, "stays", _state(seen)) >= LEAVE_WITHIN
        if stays and not self._is_noted(job.job_id, "kept out", _state(seen)):
            self._publications.fence(job.data_plane, job.job_id, self._higher_than_any(job, beat))
            self._lasted(job.job_id, "kept out", _state(seen))

    def _was_cancelled(self, runs: Runs, job: Job, seen: Observation) -> bool:
        """Return whether a run went from cancelled to running although nobody retried it; said once a state."""
        if self._is_noted(job.job_id, "vetted", _state(seen)):
            return False
        self._lasted(job.job_id, "vetted", _state(seen))
        moves = self._store.events(JobId(job.job_id))
        if not moves or (moves[-1].from_state, moves[-1].to_state) != (JobState.CANCELLED, JobState.RUNNING):
            return False
        return runs_on_after_cancel(runs.history(job.job_id))  # the table may have missed what lay between

    def _fence(self, job: Job, beat: Heartbeat | None) -> None:
        """Keep every attempt that has begun out of the lake, and then out of the table."""
        token = self._higher_than_any(job, beat)
        # In this order: whoever can't be kept from publishing must be able to report what he has published.
        self._publications.fence(job.data_plane, job.job_id, token)
        self._store.raise_fence(JobId(job.job_id), token)

    def _higher_than_any(self, job: Job, beat: Heartbeat | None) -> int:
        """Return a token that no attempt at a job has had: an attempt that began without the table took the clock's."""
        now, entered = self._now(), job.prefect.timestamp
        if entered > now:  # the clocks were set back since, and the attempt began soon after its run did
            now = entered + BEGIN_WITHIN
        return max(job.token, beat.token if beat else 0, int(now.timestamp() * 1e6)) + 1

    def _is_held_up(self) -> bool:
        return self._clock() - self._round_began > LONGEST_ROUND.total_seconds()

    def _is_noted(self, job_id: UUID, what: str, fact: object) -> bool:
        """Return whether this has been seen, or done, before."""
        key = (job_id, what)
        self._looked_at.add(key)
        return key in self._since and self._since[key][0] == fact

    def _lasted(self, job_id: UUID, what: str, fact: object) -> timedelta:
        """Return for how long this has been seen of the job, without a change of the fact."""
        key = (job_id, what)
        self._looked_at.add(key)
        now = self._clock()
        before = self._since.get(key)
        if before is None or before[0] != fact:
            self._since[key] = (fact, now)
            return timedelta(0)
        return timedelta(seconds=now - before[1])


def runs_on_after_cancel(history: Sequence[str]) -> bool:
    """Return whether a run runs that was cancelled before, and that nobody has retried since.

    Args:
        history: The types of Prefect's states that it has been in, oldest first.
    """
    before = [*history]
    while before and before[-1] in {"RUNNING", "PAUSED", "CANCELLING"}:
        before.pop()
    if len(before) == len(history) or not before or before.pop() != "CANCELLED":
        return False
    # Cancelled right after a retry: that was a worker's late word about the attempt before.
    while before and before[-1] in {"SCHEDULED", "PENDING"}:
        before.pop()
    return not before or before[-1] not in {"CANCELLED", "FAILED", "CRASHED", "COMPLETED"}


def _is_newest(job: Job, beat: Heartbeat) -> bool:
    """Return whether a sign of life is that of the process which began last to work on the job."""
    begun = job.executor
    if begun is not None and (begun.host, begun.pid) == (beat.host, beat.pid):
        return True
    return beat.token > job.token  # it began while the table could not be told so


def _state(seen: Observation) -> UUID:
    return seen.prefect.state_id


def _at(seen: Observation) -> str:
    return f"{seen.prefect.timestamp:%Y-%m-%d %H:%M:%S} UTC"


def _outlived(job: Job, what: str, now: datetime) -> Failure:
    return Failure(
        attempt=job.attempt,
        at=now,
        kind=FailureKind.OPERATOR,
        code=CANCELLED_WHILE_RUNNING,
        message=f"{what} It was ended, and what it had not published by then is thrown away.",
        remedy="Cancel with Cancel, or `narrative jobs cancel`, rather than by setting the state.",
        retryable=False,
    )
