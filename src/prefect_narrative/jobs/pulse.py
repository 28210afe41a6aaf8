"""The pulse of an attempt: a thread that gives signs of life, tells progress, and sees when the attempt must end."""

import logging
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from datetime import timedelta

from prefect_narrative.jobs.processes import Machine
from prefect_narrative.jobs.record import Job, JobId, Progress
from prefect_narrative.jobs.states import JobState
from prefect_narrative.jobs.store import JobStore, JobTableUnavailableError

logger = logging.getLogger(__name__)

HEARTBEAT_EVERY = timedelta(seconds=15)
LOOK_EVERY = timedelta(seconds=1)
SHOWN_AFTER = timedelta(seconds=2)
"""What is over sooner need not be shown elsewhere than in the job's row."""
CANCEL_WITHIN = timedelta(seconds=10)
"""How long a worker has to carry out a cancelling; then the attempt ends by itself."""
LEAVE_AFTER = timedelta(seconds=2)
"""How long an attempt goes on after its run was set to Cancelled: it may be about to end."""


class Pulse:
    """Looks after one attempt once a second, while its body works.

    Writes a heartbeat every 15 seconds and progress where there is news. Reads the job's row, and calls `leave` when
    the attempt must end: another one has taken over, or its run was cancelled and nobody ends its process.

    Args:
        job_id: The job.
        token: The attempt's fencing token.
        store: The job table; while it can't be reached, signs and progress are dropped.
        progress: Tells how far the job is.
        show: Shows progress elsewhere too, once the job has run for two seconds.
        leave: Makes the body end, so that nothing is said to Prefect; takes the reason. Called each second until then.
        ticks: Seconds of a clock that only goes forward.
    """

    def __init__(
        self,
        job_id: JobId,
        token: int,
        store: JobStore,
        progress: Callable[[], Progress],
        *,
        show: Callable[[Progress], None] | None = None,
        leave: Callable[[str], object] | None = None,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._job_id = job_id
        self._token = token
        self._store = store
        self._progress = progress
        self._show = show
        self._leave = leave
        self._ticks = ticks
        self._started = ticks()
        self._next_beat = 0.0
        self._shown: tuple[str, float | None] | None = None
        self._written: tuple[str, float | None] | None = None
        self._state: tuple[JobState, float] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run,), name="narrative-pulse", daemon=True
        )

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, *, within: timedelta = timedelta(seconds=5)) -> None:
        """End, after a last look: what a short job did last is in its row, too.

        Args:
            within: How long to wait for the end; a thread that waits for the job table then ends when it answers.
        """
        self._stop.set()
        self._thread.join(within.total_seconds())

    def _run(self) -> None:
        machine = Machine.here()
        stopping = False
        while True:
            try:
                self._look(machine, stopping=stopping)
            except JobTableUnavailableError as exc:
                logger.debug("Sign of life of job %s was lost: %s", self._job_id, exc)
            except Exception:
                logger.exception("Sign of life of job %s failed", self._job_id)
            if stopping:
                return
            stopping = self._stop.wait(LOOK_EVERY.total_seconds())

    def _look(self, machine: Machine, *, stopping: bool) -> None:
        now = self._ticks()
        if now >= self._next_beat:
            self._store.beat(machine.heartbeat(self._job_id, self._token))
            self._next_beat = now + HEARTBEAT_EVERY.total_seconds()
        self._tell_progress(now)
        if self._leave is not None and not stopping:
            row = self._store.get(self._job_id)
            why = None if row is None else self._why_leave(row, now)
            if why is not None:
                self._leave(why)
                logger.warning("Job %s: this attempt ends: %s", self._job_id, why, extra={"job_id": str(self._job_id)})

    def _tell_progress(self, now: float) -> None:
        seen = self._progress()
        news = (seen.message, seen.fraction)
        if self._show is not None and news != self._shown and now - self._started >= SHOWN_AFTER.total_seconds():
            self._show(seen)
            self._shown = news
        if news != self._written:
            self._store.set_progress(self._job_id, seen)
            self._written = news

    def _why_leave(self, row: Job, now: float) -> str | None:
        """Return why the attempt must end, or None where it may go on."""
        if row.token > self._token:
            return "another attempt has taken over, or this one was declared dead."
        if self._state is None or self._state[0] is not row.state:
            self._state = (row.state, now)
        lasted = timedelta(seconds=now - self._state[1])
        if row.state is JobState.PENDING_CANCELLATION and lasted >= CANCEL_WITHIN:
            return "it was asked to cancel, and no worker has ended it."
        if row.state is JobState.CANCELLED and lasted >= LEAVE_AFTER:
            return "its run was set to Cancelled."
        return None
