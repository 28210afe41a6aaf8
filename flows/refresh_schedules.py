"""Schedules of views: each has its own on the refresh deployment, for operators to see and edit."""

from typing import ClassVar

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound
from prefect_narrative.blocks import DEFAULT_PLANE

from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.views.schedule import InvalidScheduleError, RefreshSchedule

REFRESH_DEPLOYMENT = "refresh-materialized-view/narrative"


class RefreshDeploymentMissingError(NarrativeError, LookupError):
    """The deployment that refreshes views is not there, so nothing can be scheduled."""

    kind: ClassVar[FailureKind] = FailureKind.ACCESS
    code: ClassVar[str] = "refresh_deployment_missing"
    remedy = "Run `narrative deploy`, or create the view with refresh_schedule @once."


def check_schedule(schedule: RefreshSchedule | None) -> None:
    """Raise, before any work is done, if Prefect would not take this schedule or has nothing to put it on.

    Raises:
        InvalidScheduleError: a field is out of its range.
        RefreshDeploymentMissingError: nobody has deployed the refresh of views.
    """
    if schedule is None:
        return
    _cron(schedule)
    with get_client(sync_client=True) as client:
        try:
            client.read_deployment_by_name(REFRESH_DEPLOYMENT)
        except ObjectNotFound as exc:
            raise RefreshDeploymentMissingError(f"There is no deployment {REFRESH_DEPLOYMENT!r}.") from exc


def set_schedule(view: str, schedule: RefreshSchedule | None, data_plane: str) -> None:
    """See to it that a view has its schedule, and no doubles of it, however often this is called.

    A schedule that is already there stays as it is: an operator may have edited it.
    """
    if schedule is None:
        return
    name = slug(view, data_plane)
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(REFRESH_DEPLOYMENT)
        if any(one.slug == name for one in client.read_deployment_schedules(deployment.id)):
            return
        client.create_deployment_schedules(
            deployment.id,
            [
                DeploymentScheduleCreate(
                    schedule=_cron(schedule),
                    active=True,
                    parameters={"view": view, "data_plane": data_plane},
                    slug=name,
                )
            ],
        )


def slug(view: str, data_plane: str) -> str:
    """Return the name of a view's schedule: the view's, with the plane's where it is not the default one."""
    return view if data_plane == DEFAULT_PLANE else f"{view}@{data_plane}"


def _cron(schedule: RefreshSchedule) -> CronSchedule:
    try:
        return CronSchedule(cron=schedule.cron, timezone=schedule.timezone)
    except ValueError as exc:
        raise InvalidScheduleError(f"{schedule.cron!r} is not a cron expression that Prefect takes.") from exc
