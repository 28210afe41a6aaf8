"""Bringing a view up to date: what has to be done, and doing it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

from prefect_narrative.planes.plane import CheckedQuery, Plane, SourceVersion, Stage, Write
from prefect_narrative.views.definition import ViewDefinition


@dataclass(frozen=True)
class RefreshPlan:
    """What a refresh is going to do, and why."""

    view: str
    action: Literal["full", "no_data"]
    reason: str
    definition: ViewDefinition
    """What the view is; its `sources` are those of the rows that are there now."""
    query: CheckedQuery
    at: int
    """The newest snapshot when the plan was made."""
    versions: tuple[SourceVersion, ...]
    """The contents of the sources that are read: those at that snapshot, where nothing else was asked for."""
    table_id: int
    """The lake's table that the new rows replace."""
    old_rows: int
    pins: Mapping[str, int] = field(default_factory=dict)
    """Sources that are read at snapshots of their own."""


def plan_refresh(
    plane: Plane,
    view: str,
    *,
    forced: bool = False,
    due: datetime | None = None,
    now: datetime | None = None,
    pins: Mapping[str, int] | None = None,
) -> RefreshPlan:
    """Decide what bringing a view up to date takes, without running its query.

    Args:
        plane: Where the view lives.
        view: Its name.
        forced: Whether to run the query even where nothing has changed.
        due: When the view was to be refreshed, where a schedule asks for it: a view that was refreshed since is left
            alone, so that after a down time it is refreshed once and not once for each time that was missed.
        now: The time; None: the clock's.
        pins: Sources that are to be read at snapshots of their own. A view that was made from newer contents of one of
            them is left alone.

    Raises:
        DatasetNotFoundError: there is no such view, or a source is gone.
        NotAViewError: it is a dataset, but not a view.
        QueryRefusedError: the query is not allowed any more.
    """
    now = now or datetime.now(UTC)  # before the snapshot is chosen: what is written in between is not in it
    at = plane.snapshot()
    dataset = plane.dataset(view, at)
    definition = ViewDefinition.of(dataset)
    query = plane.check(definition.query, at)
    pins = dict(pins or {})
    versions = tuple(version for source in query.sources for version in plane.versions([source], pins.get(source, at)))
    seen = {source.name: source.as_source() for source in definition.sources}
    newer = [version.name for version in versions if _is_newer(plane, seen.get(version.name), version)]
    if newer:
        action: Literal["full", "no_data"] = "no_data"
        reason = (
            f"The view was made from newer contents than were asked for, of {', '.join(newer)}: it is left as it is."
        )
    else:
        action, reason = _decide(plane, definition, query, versions, forced=forced, due=due)
    definition = definition.model_copy(update={"refreshed_at": now})
    return RefreshPlan(view, action, reason, definition, query, at, versions, dataset.table_id, dataset.rows, pins)


def _decide(
    plane: Plane,
    definition: ViewDefinition,
    query: CheckedQuery,
    versions: tuple[SourceVersion, ...],
    *,
    forced: bool,
    due: datetime | None,
) -> tuple[Literal["full", "no_data"], str]:
    if forced:
        return "full", "A full refresh was asked for."
    if due is not None and definition.refreshed_at is not None and definition.refreshed_at >= due:
        return "no_data", (
            f"This refresh was due at {due.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC, and the view has been refreshed "
            f"since, at {definition.refreshed_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC."
        )
    if query.volatile:
        return "full", f"The query depends on the time ({', '.join(query.volatile)})."
    seen = {source.name: source.as_source() for source in definition.sources}
    if set(seen) != set(query.sources):
        return "full", "The query reads other datasets than at the last refresh."
    changed = [
        version.name
        for version in versions
        if plane.changed(seen[version.name], max(version.snapshot_id, seen[version.name].snapshot_id))
    ]
    if changed:
        return "full", f"Changed since the last refresh: {', '.join(sorted(changed))}."
    return "no_data", "The sources are unchanged since the last refresh."


def _is_newer(plane: Plane, seen: SourceVersion | None, wanted: SourceVersion) -> bool:
    """Return whether a source's contents that were seen may be newer ones than those that are wanted."""
    if seen is None or seen.snapshot_id <= wanted.snapshot_id:
        return False
    return seen.table_id != wanted.table_id or plane.changed(wanted, seen.snapshot_id)


def stage_view(
    plane: Plane,
    job_id: UUID,
    token: int,
    view: str,
    query: CheckedQuery,
    at: int,
    definition: ViewDefinition,
    pins: Mapping[str, int] | None = None,
) -> Stage:
    """Run a view's query at one snapshot, pinned sources apart, and write its rows as files, which nobody sees yet."""
    return plane.stage_query(
        job_id,
        token,
        view,
        query,
        at=at,
        columns=definition.column_names,
        partitioned_by=definition.partitioned_by,
        pins=pins,
    )


def view_write(
    view: str,
    definition: ViewDefinition,
    versions: tuple[SourceVersion, ...],
    stage: Stage,
    *,
    replaces: int | None = None,
) -> Write:
    """Return what publishes a view's rows and its definition together.

    Args:
        view: The view's name.
        definition: What it is.
        versions: The contents of its sources that the rows were made from.
        stage: The rows.
        replaces: The table that they replace; None where the view is new.
    """
    return Write(
        dataset=view,
        mode="create" if replaces is None else "replace",
        stage=stage,
        kind="view",
        properties=definition.read_from(versions).as_properties(),
        replaces=replaces,
    )
