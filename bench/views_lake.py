"""A plane of a bench's own, with made-up datasets, and the steps of a view's jobs on it, without Prefect."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import duckdb

from prefect_narrative.planes import Plane, Published, Write, open_plane
from prefect_narrative.planes.connection import Place
from prefect_narrative.planes.extensions import wheel_path
from prefect_narrative.settings import Settings
from prefect_narrative.views.defining import DefinitionPlan, Draft, plan_definition
from prefect_narrative.views.definition import ViewDefinition
from prefect_narrative.views.filling import fill_view, stage_view
from prefect_narrative.views.refreshing import plan_refresh, stage_refresh, view_write

Mode = Literal["auto", "full", "incremental"]

CHUNK_ROWS = 10_000_000
"""At most so many rows are made at once."""

EVENTS = """
    SELECT i AS event_id, (hash(i) % {customers})::INTEGER AS customer,
        'kind ' || (hash(i + 1) % 8) AS kind, CAST((hash(i + 2) % 10000) / 100 AS DECIMAL(12, 2)) AS amount,
        TIMESTAMP '2024-01-01 00:00:00' + to_seconds(i) AS happened_at
    FROM range({first}, {end}) AS source(i)
"""
CUSTOMERS = """
    SELECT i::INTEGER AS customer, 'region ' || (i % 20) AS region, 'customer ' || i AS name
    FROM range({customers}) AS source(i)
"""
SHAPES = {
    "rows": "SELECT event_id, customer, kind, amount, happened_at FROM {events} WHERE amount >= 10",
    "groups": """
        SELECT customer, kind, count(*) AS events, sum(amount) AS total, avg(amount) AS mean, max(happened_at) AS latest
        FROM {events} GROUP BY customer, kind
    """,
    "join": """
        SELECT event_id, customer, name, region, amount, CAST(happened_at AS DATE) AS happened_on
        FROM {events} JOIN {customers} USING (customer)
    """,
}
"""Queries of views, by what they are."""


def settings_in(home: Path) -> Settings:
    """Return settings that keep everything in one folder, with limits that both sides of a comparison have."""
    return Settings(home=home, threads=2, memory_limit="2GB")


def opened(home: Path) -> Plane:
    """Return the plane that lies in a folder."""
    settings = settings_in(home)
    return open_plane("default", settings.plane_directory("default"), settings)


@contextmanager
def private_plane() -> Iterator[tuple[Path, Plane]]:
    """Give a new plane and the folder in which it lies, of which nothing is left at the end."""
    with tempfile.TemporaryDirectory(prefix="narrative-bench-") as folder:
        home = Path(folder) / "home"
        with opened(home) as plane:
            yield home, plane


def by_hand(home: Path) -> dict[str, Any]:
    """Return what `views_raw` needs to open the same lake for writing, with the same limits."""
    settings = settings_in(home)
    place = Place(settings.plane_directory("default"))
    spill = settings.spill_directory / "raw"
    spill.mkdir(parents=True, exist_ok=True)
    return {
        "config": {
            "memory_limit": settings.memory_limit,
            "threads": str(settings.threads),
            "preserve_insertion_order": "false",
            "temp_directory": str(spill),
        },
        "extensions": [str(wheel_path(name, duckdb.__version__) or name) for name in ("sqlite_scanner", "ducklake")],
        "attach": f"ATTACH 'ducklake:sqlite:{place.catalog}' AS lake (DATA_PATH '{place.data}/', "
        "META_JOURNAL_MODE 'WAL', META_BUSY_TIMEOUT 60000)",
    }


def write(plane: Plane, name: str, query: str, mode: Literal["replace", "append"] = "replace") -> None:
    """Publish a query's rows as a dataset, or add them to one."""
    job = uuid4()
    stage = plane.stage_query(job, 1, name, plane.check(query), at=plane.snapshot())
    plane.publish(job, 1, [Write(name, mode, stage)], {})


def write_events(plane: Plane, name: str, rows: int, *, customers: int, first: int = 0) -> None:
    """Make a dataset of so many events, or add them to it where the first is not number 0."""
    for start in range(first, first + rows, CHUNK_ROWS):
        end = min(start + CHUNK_ROWS, first + rows)
        query = EVENTS.format(first=start, end=end, customers=customers)
        write(plane, name, query, "append" if start else "replace")


def define(plane: Plane, view: str, query: str, **said: Any) -> Published:
    """Create a view and fill it."""
    plan = plan_definition(plane, Draft(view, ViewDefinition(query=query, columns=(), sources=(), **said)), now())
    assert isinstance(plan, DefinitionPlan)
    job = uuid4()
    filled = fill_view(plane, job, 1, view, plan.query, plan.at, plan.definition)
    made = view_write(view, filled.definition, plan.versions, filled.stage, state=filled.state)
    return plane.publish(job, 1, [made], {}, guard=plan.guard)


def define_many(plane: Plane, first: int, end: int, query: str) -> None:
    """Create views without rows, all with one query, in one publication: `view_<number>`."""
    plan = plan_definition(plane, Draft(f"view_{first}", ViewDefinition(query=query, columns=(), sources=())), now())
    assert isinstance(plan, DefinitionPlan)
    job = uuid4()
    empty = plane.check(f"SELECT * FROM ({query}) AS filled WHERE 1 = 0")
    stage = stage_view(plane, job, 1, plan.view, empty, plan.at, plan.definition)
    made = view_write(plan.view, plan.definition, plan.versions, stage)
    plane.publish(job, 1, [replace(made, dataset=f"view_{number}") for number in range(first, end)], {})


def refresh(plane: Plane, view: str, mode: Mode = "auto") -> Mapping[str, Any]:
    """Do what a job does that refreshes a view."""
    job = uuid4()
    plan = plan_refresh(plane, view, mode=mode)
    if plan.action == "no_data":
        return {"action": plan.action}
    outcome = stage_refresh(plane, job, 1, plan)
    published = plane.publish(job, 1, [outcome.write], {"action": plan.action, "rows": outcome.rows})
    plane.discard(job, 1)
    return published.result


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)
