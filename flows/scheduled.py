"""What a run knows of the schedule that made it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from prefect.context import FlowRunContext
from prefect_narrative.flows.standing_schedules import meant_by, utc

from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.jobs.context import JobContext
from prefect_narrative.jobs.record import Job, JobFilter
from prefect_narrative.jobs.states import JobState
from prefect_narrative.jobs.store import JobReader, JobTableUnavailableError

LONGEST_TURN = timedelta(minutes=15)
"""How long a scheduled refresh waits for another one of the same view before it begins all the same."""
LOOK_EVERY = timedelta(seconds=1)


@dataclass(frozen=True)
class Scheduled:
    """That a schedule asked for this run."""

    view: str | None
    """The view that the schedule is called after; None where it has no name."""
    data_plane: str | None
    due: datetime | None
    """When the run was to start."""


class NoViewError(NarrativeError, LookupError):
    """Neither the run nor its schedule says which view to refresh."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "no_view"
    remedy = "Give the schedule the parameter `view`, in Prefect's UI, or delete it."


def scheduled() -> Scheduled | None:
    """Return what this run knows of its schedule; None where somebody asked for it."""
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run is None or not run.auto_scheduled:
        return None
    name = run.created_by.display_value if run.created_by and run.created_by.type == "SCHEDULE" else None
    # A schedule without a name is called after its kind.
    view, data_plane = meant_by(name) if name and name[0].islower() else (None, None)
    return Scheduled(view, data_plane, utc(run.expected_start_time) if run.expected_start_time else None)


def whose(asked: Scheduled | None) -> tuple[str, str]:
    """Return the view and the plane that a run is for whose inputs name none.

    Prefect's server forgets a schedule's parameters when it is paused or edited in the UI; its name stays.

    Raises:
        NoViewError: nobody says.
    """
    if asked is None or asked.view is None or asked.data_plane is None:
        raise NoViewError("The run names no view to refresh, and was made by no schedule that is called after one.")
    return asked.view, asked.data_plane


def await_turn(
    context: JobContext,
    store: JobReader,
    view: str,
    data_plane: str,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Wait while another job that began before this one works on the view: after a down time many are due at once.

    They would all run the same query, and all but one of them in vain. Nothing rests on it but work that is saved:
    where two begin at once, or the job table does not answer, the first to publish wins and the others find nothing to
    do.
    """
    until = clock() + LONGEST_TURN.total_seconds()
    while (before := _before_this(context, store, view, data_plane)) is not None and clock() < until:
        context.progress(f"waiting for job {before.job_id}, which works on the view", until=0.0)
        sleep(LOOK_EVERY.total_seconds())


def _before_this(context: JobContext, store: JobReader, view: str, data_plane: str) -> Job | None:
    running = JobFilter(state=frozenset({JobState.RUNNING}), dataset=view, data_plane=data_plane)
    try:
        jobs = store.page(running, limit=100).jobs
    except JobTableUnavailableError:
        return None
    own = next((job for job in jobs if job.job_id == context.job_id), None)
    if own is None:
        return None
    earlier = [job for job in jobs if _began(job) < _began(own)]
    return min(earlier, key=_began, default=None)


def _began(job: Job) -> tuple[datetime, str]:
    return (job.started_at or job.created_at, str(job.job_id))
