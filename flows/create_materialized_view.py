"""`create-materialized-view`: define a view, fill it, schedule its refresh."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from prefect_narrative.blocks import load_plane
from prefect_narrative.flows.inputs import (
    Columns,
    DatasetName,
    MergeKey,
    Partitions,
    PlaneName,
    Query,
    Tags,
    Text,
)
from prefect_narrative.flows.refresh_schedules import check_schedule, set_schedule
from prefect_narrative.flows.statistics_on_update import measure_if_wanted
from pydantic import BaseModel, Field

from prefect_narrative.jobs.context import current_job
from prefect_narrative.jobs.job import job, step
from prefect_narrative.planes.errors import DatasetExistsError
from prefect_narrative.planes.plane import Plane, Published
from prefect_narrative.views.defining import DefinitionPlan, Draft, IfExists, KeptView, plan_definition
from prefect_narrative.views.definition import ViewDefinition
from prefect_narrative.views.expiry import RETAIN_EVERYTHING, parse_expiry
from prefect_narrative.views.filling import Filled, fill_view
from prefect_narrative.views.refreshing import view_write
from prefect_narrative.views.schedule import RefreshSchedule, parse_schedule


class ViewCreated(BaseModel):
    """What `create-materialized-view` has made."""

    dataset: str
    action: Literal["created", "replaced", "kept"]
    """kept: there was a view of this name, and if_exists says to leave it as it is."""
    reason: str
    """What was there before and what became of it, in a sentence."""
    snapshot_id: int
    """The snapshot in which the view is as it is now."""
    rows: int
    bytes: int
    """Stored bytes of the view's rows."""
    schedule: str | None
    """The refresh schedule as cron, as the view's definition says it; None where it has none."""
    dependants: list[str]
    """The views that read this one, themselves or over others."""
    statistics_job: UUID | None = None
    """With extended_stats=all: the job that measures the view's columns now."""


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
    sensitive_columns: Columns | None = None,
    extended_stats: Literal["all", "none"] = "none",
    display_name: Annotated[str, Field(max_length=200)] | None = None,
    description: Text | None = None,
    tags: Tags | None = None,
    if_exists: IfExists = "fail",
    force: bool = False,
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
        sensitive_columns: Columns whose values nobody is shown, beside those that derive from sensitive ones; where a
            view is replaced, empty means none and leaving it out those that were.
        extended_stats: all measures the view's columns after each refresh that changes it, by a job of its own.
        display_name: What people call the view.
        description: What the view shows, for people.
        tags: Words to find the view by.
        if_exists: What to do where there is a view of this name: fail, keep it as it is, or replace its definition, its
            rows and its schedule.
        force: Replace it even where views that read it would fail or change.
        data_plane: The data plane that the view and its sources live in.
    """
    context = current_job()
    schedule = parse_schedule(refresh_schedule, timezone)
    parse_expiry(expire)
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
    wanted = Draft(name, draft, if_exists, None if sensitive_columns is None else tuple(sensitive_columns), force)
    plane = context.use(load_plane(data_plane))
    context.on_end(lambda: plane.discard(context.job_id, context.token))
    published = plane.published(context.job_id)
    if published is None:
        context.progress("checking the query", until=0.05)
        plan = define(plane, wanted)
        if isinstance(plan, KeptView):
            return _kept(plan)
        context.describe(sources=plan.query.sources)
        context.progress("running the query", start=0.05, until=0.9)
        filled = fill(plane, plan)
        context.progress("publishing", start=0.9)
        try:
            published = publish_view(plane, plan, filled, schedule)
        except DatasetExistsError:
            again = define(plane, wanted) if if_exists == "keep" else None
            if not isinstance(again, KeptView):
                raise
            return _kept(again)  # another job has been quicker
    schedule_refresh(name, data_plane, schedule, _schedule_before(published.result))
    done = ViewCreated.model_validate(published.result)
    return done.model_copy(update={"statistics_job": measure_if_wanted(draft, name, done.snapshot_id, data_plane)})


@step(name="define")
def define(plane: Plane, draft: Draft) -> DefinitionPlan | KeptView:
    """Check the query, what is said about its columns, and what is there already; freeze what the view is."""
    return plan_definition(plane, draft, datetime.now(UTC))


@step(name="fill")
def fill(plane: Plane, plan: DefinitionPlan) -> Filled:
    """Run the query at one snapshot; nobody sees its rows yet."""
    context = current_job()
    return fill_view(plane, context.job_id, context.token, plan.view, plan.query, plan.at, plan.definition)


@step(name="publish")
def publish_view(plane: Plane, plan: DefinitionPlan, filled: Filled, schedule: RefreshSchedule | None) -> Published:
    """Make rows, definition and source snapshots visible, in one transaction with the job's result."""
    context = current_job()
    result = {
        "dataset": plan.view,
        "action": "created" if plan.replaced is None else "replaced",
        "reason": plan.reason,
        "rows": filled.stage.rows,
        "bytes": filled.stage.bytes,
        "schedule": schedule.cron if schedule else None,
        "dependants": list(plan.dependants),
        _BEFORE: None if plan.replaced is None else [plan.replaced.refresh_schedule, plan.replaced.timezone],
    }
    write = view_write(plan.view, filled.definition, plan.versions, filled.stage, state=filled.state)
    if plan.replaced is not None:
        write = replace(write, mode="replace")
    return plane.publish(context.job_id, context.token, [write], result, guard=plan.guard)


@step(name="schedule")
def schedule_refresh(
    view: str, data_plane: str, schedule: RefreshSchedule | None, before: RefreshSchedule | None
) -> None:
    """See to it that the view's schedule is on the refresh deployment, as its definition says."""
    set_schedule(view, data_plane, schedule, before)


_BEFORE = "schedule_before"
"""Recorded with the result, for the attempt that follows where this one dies before it has set the schedule."""


def _schedule_before(result: Mapping[str, Any]) -> RefreshSchedule | None:
    before = result.get(_BEFORE)
    return None if before is None else parse_schedule(*before)


def _kept(view: KeptView) -> ViewCreated:
    standing = view.definition.schedule
    return ViewCreated(
        dataset=view.dataset.name,
        action="kept",
        reason=view.reason,
        snapshot_id=view.dataset.snapshot_id,
        rows=view.dataset.rows,
        bytes=view.dataset.bytes,
        schedule=standing.cron if standing else None,
        dependants=list(view.dependants),
    )
