"""Short ways to make datasets and views on a plane, as jobs of their own."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from prefect_narrative.planes import Plane, Published, Write
from prefect_narrative.views.defining import DefinitionPlan, Draft, KeptView, plan_definition
from prefect_narrative.views.definition import ViewDefinition
from prefect_narrative.views.filling import fill_view
from prefect_narrative.views.refreshing import view_write

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def load(plane: Plane, name: str, query: str, mode: str = "replace") -> Published:
    """Publish a query's rows as a dataset."""
    job = uuid4()
    plane.claim(job, 1)
    stage = plane.stage_query(job, 1, name, plane.check(query), at=plane.snapshot())
    return plane.publish(job, 1, [Write(name, mode, stage)], {})  # type: ignore[arg-type]


def planned(plane: Plane, name: str, query: str, **values: Any) -> DefinitionPlan | KeptView:
    """Return what defining a view would do."""
    how = {key: values.pop(key) for key in ("if_exists", "force") if key in values}
    definition = ViewDefinition(query=query, columns=(), sources=(), **values)
    return plan_definition(plane, Draft(name, definition, **how), NOON)


def publish(plane: Plane, plan: DefinitionPlan) -> Published:
    """Do what a plan says."""
    job = uuid4()
    plane.claim(job, 1)
    filled = fill_view(plane, job, 1, plan.view, plan.query, plan.at, plan.definition)
    write = view_write(plan.view, filled.definition, plan.versions, filled.stage, state=filled.state)
    if plan.replaced is not None:
        write = replace(write, mode="replace")
    return plane.publish(job, 1, [write], {}, plan.guard)


def define(plane: Plane, name: str, query: str, **values: Any) -> DefinitionPlan:
    """Define a view and fill it."""
    plan = planned(plane, name, query, **values)
    assert isinstance(plan, DefinitionPlan)
    publish(plane, plan)
    return plan


def rows(plane: Plane, query: str) -> list[tuple[Any, ...]]:
    """Return all rows of a query."""
    return list(plane.read(plane.check(query), limit=1000).rows)
