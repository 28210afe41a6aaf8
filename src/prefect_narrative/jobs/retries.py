"""When a job is tried again by itself: after failures that may end otherwise next time, a few times, after a while."""

from datetime import datetime, timedelta

from prefect_narrative.errors import FailureKind
from prefect_narrative.jobs.record import Job
from prefect_narrative.jobs.states import JobState

MAX_RETRIES = 2
"""How often such a failure is tried again, unless the run's `max_retries` says another number."""
BACKOFF = (timedelta(seconds=5), timedelta(seconds=20), timedelta(seconds=60))
"""How long to wait before the first, the second and each further retry."""
WORKER_DONE_AFTER = timedelta(seconds=15)
"""Longest time, but for a very busy machine, after which a worker reports a process's death once more.

It does so when it has imported the flow anew to run its hooks. A new attempt that has begun by then would be crashed.
"""
FORGOTTEN_AFTER = timedelta(minutes=10)
"""A process that died longer ago than this is not made up for: nobody waits for it any more."""
RETRY_GRACE = timedelta(seconds=10)
"""How long a retry may be overdue before nobody is believed to be there to make it."""


def backoff(used: int) -> timedelta:
    """Return how long to wait before a retry, by the number of retries that there have been."""
    return BACKOFF[min(used, len(BACKOFF) - 1)]


def retry_due(job: Job) -> datetime | None:
    """Return when a job whose process died is to be tried again, or None where it is not.

    A process that lives tries again by itself; a dead one can't, so the reconciler asks Prefect for it.
    """
    if job.state is not JobState.FAILED or job.ended_at is None or job.started_at is None or not job.failures:
        return None  # what died before it started would do so again: a module that is missing, an unknown input
    last = job.failures[-1]
    if last.kind is not FailureKind.INFRASTRUCTURE or last.attempt != job.attempt:
        return None
    said = job.input.get("max_retries")
    most = said if isinstance(said, int) else MAX_RETRIES
    died = sum(one.kind is FailureKind.INFRASTRUCTURE for one in job.failures)
    return None if died > most else job.ended_at + max(backoff(died - 1), WORKER_DONE_AFTER)


def has_ended(job: Job, now: datetime) -> bool:
    """Return whether a job is at rest and nobody is about to try it again by itself: what callers wait for."""
    if not job.state.terminal:
        return False
    due = retry_due(job)
    return due is None or now >= due + RETRY_GRACE
