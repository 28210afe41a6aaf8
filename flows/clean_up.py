"""`clean-up`: free what is no longer needed."""

from typing import Annotated, Literal

from prefect_narrative.blocks import load_plane
from prefect_narrative.flows.inputs import DatasetName, PlaneName
from prefect_narrative.flows.refresh_schedules import remove_schedules, schedules_of
from pydantic import BaseModel, Field

from prefect_narrative.jobs.context import current_job
from prefect_narrative.jobs.job import job, step
from prefect_narrative.planes.plane import Plane, Published, Write
from prefect_narrative.views.dropping import DropPlan, plan_drop


class DroppedDataset(BaseModel):
    """A dataset or view that is dropped, with its rows, its definition and its schedules."""

    dataset: str
    kind: Literal["dataset", "view"]
    rows: int
    bytes: int
    """Stored bytes of its live files; they are freed when the snapshots that show them have expired."""


class RemovedSchedule(BaseModel):
    """A schedule that is removed from Prefect."""

    view: str
    schedule: str
    """What it said."""


class CleanedUp(BaseModel):
    """What `clean-up` has removed, or would remove."""

    dry_run: bool
    """Whether nothing was removed and this is what would be."""
    snapshot_id: int
    """The first snapshot without what was dropped; of a dry run, the one that was looked at."""
    dropped: list[DroppedDataset]
    schedules: list[RemovedSchedule]
    left: list[str]
    """Views that stay though something that they read is dropped: their next refresh fails."""
    freed_bytes: int
    """Bytes on disk that are free now: none by dropping, since older snapshots still show the rows."""


@job(type="clean-up", label="clean up")
def clean_up(
    drop: Annotated[list[DatasetName], Field(min_length=1, max_length=100, examples=[["by_city"]])],
    dependants: Literal["refuse", "drop", "leave"] = "refuse",
    dry_run: bool = True,
    data_plane: PlaneName = "default",
) -> CleanedUp:
    """Free what is no longer needed: drop datasets and views, the views' schedules with them.

    Args:
        drop: Datasets and views to drop: all of them in one transaction, or none.
        dependants: Where views read one of them: refuse to drop it, drop those views too, or leave them with their
            rows, to fail at their next refresh.
        dry_run: Say what would be removed, and remove nothing.
        data_plane: The data plane to clean up.
    """
    context = current_job()
    plane = context.use(load_plane(data_plane))
    published = plane.published(context.job_id)
    if published is None:
        context.progress("looking at what is there", until=0.2)
        if len(drop) == 1:
            context.describe(dataset=drop[0])
        plan, told = look(plane, drop, dependants, data_plane)
        if dry_run:
            return told
        context.progress("dropping", start=0.2, until=0.6)
        published = drop_datasets(plane, plan, told)
    done = CleanedUp.model_validate(published.result)
    context.progress("removing schedules", start=0.6)
    unschedule(plane, sorted({*drop, *(one.dataset for one in done.dropped)}), data_plane)
    return done


@step(name="look")
def look(
    plane: Plane, names: list[str], dependants: Literal["refuse", "drop", "leave"], data_plane: str
) -> tuple[DropPlan, CleanedUp]:
    """Find out what dropping these removes and touches."""
    plan = plan_drop(plane, names, dependants, has_schedule=lambda name: bool(schedules_of([name], data_plane)))
    doomed = [one.name for one in plan.doomed]
    return plan, CleanedUp(
        dry_run=True,
        snapshot_id=plan.at,
        dropped=[
            DroppedDataset(dataset=one.name, kind=one.kind, rows=one.rows, bytes=one.bytes) for one in plan.doomed
        ],
        schedules=[
            RemovedSchedule(view=view, schedule=told)
            for view, told in schedules_of(sorted({*names, *doomed}), data_plane)
        ],
        left=list(plan.left),
        freed_bytes=0,
    )


@step(name="drop")
def drop_datasets(plane: Plane, plan: DropPlan, told: CleanedUp) -> Published:
    """Drop them in one transaction with the job's result."""
    context = current_job()
    writes = [Write(one.name, "drop", kind=one.kind) for one in plan.doomed]
    result = told.model_copy(update={"dry_run": False}).model_dump(mode="json", exclude={"snapshot_id"})
    return plane.publish(context.job_id, context.token, writes, result, guard=plan.guard)


@step(name="unschedule")
def unschedule(plane: Plane, views: list[str], data_plane: str) -> None:
    """Remove the schedules of what is dropped; those of a view that has been created again since are its own."""
    there = {one.name for one in plane.descriptions()}
    for view in views:
        if view not in there:
            remove_schedules(view, data_plane)
