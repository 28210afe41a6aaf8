"""Making all rows of a view: by its query, or from what is kept of its groups, for a later refresh to go on from."""

# ruff: noqa: S608  (queries are checked trees, and each is checked once more)

import time
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from prefect_narrative.planes.plane import CheckedQuery, Plane, Stage, StateWrite
from prefect_narrative.planes.syntax import Parser
from prefect_narrative.views.choosing import full_usual
from prefect_narrative.views.definition import PastRefresh, ViewColumn, ViewDefinition
from prefect_narrative.views.expiry import EXPIRE_EVERYTHING
from prefect_narrative.views.incremental import Workshop, stage_groups
from prefect_narrative.views.maintaining import mark, shape_in
from prefect_narrative.views.merging import check_keys
from prefect_narrative.views.reasons import NotIncrementalError
from prefect_narrative.views.shapes import Shape


@dataclass(frozen=True)
class Filled:
    """All rows of a view, staged."""

    stage: Stage
    definition: ViewDefinition
    """The view's, with what is noted for its next refresh."""
    state: StateWrite | None = None
    """What is kept of its groups."""
    seconds: float = 0.0
    """What making them took."""
    told: str = ""
    """Which columns have other types than before, in a sentence."""


def fill_view(
    plane: Plane,
    job_id: UUID,
    token: int,
    view: str,
    query: CheckedQuery,
    at: int,
    definition: ViewDefinition,
    pins: Mapping[str, int] | None = None,
) -> Filled:
    """Make all rows of a view, and what a later refresh can go on from; nobody sees them yet.

    Args:
        plane: Where the view lives.
        job_id: For whom.
        token: The attempt's fencing token.
        view: Its name.
        query: Its query.
        at: The snapshot that is read, pinned sources apart.
        definition: What it is.
        pins: Sources that are read at snapshots of their own.

    Raises:
        DuplicateKeyError: the view is merged by key, and the query yields a key twice.
    """
    began = time.monotonic()
    if definition.write_mode != "overwrite" or definition.expire == EXPIRE_EVERYTHING:
        stage = stage_view(plane, job_id, token, view, query, at, definition, pins)
        return Filled(stage, definition, seconds=time.monotonic() - began)
    versions = {source: (pins or {}).get(source, at) for source in query.sources}
    read = {name: plane.dataset(name, version) for name, version in versions.items()}
    unfit, state, filled = None, None, None
    try:
        shape = shape_in(plane, query, {name: one.columns for name, one in read.items()}, at)
        if shape.results is not None:
            filled, state = _groups(plane, job_id, token, view, at, definition, shape, versions)
    except NotIncrementalError as error:
        unfit = str(error)
    stage = filled or stage_view(plane, job_id, token, view, query, at, definition, pins)
    seconds, rows = time.monotonic() - began, sum(one.rows for one in read.values())
    past = PastRefresh(
        action="full", seconds=seconds, usual_seconds=full_usual(rows, stage.rows, grouped=state is not None),
        changed_rows=rows, source_rows=rows, rows=stage.rows,
    )  # fmt: skip
    columns, told = _columns(plane, query, at, definition)
    noted = definition.model_copy(update={"engine": mark(plane, job_id, unfit), "columns": columns})
    return Filled(stage, noted.remembering(past), state, seconds, told)


def _columns(
    plane: Plane, query: CheckedQuery, at: int, definition: ViewDefinition
) -> tuple[tuple[ViewColumn, ...], str]:
    """Return a view's columns with the types that they have now, and a sentence about those that had others."""
    types = {column.name.lower(): column.type for column in plane.describe(query, at)}
    columns = tuple(ViewColumn(name=one.name, type=types[one.name.lower()]) for one in definition.columns)
    other = [
        f"{now.name} is {now.type} and was {before.type}"
        for now, before in zip(columns, definition.columns, strict=True)
        if now.type != before.type
    ]
    return columns, f"Columns: {'; '.join(other)}." if other else ""


def _groups(
    plane: Plane,
    job_id: UUID,
    token: int,
    view: str,
    at: int,
    definition: ViewDefinition,
    shape: Shape,
    versions: Mapping[str, int],
) -> tuple[Stage, StateWrite]:
    parser = Parser()
    try:
        workshop = Workshop(plane, job_id, token, view, at, parser)
        return stage_groups(workshop, shape, versions, definition.column_names, definition.partitioned_by)
    finally:
        parser.close()


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
    """Run a view's query at one snapshot, pinned sources apart, and write its rows as files, which nobody sees yet.

    They are all rows that the view has then: DELTA stands for whole datasets.

    Raises:
        DuplicateKeyError: the view is merged by key, and the query yields a key twice.
    """
    if definition.expire == EXPIRE_EVERYTHING:
        emptied = f"SELECT * FROM ({query.sql}) AS emptied WHERE 1 = 0"
        query = plane.check(emptied, at, deltas=bool(query.deltas))
    stage = plane.stage_query(
        job_id,
        token,
        view,
        query,
        at=at,
        columns=definition.column_names,
        partitioned_by=definition.partitioned_by,
        since=dict.fromkeys(query.deltas),
        pins=pins,
    )
    if definition.merge_on:
        check_keys(plane, view, definition.merge_on, stage, definition.hidden)
    return stage
