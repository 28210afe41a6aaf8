"""Short ways to make and refresh a view, as the flows do it, without Prefect."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from prefect_narrative.planes import Plane, Published
from prefect_narrative.views.defining import DefinitionPlan, Draft, plan_definition
from prefect_narrative.views.definition import ViewDefinition
from prefect_narrative.views.filling import fill_view
from prefect_narrative.views.refreshing import RefreshPlan, plan_refresh, stage_refresh, view_write

START = datetime(2024, 1, 31, 12, tzinfo=UTC)


def after(**period: float) -> datetime:
    """Return a moment after the one in which views are made."""
    return START + timedelta(**period)


def make_view(plane: Plane, name: str, query: str, now: datetime = START, **said: Any) -> Published:
    """Define a view, or another one in its place, and fill it."""
    draft = ViewDefinition(query=query, columns=(), sources=(), **said)
    plan = plan_definition(plane, Draft(name, draft, "replace", force=True), now)
    assert isinstance(plan, DefinitionPlan)
    job = uuid4()
    plane.claim(job, 1)
    filled = fill_view(plane, job, 1, name, plan.query, plan.at, plan.definition)
    write = view_write(name, filled.definition, plan.versions, filled.stage, state=filled.state)
    if plan.replaced is not None:
        write = replace(write, mode="replace")
    return plane.publish(job, 1, [write], {"rows": filled.stage.rows})


def publish_plan(plane: Plane, plan: RefreshPlan, job: UUID | None = None) -> dict[str, Any]:
    """Do what a plan says, and return what came of it."""
    told: dict[str, Any] = {"action": plan.action, "reason": plan.reason}
    if plan.action == "no_data":
        return told | {"inserted_rows": 0, "deleted_rows": 0, "rows": plan.old_rows}
    job = job or uuid4()
    plane.claim(job, 1)
    outcome = stage_refresh(plane, job, 1, plan)
    result = told | {
        "reason": " ".join(filter(None, (plan.reason, outcome.told))),
        "inserted_rows": outcome.inserted_rows,
        "deleted_rows": outcome.deleted_rows,
        "rows": outcome.rows,
    }
    published = plane.publish(job, 1, [outcome.write], result)
    return {key: published.result[key] for key in result}


def refresh(plane: Plane, view: str, now: datetime = START, job: UUID | None = None, **asked: Any) -> dict[str, Any]:
    """Bring a view up to date, and return what came of it."""
    return publish_plan(plane, plan_refresh(plane, view, now=now, **asked), job)
