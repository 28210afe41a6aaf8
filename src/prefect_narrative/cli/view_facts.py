"""What `narrative views` gathers: how views stand on their plane, in Prefect and in the job table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect_narrative.cli.connection import connect
from prefect_narrative.cli.output import Output
from prefect_narrative.jobs.record import Job, JobFilter
from prefect_narrative.jobs.states import JobState
from prefect_narrative.jobs.store import JobReader
from prefect_narrative.settings import Settings
from prefect_narrative.views import drift
from prefect_narrative.views.drift import Drift, StandingSchedule
from prefect_narrative.views.overview import ViewStanding

if TYPE_CHECKING:
    from prefect_narrative.flows.standing_schedules import Standing

REFRESH = "refresh-materialized-view"
CREATE = "create-materialized-view"
ENDED = frozenset({JobState.COMPLETED, JobState.FAILED})


@dataclass(frozen=True)
class Schedules:
    """What Prefect knows of the schedules of one plane's views."""

    data_plane: str
    paused: bool
    """Whether the deployment that refreshes views is paused as a whole."""
    standing: tuple[StandingSchedule, ...]
    next_ticks: Mapping[UUID, datetime]

    def of_view(self, view: str) -> tuple[StandingSchedule, ...]:
        """Return the schedules that are called after a view or refresh it."""
        named = self._slug(view)
        return tuple(one for one in self.standing if named == one.slug or one.view == view)

    def next_tick(self, view: str) -> datetime | None:
        """Return when a schedule refreshes a view next; None: it is paused, there is none, or no run is made yet."""
        ticks = [self.next_ticks[one.schedule_id] for one in self.of_view(view) if one.schedule_id in self.next_ticks]
        return None if self.paused else min(ticks, default=None)

    def drift(self, view: ViewStanding) -> tuple[Drift, ...]:
        """Return how a view's definition and Prefect differ."""
        found = drift.of_view(view.name, self._slug(view.name), view.definition.schedule, self.standing)
        if not self.paused or not self.of_view(view.name):
            return found
        told = "The deployment refresh-materialized-view/narrative is paused, and all schedules with it."
        remedy = "`prefect deployment resume refresh-materialized-view/narrative` lets them go on."
        return (*found, Drift(drift.DriftKind.PAUSED, view.name, told, remedy))

    def orphans(self, views: Sequence[ViewStanding]) -> tuple[Drift, ...]:
        """Return the schedules of views that do not exist."""
        return drift.orphans({view.name for view in views}, self.standing)

    def _slug(self, view: str) -> str:
        from prefect_narrative.flows.standing_schedules import slug  # noqa: PLC0415 - it needs Prefect

        return slug(view, self.data_plane)


def schedules(data_plane: str, settings: Settings, output: Output, *, of: str | None = None) -> Schedules | None:
    """Return what Prefect knows of the schedules, or say that it can't be reached and return None.

    Args:
        data_plane: The plane of the views.
        settings: Where the server is.
        output: Where to say so.
        of: Ask for the next time of this view's schedules only; None: of all.
    """
    if not connect(settings).known:
        output.note("No Prefect server is known: schedules are not shown.")
        return None
    from prefect.client.orchestration import get_client  # noqa: PLC0415 - Prefect reads its settings on import

    from prefect_narrative.client import PrefectUnavailableError, reaching  # noqa: PLC0415
    from prefect_narrative.flows.standing_schedules import next_ticks, read_standing  # noqa: PLC0415

    try:
        with reaching(), get_client(sync_client=True) as client:
            found: Standing = read_standing(client)
            wanted = found.of_plane(data_plane) if of is None else found.of_view(of, data_plane)
            active = [one.schedule_id for one in wanted if one.active]
            ticks: dict[UUID, datetime] = {}
            if found.deployment_id is not None and active:
                ticks = next_ticks(client, found.deployment_id, active, datetime.now(UTC))
    except PrefectUnavailableError as exc:
        output.note(f"{exc} Schedules are not shown.")
        return None
    return Schedules(data_plane, found.paused, found.of_plane(data_plane), ticks)


def last_refresh(store: JobReader, view: str, data_plane: str) -> Job | None:
    """Return the newest job that has made a view or brought it up to date, or has failed to; None: no job did."""
    return next(iter(_jobs(store, view, data_plane, 1, ENDED)), None)


def history(store: JobReader, view: str, data_plane: str, limit: int) -> list[Job]:
    """Return the newest jobs that have made or refreshed a view, or are about to, the newest first."""
    return _jobs(store, view, data_plane, limit, None)


def _jobs(store: JobReader, view: str, data_plane: str, limit: int, state: frozenset[JobState] | None) -> list[Job]:
    found = [
        job
        for kind in (REFRESH, CREATE)
        for job in store.page(JobFilter(type=kind, dataset=view, data_plane=data_plane, state=state), limit=limit).jobs
    ]
    return sorted(found, key=lambda job: (job.created_at, str(job.job_id)), reverse=True)[:limit]


def action_of(job: Job) -> str:
    """Return what a job has done with its view: full, incremental, no_data, created..., or its state."""
    action = (job.result or {}).get("action")
    return action if isinstance(action, str) else str(job.state)


def reason_of(job: Job) -> str | None:
    """Return why, in a sentence; of a failed job what went wrong."""
    if job.state is JobState.FAILED and job.failures:
        return job.failures[-1].message
    reason = (job.result or {}).get("reason")
    return reason if isinstance(reason, str) else None


def figure(job: Job, name: str) -> Any:
    """Return a figure of a job's result, or None."""
    return (job.result or {}).get(name)
