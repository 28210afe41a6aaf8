"""The refresh deployment's schedules as they stand in Prefect: whose they are, and when they come next."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import DeploymentSchedule, FlowRun, StateType
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect_narrative.blocks import DEFAULT_PLANE

from prefect_narrative.views.drift import StandingSchedule

REFRESH_DEPLOYMENT = "refresh-materialized-view/narrative"
PAGE = 200
MOST_PAGES = 25
"""After so many pages of runs to come, a schedule that has not been seen is said to have no next time."""


@dataclass(frozen=True)
class Standing:
    """All schedules of the refresh deployment."""

    deployment_id: UUID | None
    """None where nobody has deployed the refresh of views."""
    paused: bool
    """Whether the deployment as a whole is paused."""
    schedules: tuple[StandingSchedule, ...]

    def of_plane(self, data_plane: str) -> tuple[StandingSchedule, ...]:
        """Return the schedules of one plane's views."""
        return tuple(one for one in self.schedules if one.data_plane == data_plane)

    def of_view(self, view: str, data_plane: str) -> tuple[StandingSchedule, ...]:
        """Return the schedules that are called after a view or refresh it."""
        named = slug(view, data_plane)
        return tuple(one for one in self.of_plane(data_plane) if named == one.slug or one.view == view)


def slug(view: str, data_plane: str) -> str:
    """Return the name of a view's schedule: the view's, with the plane's where it is not the default one."""
    return view if data_plane == DEFAULT_PLANE else f"{view}@{data_plane}"


def meant_by(name: str) -> tuple[str, str]:
    """Return the view and the plane that a schedule's name means."""
    view, _, data_plane = name.partition("@")
    return view, data_plane or DEFAULT_PLANE


def read_standing(client: SyncPrefectClient) -> Standing:
    """Return the schedules that Prefect has."""
    try:
        deployment = client.read_deployment_by_name(REFRESH_DEPLOYMENT)
    except ObjectNotFound:
        return Standing(None, paused=False, schedules=())
    found = client.read_deployment_schedules(deployment.id)
    return Standing(deployment.id, bool(deployment.paused), tuple(map(_standing, found)))


def next_ticks(
    client: SyncPrefectClient, deployment_id: UUID, schedules: Collection[UUID], now: datetime
) -> dict[UUID, datetime]:
    """Return when these schedules come next, as far as Prefect has made their runs: a paused one has none."""
    missing = set(schedules)
    found: dict[UUID, datetime] = {}
    for run in waiting_runs(client, deployment_id, after=now) if missing else ():
        creator = run.created_by.id if run.created_by else None
        if creator in missing and run.expected_start_time is not None:
            found[creator] = run.expected_start_time
            missing.remove(creator)
            if not missing:
                break
    return found


def waiting_runs(
    client: SyncPrefectClient, deployment_id: UUID, *, after: datetime | None = None, before: datetime | None = None
) -> Iterator[FlowRun]:
    """Yield the runs that schedules have made and nobody has taken, the earliest first."""
    narrowed = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[deployment_id]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
        expected_start_time=FlowRunFilterExpectedStartTime(after_=after, before_=before),
    )
    for page in range(MOST_PAGES):
        runs = client.read_flow_runs(
            flow_run_filter=narrowed, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=PAGE, offset=page * PAGE
        )
        yield from (run for run in runs if run.auto_scheduled and not run.run_count)
        if len(runs) < PAGE:
            return


def _standing(one: DeploymentSchedule) -> StandingSchedule:
    named, plane = meant_by(one.slug) if one.slug else (None, DEFAULT_PLANE)
    # Where a schedule is edited in Prefect's UI, the server forgets its parameters: its name is all that it has then.
    view, plane = one.parameters.get("view", named), one.parameters.get("data_plane", plane)
    cron, timezone, told = None, getattr(one.schedule, "timezone", None) or "UTC", ""
    if isinstance(one.schedule, CronSchedule):
        cron = " ".join(one.schedule.cron.split())
        told = f"{cron} in {timezone}"
        if not one.schedule.day_or:
            cron, told = None, f"{told}, where day and weekday are both meant"
    elif isinstance(one.schedule, IntervalSchedule):
        told = f"every {one.schedule.interval}"
    else:
        told = f"by the rule {getattr(one.schedule, 'rrule', one.schedule)}"
    more = {name: value for name, value in one.parameters.items() if name not in {"view", "data_plane"}}
    if more:
        told += f", with {', '.join(f'{name}={value}' for name, value in more.items())}"
    return StandingSchedule(
        schedule_id=one.id,
        slug=one.slug,
        view=view if isinstance(view, str) else None,
        data_plane=str(plane),
        cron=cron,
        timezone=timezone,
        told=told,
        active=one.active,
        parameters=one.parameters,
    )


def utc(moment: datetime) -> datetime:
    """Return a time of Prefect's, which may be of a class of its own, as an ordinary one in UTC."""
    return datetime.fromtimestamp(moment.timestamp(), UTC)
