"""A small world of views of every kind over two datasets, what jobs do to it, and what has to be true of it always."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4, uuid5

from prefect_narrative.planes import Plane, Published, Write, open_plane
from prefect_narrative.planes.connection import Place
from prefect_narrative.planes.errors import OvertakenError
from prefect_narrative.settings import Settings
from prefect_narrative.views.cascade import pins, sorter
from prefect_narrative.views.defining import DefinitionPlan, Draft, plan_definition
from prefect_narrative.views.definition import ViewDefinition
from prefect_narrative.views.filling import fill_view
from prefect_narrative.views.lineage import Lineage
from prefect_narrative.views.refreshing import plan_refresh, stage_refresh, view_write

GROUPS = 5
BATCH_IDS = 12
ATTEMPTS = 20
"""How often a refresh is planned anew where another one of the same view was quicker."""

VIEWS: dict[str, Mapping[str, Any]] = {
    "kept": {"query": "SELECT id, seq, grp, amount FROM entries WHERE id % 3 <> 0"},
    "totals": {
        "query": """
            SELECT grp, count(*) AS n, sum(amount) AS total, min(amount) AS low, max(amount) AS high
            FROM entries GROUP BY grp
        """
    },
    "named": {"query": "SELECT id, seq, title, amount FROM entries JOIN titles USING (grp)"},
    "big": {"query": "SELECT grp, total FROM totals WHERE n > 1"},
    "summary": {"query": "SELECT count(*) AS grps, sum(n) AS n, sum(total) AS total FROM totals"},
    "mixed": {
        "query": "SELECT grp, n, big.total, amount FROM totals JOIN big USING (grp) JOIN named ON named.id = grp"
    },
    "journal": {"query": "SELECT id, seq, amount FROM DELTA(TABLE entries)", "write_mode": "append"},
    "latest": {
        "query": """
            SELECT id, max(seq) AS seq, arg_max(amount, seq) AS amount
            FROM entries WHERE id IN (SELECT id FROM DELTA(TABLE entries)) GROUP BY id
        """,
        "write_mode": "append",
        "merge_on": ("id",),
    },
}
"""What each view is said to be: sources stand after FROM or JOIN, and before the views that read them.

The two that keep their rows are made so that they end up as their query over whole datasets: `journal` has each entry
once, `latest` the last entry of each id.
"""


@dataclass(frozen=True)
class Seen:
    """What a view is, and how often it has each row, in one snapshot."""

    table_id: int
    definition: ViewDefinition
    rows: "Counter[str]"


def settings_in(home: Path) -> Settings:
    """Return settings that keep everything below one folder."""
    return Settings.model_validate(
        {"home": home, "threads": 1, "memory_limit": "256MB", "publish_lock_timeout": 240, "import_roots": ""}
    )


def place_in(home: Path) -> Place:
    """Return where the plane lies."""
    return Place(settings_in(home).plane_directory("default"))


def opened(home: Path) -> Plane:
    """Return the plane of a world."""
    settings = settings_in(home)
    return open_plane("default", settings.plane_directory("default"), settings)


def publish(plane: Plane, name: str, query: str, mode: str) -> None:
    """Publish a query's rows, as a job of its own."""
    job = uuid4()
    stage = plane.stage_query(job, 1, name, plane.check(query), at=plane.snapshot())
    plane.publish(job, 1, [Write(name, mode, stage)], {})  # type: ignore[arg-type]


def add_entries(plane: Plane, seq: int) -> None:
    """Add a batch of entries: ids that older batches have too, amounts that sum up to nothing in every group."""
    publish(
        plane,
        "entries",
        f"""
        SELECT (i * {seq % 3 + 1}) % {BATCH_IDS * 3} AS id, {seq} AS seq, (i // 2) % {GROUPS} AS grp,
            (CASE WHEN i % 2 = 0 THEN 1 ELSE -1 END * ({seq} + i // 2))::DECIMAL(12, 2) AS amount
        FROM range({BATCH_IDS}) AS source(i)
        """,
        "append" if seq else "replace",
    )


def make_world(plane: Plane) -> None:
    """Make datasets and views."""
    add_entries(plane, 0)
    publish(plane, "titles", f"SELECT i AS grp, 'title ' || i AS title FROM range({GROUPS}) AS source(i)", "replace")
    for view, said in VIEWS.items():
        create(plane, uuid4(), 1, view, **said)


def create(plane: Plane, job: UUID, token: int, view: str, **said: Any) -> Mapping[str, Any]:
    """Do what a job does that creates a view, or replaces its definition."""
    found = plane.published(job)
    if found is not None:
        return found.result
    definition = ViewDefinition.model_validate({"columns": (), "sources": (), **said})
    plan = plan_definition(plane, Draft(view, definition, "replace"), datetime.now(UTC))
    assert isinstance(plan, DefinitionPlan)
    filled = fill_view(plane, job, token, view, plan.query, plan.at, plan.definition)
    write = view_write(view, filled.definition, plan.versions, filled.stage, state=filled.state)
    if plan.replaced is not None:
        write = replace(write, mode="replace")
    result = {"action": "created", "rows": filled.stage.rows}
    return _published(plane, job, token, plane.publish(job, token, [write], result, guard=plan.guard))


def refresh(
    plane: Plane, job: UUID, token: int, view: str, mode: str, pinned: Mapping[str, int] | None = None
) -> Mapping[str, Any]:
    """Do what a job does that refreshes a view."""
    for _ in range(ATTEMPTS):
        found = plane.published(job)
        if found is not None:
            return found.result
        plan = plan_refresh(plane, view, mode="full" if mode == "full" else "auto", pins=pinned)
        result = {"action": plan.action, "base": plan.at}
        if plan.action == "no_data":
            return {**result, "snapshot_id": plan.at}
        outcome = stage_refresh(plane, job, token, plan)
        try:
            return _published(plane, job, token, plane.publish(job, token, [outcome.write], result))
        except OvertakenError:
            plane.discard(job, token)
    raise OvertakenError(f"{view} was overtaken {ATTEMPTS} times")


def cascade(plane: Plane, job: UUID, token: int, view: str, mode: str) -> Mapping[str, Any]:
    """Do what the jobs of a cascade do, one after the other; each has an id that follows from the first one's."""
    first = refresh(plane, job, token, view, mode)
    lineage = Lineage.of(plane.descriptions(first["base"]))
    refreshed = {view: first["snapshot_id"]}
    order = sorter(lineage, view)
    while order.is_active():
        for name in order.get_ready():
            given = pins(lineage.sources(name), first["base"], refreshed)
            done = refresh(plane, uuid5(job, name), token, name, "auto", given)
            refreshed[name] = done["snapshot_id"]
            order.done(name)
    return {**first, "refreshed": refreshed}


def _published(plane: Plane, job: UUID, token: int, done: Published) -> Mapping[str, Any]:
    plane.discard(job, token)
    return done.result


def check_world(plane: Plane, at: int | None = None, *, up_to_date: bool = False) -> dict[str, Seen]:
    """Check that every view's rows are what its definition says, from the contents of its sources that it says.

    Args:
        plane: Where they are.
        at: The snapshot to look at; None: the newest.
        up_to_date: Whether they have to be what its definition says from the contents that its sources have now.

    Returns:
        What was seen of each view, in one snapshot.
    """
    at = plane.snapshot() if at is None else at
    views = {one.name: one for one in plane.descriptions(at) if one.kind == "view"}
    definitions = {name: defined(one.properties) for name, one in views.items()}
    query = " UNION ALL ".join(
        part
        for view, definition in definitions.items()
        for part in (
            _told(view, definition, view),
            _told(f"{view} should be", definition, f"({truth(definition, up_to_date=up_to_date)})"),
        )
    )
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    for name, row in plane.read(plane.check(query, at), limit=1_000_000, at=at).rows:
        rows[name][row] += 1
    for view in views:
        assert rows[view] == rows[f"{view} should be"], f"{view} is not what its definition says"
    return {view: Seen(one.table_id, definitions[view], rows[view]) for view, one in views.items()}


def defined(properties: Mapping[str, Any]) -> ViewDefinition:
    """Return the definition that lies among what was published beside a view's rows."""
    return ViewDefinition.model_validate(properties["definition"])


def truth(definition: ViewDefinition, *, up_to_date: bool = False) -> str:
    """Return the query whose rows a view has to have: each source as of the snapshot that was read, or as it is now."""
    snapshots = {source.name: source.snapshot_id for source in definition.sources}
    whole = re.sub(r"DELTA\(TABLE (\w+)\)", r"\1", definition.query)
    if up_to_date:
        return whole
    return re.sub(
        r"\b(FROM|JOIN) (\w+)", lambda match: f"{match[1]} {match[2]} AT (VERSION => {snapshots[match[2]]})", whole
    )


def _told(name: str, definition: ViewDefinition, rows: str) -> str:
    fields = ", ".join(f"'{column.name}': {column.name}" for column in definition.columns)
    return f"SELECT '{name}' AS name, CAST({{{fields}}} AS VARCHAR) AS fields FROM {rows} AS source"
