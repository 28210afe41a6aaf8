"""`narrative views drop|pause|resume`: what a person does about a view."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from prefect_narrative.cli.connection import connect
from prefect_narrative.cli.datasets import DEFAULT_PLANE, open_plane
from prefect_narrative.cli.exits import ExitCode, UsageError
from prefect_narrative.cli.options import Json, Timeout
from prefect_narrative.cli.output import Output
from prefect_narrative.jobs.record import Job
from prefect_narrative.jobs.states import JobState
from prefect_narrative.planes.errors import nearest
from prefect_narrative.settings import Settings
from prefect_narrative.views.definition import NotAViewError
from prefect_narrative.views.dropping import Dependants, plan_drop
from prefect_narrative.views.overview import ViewNotFoundError, standing_of

if TYPE_CHECKING:
    from prefect_narrative.planes.plane import Plane

Flag = Annotated[bool, Parameter(negative="")]


def drop(
    *views: str,
    cascade: Flag = False,
    force: Flag = False,
    dry_run: Flag = False,
    data_plane: str = DEFAULT_PLANE,
    timeout: Timeout = None,
    as_json: Json = False,
) -> int:
    """Drop views, their rows and their schedules, as one job; refused while other views read them.

    Args:
        views: The views' names: all of them are dropped, or none. Also of a view that is gone and has left a schedule.
        cascade: Drop the views that read them, too.
        force: Drop them though views read them: those keep their rows, and fail at their next refresh.
        dry_run: Say what would be dropped, and drop nothing.
        data_plane: The data plane's name.
        timeout: Wait at most this many seconds for the job. [for ever]
        as_json: Print what was dropped as JSON.
    """
    if not views:
        raise UsageError("Which views?", remedy="Name the views to drop; `narrative views list` shows them.")
    if cascade and force:
        raise UsageError("--cascade drops the views that read them, --force leaves them: give one of the two.")
    output, settings = Output(as_json=as_json), Settings()
    connect(settings)
    from prefect_narrative.cli.following import follow  # noqa: PLC0415 - Prefect reads its settings on import
    from prefect_narrative.client import Client, reaching  # noqa: PLC0415
    from prefect_narrative.flows.refresh_schedules import schedules_of  # noqa: PLC0415

    how: Dependants = "drop" if cascade else "leave" if force else "refuse"
    with reaching(), open_plane(data_plane) as plane:
        scheduled = partial(_has_schedule, data_plane)
        _check_names(plane, views, scheduled)
        plan = plan_drop(plane, views, how, has_schedule=scheduled)
        removed = schedules_of(sorted({*views, *(one.name for one in plan.doomed)}), data_plane)
    told: dict[str, Any] = {
        "dry_run": dry_run,
        "dropped": [{"dataset": one.name, "kind": one.kind, "rows": one.rows} for one in plan.doomed],
        "schedules": [{"view": view, "schedule": schedule} for view, schedule in removed],
        "left": list(plan.left),
    }
    if dry_run:
        _say(told, output)
        return ExitCode.OK
    inputs = {"drop": list(views), "dependants": how, "dry_run": False, "data_plane": data_plane}
    with reaching(), Client(settings, source="cli") as client:
        job = follow(client, client.submit("clean-up", inputs).job_id, output, timeout)
    return _ended(job, output)


def pause(view: str, /, *, data_plane: str = DEFAULT_PLANE, as_json: Json = False) -> int:
    """Pause a view's schedule: the view is not refreshed by itself until it is resumed.

    Args:
        view: The view's name.
        data_plane: The data plane's name.
        as_json: Print its schedules as JSON.
    """
    output, settings = Output(as_json=as_json), Settings()
    connect(settings)
    from prefect_narrative.client import reaching  # noqa: PLC0415 - Prefect reads its settings on import
    from prefect_narrative.flows.refresh_schedules import pause_schedules  # noqa: PLC0415

    with reaching():
        with open_plane(data_plane) as plane:
            standing_of(plane, view)
        paused = pause_schedules(view, data_plane)
    return _scheduled(view, paused, output, active=False)


def resume(view: str, /, *, as_defined: Flag = False, data_plane: str = DEFAULT_PLANE, as_json: Json = False) -> int:
    """Let a view's schedule go on from now; what was missed is not made up for. Makes it again where it is missing.

    Args:
        view: The view's name.
        as_defined: Take back what somebody has edited in Prefect: the schedule is what the view's definition says.
        data_plane: The data plane's name.
        as_json: Print its schedules as JSON.
    """
    output, settings = Output(as_json=as_json), Settings()
    connect(settings)
    from prefect_narrative.client import reaching  # noqa: PLC0415 - Prefect reads its settings on import
    from prefect_narrative.flows.refresh_schedules import resume_schedules  # noqa: PLC0415

    with reaching():
        with open_plane(data_plane) as plane:
            wanted = standing_of(plane, view).definition.schedule
        resumed = resume_schedules(view, data_plane, wanted, as_defined=as_defined)
    return _scheduled(view, resumed, output, active=True)


def _has_schedule(data_plane: str, view: str) -> bool:
    from prefect_narrative.flows.refresh_schedules import schedules_of  # noqa: PLC0415 - it needs Prefect

    return bool(schedules_of([view], data_plane))


def _check_names(plane: "Plane", names: Sequence[str], scheduled: Callable[[str], bool]) -> None:
    for name in names:
        if plane.exists(name):
            if plane.dataset(name).kind != "view":
                raise NotAViewError(
                    f"{name!r} is a dataset, and no view.",
                    remedy=f"narrative submit clean-up 'drop=[\"{name}\"]' dry_run=false --wait",
                )
        elif not scheduled(name):
            there = [one.name for one in plane.descriptions(plane.snapshot()) if one.kind == "view"]
            raise ViewNotFoundError(f"There is no view {name!r}, and no schedule of one.{nearest(name, there)}")


def _scheduled(view: str, told: Sequence[str], output: Output, *, active: bool) -> int:
    if output.as_json:
        output.document({"view": view, "active": active, "schedules": list(told)})
    for one in told:
        output.line(f"{view} {one} {'goes on' if active else 'paused'}")
    return ExitCode.OK


def _ended(job: Job, output: Output) -> int:
    if job.state is JobState.COMPLETED and job.result is not None:
        _say({"job_id": str(job.job_id), **job.result}, output)
        return ExitCode.OK
    from prefect_narrative.cli.following import ended  # noqa: PLC0415 - it needs Prefect

    return ended(job, output)


def _say(told: dict[str, Any], output: Output) -> None:
    if output.as_json:
        output.document(told)
        return
    would = "would be " if told["dry_run"] else ""
    for one in told["dropped"]:
        output.line(f"{one['kind']} {one['dataset']} {would}dropped, {one['rows']:,} rows")
    for one in told["schedules"]:
        output.line(f"schedule of {one['view']} {would}removed: {one['schedule']}")
    for view in told["left"]:
        output.line(f"view {view} {would}left without a source: its next refresh fails")
