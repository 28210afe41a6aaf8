"""What a job's body works with: its attempt, its progress, its meter, and what must be released at its end."""

import logging
import os
import resource
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, runtime_checkable
from uuid import UUID

from prefect_narrative.costs import Cost
from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.jobs.outbox import Outbox
from prefect_narrative.jobs.pulse import Pulse
from prefect_narrative.jobs.record import Executor, Failure, JobId, Progress, Usage
from prefect_narrative.jobs.store import Attempt, JobStore, JobTableUnavailableError

logger = logging.getLogger(__name__)

LAST_LOOK = timedelta(seconds=5)
LAST_LOOK_UNANSWERED = timedelta(seconds=0.05)
"""How long the end of an attempt waits for its pulse, which may wait for the job table: where that answers, and where
it does not."""

R = TypeVar("R", bound="Resource")


class Measured(Protocol):
    """What a resource says it has read and written; None where it can't tell."""

    @property
    def read_rows(self) -> int | None: ...  # noqa: D102
    @property
    def read_bytes(self) -> int | None: ...  # noqa: D102
    @property
    def written_rows(self) -> int | None: ...  # noqa: D102
    @property
    def written_bytes(self) -> int | None: ...  # noqa: D102


class Resource(Protocol):
    """What a job opens and gives back: a data plane, usually."""

    def close(self) -> None:
        """Release it."""
        ...

    def progress(self) -> float | None:
        """Return the share done of what it is doing, 0 to 1, or None."""
        ...

    def usage(self) -> Measured:
        """Return what was read and written through it."""
        ...


@runtime_checkable
class Publishing(Protocol):
    """A resource through which a job publishes what it has made."""

    def fence(self, job_id: UUID, token: int) -> None:
        """See to it that no attempt of a job with a lower token than this can publish any more."""
        ...


class NoJobError(NarrativeError, LookupError):
    """This code runs outside a job."""

    kind = FailureKind.INTERNAL
    code = "no_job"
    remedy = "Call it from the body of a flow that is decorated with @job, in the flow's own thread."


_current: ContextVar["JobContext"] = ContextVar("narrative_job")


def current_job() -> "JobContext":
    """Return the context of the job whose body is running.

    Raises:
        NoJobError: none is.
    """
    try:
        return _current.get()
    except LookupError as exc:
        raise NoJobError from exc


class JobContext:
    """One attempt at a job, from its start until its resources are released.

    A thread of its own (`Pulse`) writes progress and heartbeats, and sees when the attempt must end. If the job table
    can't be reached, the work goes on: result, failure and usage go to the outbox.

    Args:
        job_id: The job.
        store: The job table.
        outbox: Where goes what the table can't take.
        attempt_hint: Number of the attempt where the table can't tell.
        executor: Where this process runs.
        dataset: The dataset written or described, where it is known from the input.
        data_plane: The plane's name, where the job has one.
        code_version: Version of the code that runs.
        show: Shows progress elsewhere too, once the job has run for two seconds.
        leave: Makes the body end where this attempt must; takes the reason.
        price: Tells what usage costs, None where it can't. None: nobody wants to know.
        clock: Tells the time of day.
    """

    def __init__(
        self,
        job_id: UUID,
        store: JobStore,
        outbox: Outbox,
        *,
        attempt_hint: int = 1,
        executor: Executor | None = None,
        dataset: str | None = None,
        data_plane: str | None = None,
        code_version: str | None = None,
        show: Callable[[Progress], None] | None = None,
        leave: Callable[[str], object] | None = None,
        price: Callable[[Usage], Cost | None] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.job_id = JobId(job_id)
        self._store = store
        self._outbox = outbox
        self._price = price
        self._clock = clock
        self._resources: list[Resource] = []
        self._release = ExitStack()
        self._message = "started"
        self._fraction: float | None = None
        self._span = (0.0, 1.0)
        self._cpu_at_start = time.process_time()
        executor = executor or Executor(host=socket.gethostname(), pid=os.getpid())
        # Tokens are microseconds of the clock, or one more than the last: an attempt that starts while the table is
        # down has one that is higher than its forerunner's all the same.
        token = int(clock().timestamp() * 1e6)
        self._is_answered = False
        try:
            self.attempt = store.begin_attempt(
                self.job_id,
                executor,
                dataset=dataset,
                data_plane=data_plane,
                code_version=code_version,
                token=token,
            )
            self._is_answered = True
        except (JobTableUnavailableError, KeyError) as exc:
            logger.warning("Job %s starts without the job table: %s", job_id, exc, extra={"job_id": str(job_id)})
            self.attempt = Attempt(number=attempt_hint, token=token, follows=True)
        self._pulse = Pulse(self.job_id, self.token, store, self._progress_now, show=show, leave=leave)

    @property
    def token(self) -> int:
        """The fencing token of this attempt."""
        return self.attempt.token

    def __enter__(self) -> Self:
        """Begin to give signs of life."""
        self._reset = _current.set(self)
        self._pulse.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the pulse, store the usage, release everything."""
        self._pulse.stop(within=timedelta(0))
        _current.reset(self._reset)
        try:
            self._attend("keep the usage", self._keep_usage)
            # Where the table does not answer, the usage has been waited for long enough.
            self._pulse.stop(within=LAST_LOOK if self._is_answered else LAST_LOOK_UNANSWERED)
        finally:
            self._release.close()

    def use(self, thing: R) -> R:
        """Take a resource into the job: closed at its end, asked for progress and usage meanwhile.

        Where another attempt may have worked on the job before, it can't publish through this resource any more.
        """
        self._release.callback(self._attend, "release a resource", thing.close)
        self._resources.append(thing)
        if self.attempt.follows and isinstance(thing, Publishing):
            thing.fence(self.job_id, self.token)
        return thing

    def on_end(self, release: Callable[[], object]) -> None:
        """Call `release` when the attempt ends, however it ends; last in, first out.

        What goes wrong in it is logged: it neither hides why an attempt failed nor fails one that has succeeded.
        """
        self._release.callback(self._attend, "release a resource", release)

    def progress(self, message: str, *, start: float = 0.0, until: float = 1.0) -> None:
        """Say what the job does now.

        Args:
            message: For a person, such as `running the query`.
            start: Share of the whole job that was done when this step began, 0 to 1.
            until: Share that will be done at its end; between them, the resources' own progress moves the bar.
        """
        self._message, self._span = message, (start, until)

    def describe(self, *, dataset: str | None = None, sources: Sequence[str] | None = None) -> None:
        """Say which dataset the job writes or describes, and which it reads."""
        try:
            self._store.describe(self.job_id, dataset=dataset, sources=sources)
        except (JobTableUnavailableError, KeyError) as exc:
            logger.warning("Job %s could not be described: %s", self.job_id, exc)

    def keep_result(self, result: Mapping[str, Any]) -> None:
        """Store the result, in the table or the outbox; readers see it once the run has completed.

        Raises:
            SupersededError: a newer attempt has begun.
        """
        self._write(
            lambda: self._store.stage_result(self.job_id, self.token, result),
            lambda: self._outbox.put_result(self.job_id, self.token, result),
        )

    def keep_failure(self, error: BaseException) -> Failure:
        """Record why this attempt fails, in the table or the outbox, and return the record."""
        failure = failure_of(error, self.attempt.number, self._clock())
        self._attend(
            "keep why it failed",
            lambda: self._write(
                lambda: self._store.add_failure(self.job_id, failure),
                lambda: self._outbox.put_failure(self.job_id, self.token, failure),
            ),
        )
        return failure

    def _write(self, write: Callable[[], None], fall_back: Callable[[], object]) -> None:
        try:
            write()
            self._is_answered = True
        except (JobTableUnavailableError, KeyError) as exc:
            self._is_answered = False
            fall_back()
            logger.warning("The outbox took what the job table can't: %s", exc, extra={"job_id": str(self.job_id)})

    def _attend(self, what: str, work: Callable[[], object]) -> None:
        """Do what the outcome of the attempt must not depend on."""
        try:
            work()
        except Exception:
            logger.exception("Job %s could not %s", self.job_id, what, extra={"job_id": str(self.job_id)})

    def _keep_usage(self) -> None:
        usage = self._usage()
        cost = None if self._price is None else self._price(usage)
        self._write(
            lambda: self._store.add_usage(self.job_id, self.token, usage, cost),
            lambda: self._outbox.put_usage(self.job_id, self.token, usage, cost),
        )

    def _usage(self) -> Usage:
        measured = [thing.usage() for thing in self._resources]

        def total(values: list[int | None]) -> int | None:
            known = [value for value in values if value is not None]
            return sum(known) if known else None

        return Usage(
            cpu_seconds=round(time.process_time() - self._cpu_at_start, 6),
            peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            read_rows=total([m.read_rows for m in measured]),
            read_bytes=total([m.read_bytes for m in measured]),
            written_rows=total([m.written_rows for m in measured]),
            written_bytes=total([m.written_bytes for m in measured]),
        )

    def _progress_now(self) -> Progress:
        shares = [share for thing in self._resources if (share := thing.progress()) is not None]
        start, until = self._span
        within = shares[-1] if shares else 0.0
        fraction = min(1.0, max(0.0, start + (until - start) * within))
        return Progress(fraction=round(fraction, 3), message=self._message, at=self._clock())


def failure_of(error: BaseException, attempt: int, now: datetime) -> Failure:
    """Return the record of why an attempt failed.

    An error that is not one of ours is a defect, except for those by which Python itself says what ran out.
    """
    if isinstance(error, NarrativeError):
        return Failure(
            attempt=attempt,
            at=now,
            kind=error.kind,
            code=error.code,
            message=str(error),
            remedy=error.remedy,
            retryable=error.retryable,
            detail=error.detail,
        )
    kind, code, remedy = FailureKind.INTERNAL, "internal_error", "Report it with the job's id and the run's log."
    if isinstance(error, MemoryError):
        kind, code, remedy = FailureKind.RESOURCE, "out_of_memory", "Give the worker more memory or the job less work."
    elif isinstance(error, OSError) and error.errno in {28, 122}:
        kind, code, remedy = FailureKind.RESOURCE, "disk_full", "Free disk space below NARRATIVE_HOME, then retry."
    return Failure(
        attempt=attempt,
        at=now,
        kind=kind,
        code=code,
        message=f"{type(error).__name__}: {error}"[:2000],
        remedy=remedy,
        retryable=kind.retryable,
    )
