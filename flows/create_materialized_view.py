"""`create-materialized-view`: define a view, fill it, schedule its refresh."""

from typing import Annotated, Literal

from prefect_narrative.blocks import load_plane
from prefect_narrative.flows.inputs import (
    DatasetName,
    MergeKey,
    Partitions,
    PlaneName,
    Query,
    Tags,
    Text,
    check_statistics,
    check_target,
)
from prefect_narrative.flows.refresh_schedules import check_schedule, set_schedule
from pydantic import BaseModel, Field

from prefect_narrative.jobs.context import current_job
from prefect_narrative.jobs.job import job, step
from prefect_narrative.planes.partitioning import partitions
from prefect_narrative.planes.plane import CheckedQuery, Plane, Published, SourceVersion, Stage
from prefect_narrative.views.definition import ViewDefinition, freeze_columns, merge_key
from prefect_narrative.views.expiry import RETAIN_EVERYTHING, parse_expiry
from prefect_narrative.views.refreshing import stage_view, view_write
from prefect_narrative.views.schedule import RefreshSchedule, parse_schedule


class ViewCreated(BaseModel):
    """What `create-materialized-view` has made."""

    dataset: str
    snapshot_id: int
    """The snapshot in which the view is first seen."""
    rows: int
    bytes: int
    """Stored bytes of the view's rows."""
    schedule: str | None
    """The refresh schedule as cron; None where the view has none."""


@job(type="create-materialized-view", label="create view {name}", dataset="name")
def create_materialized_view(
    name: DatasetName,
    query: Query,
    refresh_schedule: Annotated[str, Field(max_length=200, examples=["@once", "@daily", "30 6 * * 1-5"])] = "@once",
    timezone: Annotated[str, Field(max_length=100, examples=["UTC", "Europe/Berlin"])] = "UTC",
    write_mode: Literal["overwrite", "append"] = "overwrite",
    merge_on: MergeKey | None = None,
    partitioned_by: Partitions | None = None,
    expire: Annotated[str, Field(max_length=100, examples=["P90D", "P1Y", "expire_everything"])] = RETAIN_EVERYTHING,
    extended_stats: Literal["all", "none"] = "none",
    display_name: Annotated[str, Field(max_length=200)] | None = None,
    description: Text | None = None,
    tags: Tags | None = None,
    data_plane: PlaneName = "default",
) -> ViewCreated:
    """Define a view over datasets, fill it, and schedule its refresh.

    Args:
        name: The view's name: small letters, digits and underscores, optionally after a schema and a dot.
        query: One SELECT over datasets by their names, in DuckDB's dialect.
        refresh_schedule: @once for none, @hourly, @daily, @weekly, @monthly, or five-field cron.
        timezone: The time zone that the schedule is meant in, such as Europe/Berlin.
        write_mode: What a refresh does with the query's rows: overwrite replaces the view's, append adds to them.
        merge_on: With append: the key columns by which new rows replace those that are there.
        partitioned_by: What files are kept apart by: columns, or year(c), month(c), day(c) of a date or timestamp.
        expire: How long rows are kept: an ISO-8601 period such as P90D, retain_everything or expire_everything.
        extended_stats: all is refused as long as no job type computes statistics of columns.
        display_name: What people call the view.
        description: What the view shows, for people.
        tags: Words to find the view by.
        data_plane: The data plane that the view and its sources live in.
    """
    context = current_job()
    schedule = parse_schedule(refresh_schedule, timezone)
    parse_expiry(expire)
    check_statistics(extended_stats)
    check_schedule(schedule)
    draft = ViewDefinition(
        query=query,
        columns=(),
        sources=(),
        write_mode=write_mode,
        merge_on=tuple(merge_on or ()),
        partitioned_by=tuple(partitioned_by or ()),
        expire=expire,
        extended_stats=extended_stats,
        refresh_schedule=refresh_schedule.strip(),
        timezone=timezone,
        display_name=display_name,
        description=description,
        tags=tuple(sorted(set(tags or ()))),
    )
    plane = context.use(load_plane(data_plane))
    context.on_end(lambda: plane.discard(context.job_id, context.token))
    published = plane.published(context.job_id)
    if published is None:
        check_target(plane, name, "create")
        context.progress("checking the query", until=0.05)
        checked, definition, versions, at = define(plane, draft)
        context.describe(sources=checked.sources)
        context.progress("running the query", start=0.05, until=0.9)
        stage = fill(plane, name, checked, at, definition)
        context.progress("publishing", start=0.9)
        published = publish_view(plane, name, definition, versions, stage, schedule)
    schedule_refresh(name, schedule, data_plane)
    return ViewCreated.model_validate(published.result)


@step(name="define")
def define(plane: Plane, draft: ViewDefinition) -> tuple[CheckedQuery, ViewDefinition, tuple[SourceVersion, ...], int]:
    """Check the query and what is said about its columns, and freeze what the view is."""
    at = plane.snapshot()
    checked = plane.check(draft.query, at)
    versions = tuple(plane.versions(checked.sources, at))
    described = tuple(plane.describe(checked, at))
    columns = freeze_columns(checked, described)
    definition = draft.model_copy(
        update={
            "columns": columns,
            "volatile": checked.volatile,
            "merge_on": merge_key(draft.merge_on, draft.write_mode, columns),
            "partitioned_by": tuple(map(str, partitions(draft.partitioned_by, described))),
        }
    )
    return checked, definition, versions, at


@step(name="fill")
def fill(plane: Plane, name: str, checked: CheckedQuery, at: int, definition: ViewDefinition) -> Stage:
    """Run the query at one snapshot; nobody sees its rows yet."""
    context = current_job()
    return stage_view(plane, context.job_id, context.token, name, checked, at, definition)


@step(name="publish")
def publish_view(
    plane: Plane,
    name: str,
    definition: ViewDefinition,
    versions: tuple[SourceVersion, ...],
    stage: Stage,
    schedule: RefreshSchedule | None,
) -> Published:
    """Make rows, definition and source snapshots visible, in one transaction with the job's result."""
    context = current_job()
    result = {
        "dataset": name,
        "rows": stage.rows,
        "bytes": stage.bytes,
        "schedule": schedule.cron if schedule else None,
    }
    write = view_write(name, definition, versions, stage)
    return plane.publish(context.job_id, context.token, [write], result)


@step(name="schedule")
def schedule_refresh(view: str, schedule: RefreshSchedule | None, data_plane: str) -> None:
    """See to it that the view's schedule is on the refresh deployment."""
    set_schedule(view, schedule, data_plane)
