"""`refresh-materialized-view`: bring a view up to date."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from prefect_narrative.blocks import load_plane
from prefect_narrative.flows.cascading import Cascade, ChildRefresh
from prefect_narrative.flows.inputs import DatasetName, PlaneName
from prefect_narrative.flows.scheduled import await_turn, scheduled, whose
from prefect_narrative.flows.statistics_on_update import measure_if_wanted
from pydantic import BaseModel, Field, ValidatorFunctionWrapHandler, WrapValidator

from prefect_narrative.jobs.context import current_job
from prefect_narrative.jobs.hooks import here
from prefect_narrative.jobs.job import job, step
from prefect_narrative.planes.plane import Plane, Published
from prefect_narrative.views.definition import ViewDefinition
from prefect_narrative.views.lineage import Lineage
from prefect_narrative.views.outcome import Outcome
from prefect_narrative.views.refreshing import Action, RefreshPlan, carried_out, plan_refresh, stage_refresh
from prefect_narrative.views.updating import Mode

SnapshotId = Annotated[int, Field(ge=0)]

BY_SCHEDULE = ""
"""Stands for the view that the run's schedule is called after: no caller may leave the view out, see `Declaration`."""


def _unless_by_schedule(name: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """Check a name. Prefect checks a flow's defaults like any other input, and this one is no name."""
    return name if name == BY_SCHEDULE else check(name)


class SourceRead(BaseModel):
    """Which contents of a source a refresh has read."""

    dataset: str
    from_snapshot: int | None
    """What the view was made from before; None where it did not read this source."""
    to_snapshot: int
    """What it is made from now."""


class RefreshEstimate(BaseModel):
    """What both ways to refresh a view were expected to take."""

    full_seconds: float
    incremental_seconds: float
    changed_rows: int
    """At most so many rows of the sources had changed."""
    source_rows: int
    """Rows in the sources."""


class ViewRefreshed(BaseModel):
    """What `refresh-materialized-view` has done."""

    view: str
    action: Action
    """full: the query ran, and its rows are the view's. incremental: rows were added, replaced or taken away. no_data:
    nothing has changed, so nothing was done."""
    reason: str
    """Why this action, in a sentence."""
    snapshot_id: int
    """The snapshot in which the view is as it is now."""
    inserted_rows: int
    deleted_rows: int
    rows: int
    """Rows in the view now."""
    sources: list[SourceRead]
    base_snapshot: int
    """The snapshot as of which the sources were read."""
    estimate: RefreshEstimate | None = None
    """What was expected before; None where there was nothing to choose."""
    seconds: float = 0.0
    """What making the rows took then, up to their publication."""
    statistics_job: UUID | None = None
    """With extended_stats=all: the job that measures the view's columns now; None where nothing has changed."""
    children: list[ChildRefresh] = []
    """With cascade=downstream: what became of each view that is made from this one, in the order of their refresh."""


@job(type="refresh-materialized-view", label="refresh view {view}", dataset="view")
def refresh_materialized_view(
    view: Annotated[DatasetName, WrapValidator(_unless_by_schedule)] = BY_SCHEDULE,
    mode: Mode = "auto",
    cascade: Literal["none", "downstream"] = "none",
    source_snapshots: dict[DatasetName, SnapshotId] | None = None,
    data_plane: PlaneName = "default",
) -> ViewRefreshed:
    """Bring a view up to date with its sources; readers see the old or the new rows, never a mixture.

    Args:
        view: The view's name.
        mode: auto leaves the view alone when its sources are unchanged, and brings it up to date by what has changed
            where that is expected to be quicker; incremental does so in any case, or refuses; full runs its query, and
            fills anew also a view to which rows are appended.
        cascade: downstream refreshes the views that are made from this one too, in order, each by a job of its own.
        source_snapshots: Snapshots at which to read these sources; the newest for all others. Cascades use it.
        data_plane: The data plane that the view lives in.
    """
    context = current_job()
    asked = scheduled()
    if not view:
        view, data_plane = whose(asked)
        context.describe(dataset=view)
    plane = context.use(load_plane(data_plane))
    context.on_end(lambda: plane.discard(context.job_id, context.token))
    published = plane.published(context.job_id)
    planned: RefreshPlan | None = None
    if published is None:
        if asked:
            await_turn(context, here()[0], view, data_plane)

        def plan_again(how: Mode, instead: str | None) -> RefreshPlan:
            nonlocal planned
            context.progress("comparing the sources", until=0.05)
            planned = compare(plane, view, how, instead, asked.due if asked else None, source_snapshots)
            context.describe(sources=planned.query.sources)
            return planned

        def carry_out(plan: RefreshPlan) -> ViewRefreshed:
            if plan.action == "no_data":
                if cascade == "none":
                    return ViewRefreshed(**_unchanged(plan), snapshot_id=plan.at)
                # Another attempt must find what its children are to read.
                return ViewRefreshed.model_validate(
                    plane.publish(context.job_id, context.token, [], _unchanged(plan)).result
                )
            context.progress("running the query", start=0.05, until=0.9)
            outcome = run_query(plane, plan)
            context.progress("publishing", start=0.9)
            return ViewRefreshed.model_validate(publish_refresh(plane, plan, outcome).result)

        done = carried_out(plan_again, carry_out, mode)
    else:
        done = ViewRefreshed.model_validate(published.result)
    if done.action != "no_data":
        definition = planned.definition if planned else ViewDefinition.of(plane.dataset(view, done.snapshot_id))
        measured_by = measure_if_wanted(definition, view, done.snapshot_id, data_plane)
        done = done.model_copy(update={"statistics_job": measured_by})
    if cascade == "downstream":
        done = done.model_copy(update={"children": refresh_dependants(plane, done, data_plane)})
    return done


@step(name="compare")
def compare(
    plane: Plane,
    view: str,
    mode: Mode,
    instead: str | None,
    due: datetime | None,
    source_snapshots: Mapping[str, int] | None,
) -> RefreshPlan:
    """Decide what there is to do."""
    return plan_refresh(plane, view, mode=mode, instead=instead, due=due, pins=source_snapshots)


@step(name="run query")
def run_query(plane: Plane, plan: RefreshPlan) -> Outcome:
    """Make the rows at one snapshot; nobody sees them yet."""
    context = current_job()
    return stage_refresh(plane, context.job_id, context.token, plan)


@step(name="publish")
def publish_refresh(plane: Plane, plan: RefreshPlan, outcome: Outcome) -> Published:
    """Make the new rows visible, in one transaction with what they were made from and with the job's result."""
    context = current_job()
    result = {
        "view": plan.view,
        "action": plan.action,
        "reason": " ".join(filter(None, (plan.reason, outcome.told))),
        "inserted_rows": outcome.inserted_rows,
        "deleted_rows": outcome.deleted_rows,
        "rows": outcome.rows,
        "sources": [source.model_dump() for source in _sources(plan)],
        "base_snapshot": plan.at,
        "estimate": _estimate(plan),
        "seconds": outcome.seconds,
    }
    return plane.publish(context.job_id, context.token, [outcome.write], result)


@step(name="refresh dependants")
def refresh_dependants(plane: Plane, done: ViewRefreshed, data_plane: str) -> list[ChildRefresh]:
    """Refresh the views that are made from this one, from the same contents of everything else."""
    lineage = Lineage.of(plane.descriptions(done.base_snapshot))
    cascade = Cascade(
        current_job(), done.view, data_plane, lineage, base=done.base_snapshot, refreshed_at=done.snapshot_id
    )
    return cascade.run()


def _unchanged(plan: RefreshPlan) -> dict[str, Any]:
    return {
        "view": plan.view,
        "action": plan.action,
        "reason": plan.reason,
        "inserted_rows": 0,
        "deleted_rows": 0,
        "rows": plan.old_rows,
        "sources": [source.model_dump() for source in _sources(plan)],
        "base_snapshot": plan.at,
    }


def _estimate(plan: RefreshPlan) -> dict[str, Any] | None:
    expected = plan.update.estimate if plan.update is not None else None
    if expected is None:
        return None
    return RefreshEstimate(
        full_seconds=expected.full_seconds,
        incremental_seconds=expected.incremental_seconds,
        changed_rows=expected.changed_rows,
        source_rows=expected.source_rows,
    ).model_dump()


def _sources(plan: RefreshPlan) -> list[SourceRead]:
    before = {source.name: source.snapshot_id for source in plan.definition.sources}
    return [
        SourceRead(dataset=version.name, from_snapshot=before.get(version.name), to_snapshot=version.snapshot_id)
        for version in plan.versions
    ]
