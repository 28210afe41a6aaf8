"""Schedules of views: each has its own on the refresh deployment, for operators to see and edit.

Prefect's server throws away runs that other views' schedules have made whenever one schedule is changed or deleted, and
makes them again up to a minute later, without those whose time has come meanwhile. Here they are made again at once.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule
from prefect_narrative.flows.standing_schedules import (
    REFRESH_DEPLOYMENT,
    Standing,
    read_standing,
    slug,
    utc,
    waiting_runs,
)

from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.views.drift import StandingSchedule
from prefect_narrative.views.schedule import InvalidScheduleError, RefreshSchedule

AHEAD = timedelta(hours=1)
"""How far ahead Prefect's scheduler makes runs by itself, and at least three a schedule."""
MOST_RUNS = 1000


class RefreshDeploymentMissingError(NarrativeError, LookupError):
    """The deployment that refreshes views is not there, so nothing can be scheduled."""

    kind: ClassVar[FailureKind] = FailureKind.ACCESS
    code: ClassVar[str] = "refresh_deployment_missing"
    remedy = "Run `narrative deploy`, or create the view with refresh_schedule @once."


class NoScheduleError(NarrativeError, LookupError):
    """The view has no schedule."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "schedule_not_found"
    remedy = "Replace the view with a refresh_schedule (if_exists=replace), or add a schedule in Prefect's UI."


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
        _deployment(read_standing(client))


def set_schedule(
    view: str, data_plane: str, wanted: RefreshSchedule | None, before: RefreshSchedule | None = None
) -> None:
    """Bring a view's schedule from one definition to the next, with the same outcome however often this is called.

    What an operator has edited stays where the definition's own schedule has not changed; a pause stays in any case.

    Args:
        view: The view.
        data_plane: Its plane.
        wanted: What its definition says now; None: no schedule.
        before: What the definition before said; None: no schedule, or there was no view.
    """
    with get_client(sync_client=True) as client:
        standing = read_standing(client)
        own = [one for one in standing.schedules if one.slug == slug(view, data_plane)]
        if wanted is None:
            if before is not None:
                _remove(client, standing, own)
        elif not own:
            _create(client, standing, view, data_plane, wanted)
        elif wanted not in (before, own[0].cron_schedule):
            _update(client, standing, own[0], own[0].parameters, wanted, active=own[0].active)


def schedules_of(views: Sequence[str], data_plane: str) -> list[tuple[str, str]]:
    """Return the schedules that are called after these views or refresh them: each with its view and what it says."""
    with get_client(sync_client=True) as client:
        standing = read_standing(client)
    return [(view, one.told) for view in views for one in standing.of_view(view, data_plane)]


def remove_schedules(view: str, data_plane: str) -> tuple[str, ...]:
    """Remove every schedule that is called after a view or refreshes it, and return what they said."""
    with get_client(sync_client=True) as client:
        standing = read_standing(client)
        doomed = standing.of_view(view, data_plane)
        _remove(client, standing, doomed)
        return tuple(one.told for one in doomed)


def pause_schedules(view: str, data_plane: str) -> tuple[str, ...]:
    """Pause every schedule that refreshes a view, and return what they say.

    Raises:
        NoScheduleError: there is none.
    """
    with get_client(sync_client=True) as client:
        standing = read_standing(client)
        found = standing.of_view(view, data_plane)
        if not found:
            raise NoScheduleError(f"Prefect has no schedule of {view!r}.")
        for one in found:
            if one.active:
                _update(client, standing, one, _complete(one, view, data_plane), None, active=False)
        return tuple(one.told for one in found)


def resume_schedules(
    view: str, data_plane: str, wanted: RefreshSchedule | None, *, as_defined: bool = False
) -> tuple[str, ...]:
    """Let a view's schedules go on from now, make the one that its definition says where it is missing.

    Args:
        view: The view.
        data_plane: Its plane.
        wanted: What its definition says.
        as_defined: Whether to take back what somebody has edited.

    Returns:
        What its schedules say now.

    Raises:
        NoScheduleError: neither the definition nor Prefect has one.
        RefreshDeploymentMissingError: nobody has deployed the refresh of views.
    """
    with get_client(sync_client=True) as client:
        standing = read_standing(client)
        found = standing.of_view(view, data_plane)
        if not found and wanted is None:
            raise NoScheduleError(f"{view!r} has no schedule, neither in its definition nor in Prefect.")
        own = [one for one in found if one.slug == slug(view, data_plane)]
        if wanted is not None and not own:
            _create(client, standing, view, data_plane, wanted)
        for one in found:
            if as_defined and one in own:
                _update(client, standing, one, _parameters(view, data_plane), wanted, active=True)
            elif not one.active:
                _update(client, standing, one, _complete(one, view, data_plane), None, active=True)
        return tuple(one.told for one in read_standing(client).of_view(view, data_plane))


def _deployment(standing: Standing) -> UUID:
    if standing.deployment_id is None:
        raise RefreshDeploymentMissingError(f"There is no deployment {REFRESH_DEPLOYMENT!r}.")
    return standing.deployment_id


def _create(
    client: SyncPrefectClient, standing: Standing, view: str, data_plane: str, schedule: RefreshSchedule
) -> None:
    deployment = _deployment(standing)
    made = DeploymentScheduleCreate(
        schedule=_cron(schedule), active=True, parameters=_parameters(view, data_plane), slug=slug(view, data_plane)
    )
    client.create_deployment_schedules(deployment, [made])
    _make_runs(client, deployment, _now(client))


def _update(
    client: SyncPrefectClient,
    standing: Standing,
    one: StandingSchedule,
    parameters: Mapping[str, Any],
    schedule: RefreshSchedule | None,
    *,
    active: bool,
) -> None:
    """Change one schedule. The parameters go with each change: the server forgets those that are left out."""
    deployment = _deployment(standing)
    body: dict[str, Any] = {"active": active, "parameters": dict(parameters)}
    if schedule is not None:
        body["schedule"] = _cron(schedule).model_dump(mode="json")
    at = _now(client)
    client.request(
        "PATCH",
        "/deployments/{id}/schedules/{schedule_id}",
        path_params={"id": deployment, "schedule_id": one.schedule_id},
        json=body,
    )
    _make_runs(client, deployment, at)


def _remove(client: SyncPrefectClient, standing: Standing, doomed: Sequence[StandingSchedule]) -> None:
    for one in doomed:
        with _overdue_kept(client, _deployment(standing), one.schedule_id):
            client.delete_deployment_schedule(_deployment(standing), one.schedule_id)


@contextmanager
def _overdue_kept(client: SyncPrefectClient, deployment: UUID, doomed: UUID) -> Iterator[None]:
    """Make those runs again that were due, and waited for a worker, when a schedule was deleted."""
    at = _now(client)
    overdue = _due_runs(client, deployment, at)
    lost = {key for key in overdue if key[0] != doomed}
    yield
    start = min((due for _, due in lost), default=at)
    _make_runs(client, deployment, start, until=at)
    for key, run_id in _due_runs(client, deployment, at).items() if lost else ():
        if key not in lost:
            client.delete_flow_run(run_id)  # of a time at which its schedule was paused, or not there yet


def _due_runs(client: SyncPrefectClient, deployment: UUID, at: datetime) -> dict[tuple[UUID | None, datetime], UUID]:
    return {
        (run.created_by.id if run.created_by else None, utc(run.expected_start_time)): run.id
        for run in waiting_runs(client, deployment, before=at)
        if run.expected_start_time is not None
    }


def _make_runs(client: SyncPrefectClient, deployment: UUID, start: datetime, *, until: datetime | None = None) -> None:
    """Let Prefect make the runs of all active schedules from a time on; those that it has already stay as they are."""
    client.request(
        "POST",
        "/deployments/{id}/schedule",
        path_params={"id": deployment},
        json={
            "start_time": start.isoformat(),
            "min_time": ((until or start) - start + AHEAD).total_seconds(),
            "max_runs": MOST_RUNS,
        },
    )


def _now(client: SyncPrefectClient) -> datetime:
    """Return the time by the server's clock, to the second."""
    return parsedate_to_datetime(client.request("GET", "/health").headers["date"]).astimezone(UTC)


def _parameters(view: str, data_plane: str) -> dict[str, str]:
    return {"view": view, "data_plane": data_plane}


def _complete(one: StandingSchedule, view: str, data_plane: str) -> dict[str, Any]:
    """Return a schedule's parameters with what the server may have forgotten."""
    return {**_parameters(view, data_plane), **one.parameters}


def _cron(schedule: RefreshSchedule) -> CronSchedule:
    try:
        return CronSchedule(cron=schedule.cron, timezone=schedule.timezone)
    except ValueError as exc:
        raise InvalidScheduleError(f"{schedule.cron!r} is not a cron expression that Prefect takes.") from exc
