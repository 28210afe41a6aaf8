"""Letting a view's rows go when they are as old as its expiry policy says: at each refresh, and whenever clean-up asks.

Rows of append and merge views go by their own age, counted from when they were ingested (a row that a merge replaced is
a new one); other views are as old as their last refresh that wrote rows, and go as a whole. Either way the view stays.
"""

# ruff: noqa: S608  (names are quoted; each query is checked like a user's)

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from prefect_narrative.planes.plane import ROW_ID, Aged, Dataset, Ingestion, Plane, Stage, StoredRows, Write
from prefect_narrative.views.definition import ViewDefinition
from prefect_narrative.views.expiry import EXPIRE_EVERYTHING, RETAIN_EVERYTHING, parse_expiry
from prefect_narrative.views.outcome import Outcome, counted

VIEW = "_view"


@dataclass(frozen=True)
class Due:
    """What of a view's rows is to go now."""

    view: str
    at: int
    """The snapshot in which they were looked at."""
    table_id: int
    definition: ViewDefinition
    rows: int
    """How many rows are to go."""
    kept_rows: int
    reason: str
    aged: Aged | None
    """Which; None: all."""


def due(plane: Plane, view: str, now: datetime, at: int | None = None) -> Due | None:
    """Return what of a view's rows is to go now, without writing anything; None where nothing is.

    Args:
        plane: Where the view lives.
        view: Its name.
        now: The time.
        at: The snapshot to look at; None: the newest.

    Raises:
        DatasetNotFoundError: there is no such view.
        NotAViewError: it is a dataset, but not a view.
    """
    dataset = plane.dataset(view, at)
    return rows_due(plane, dataset, ViewDefinition.of(dataset), now)


def rows_due(plane: Plane, dataset: Dataset, definition: ViewDefinition, now: datetime) -> Due | None:
    """Return the same of a view whose dataset and definition are known."""
    view, at = dataset.name, dataset.snapshot_id
    policy = parse_expiry(definition.expire)
    if policy == RETAIN_EVERYTHING or not dataset.rows:
        return None
    aged, rows = None, dataset.rows
    if policy == EXPIRE_EVERYTHING:
        reason = f"{EXPIRE_EVERYTHING}: the view is kept empty."
    elif definition.write_mode == "overwrite":
        made = definition.refreshed_at
        if made is None or made > policy.before(now):
            return None
        reason = f"The rows were made at {_told(made)}, {definition.expire} ago or earlier."
    else:
        aged = plane.aged(view, policy.before(now))
        rows = 0 if aged is None else _count(plane, view, aged, at)
        if not rows:
            return None
        reason = f"Ingested {definition.expire} ago or earlier: {counted(rows)}."
    return Due(view, at, dataset.table_id, definition, rows, dataset.rows - rows, reason, aged)


def stage_old_rows(plane: Plane, job_id: UUID, token: int, found: Due) -> Stage | None:
    """Return the staged ids of the rows that are to go; None where all of them are."""
    if found.aged is None:
        return None
    query = plane.check(f"SELECT {ROW_ID} FROM {VIEW} AS v WHERE {_old(found.aged)}", found.at, relations=[VIEW])
    relations = {VIEW: StoredRows(found.view, found.at)}
    return plane.stage_query(job_id, token, found.view, query, at=found.at, relations=relations)


def stage_empty(plane: Plane, job_id: UUID, token: int, view: str, definition: ViewDefinition, at: int) -> Stage:
    """Return a stage without rows that has a view's columns."""
    query = plane.check(f"SELECT * FROM {VIEW} AS v WHERE 1 = 0", at, relations=[VIEW])
    return plane.stage_query(
        job_id, token, view, query, at=at, columns=definition.column_names, relations={VIEW: StoredRows(view, at)}
    )


def expire(plane: Plane, job_id: UUID, token: int, found: Due, now: datetime) -> Outcome:
    """Return what publishes that a view's old rows are gone, with its definition as it is otherwise."""
    deletes = stage_old_rows(plane, job_id, token, found)
    if deletes is not None and found.aged is not None:
        write = Write(
            dataset=found.view,
            mode="change",
            kind="view",
            deletes=deletes,
            since=found.at,
            ingestion=Ingestion(now, oldest_row=found.aged.end),
        )
        return Outcome(write, inserted_rows=0, deleted_rows=found.rows, rows=found.kept_rows)
    definition = found.definition.model_copy(update={"emptied_at": now})
    write = Write(
        dataset=found.view,
        mode="replace",
        stage=stage_empty(plane, job_id, token, found.view, definition, found.at),
        kind="view",
        properties=definition.as_properties(),
        replaces=found.table_id,
        since=found.at,
    )
    return Outcome(write, inserted_rows=0, deleted_rows=found.rows, rows=found.kept_rows)


def apply_expiry(
    plane: Plane, job_id: UUID, token: int, now: datetime, views: Sequence[str] | None = None
) -> list[tuple[Due, Outcome]]:
    """Return what makes the old rows of all views go: all writes are for one publication. It is what `clean-up` needs.

    Args:
        plane: Where the views live.
        job_id: For whom.
        token: The attempt's fencing token.
        now: The time.
        views: Their names; None: all views that there are.
    """
    at = plane.snapshot()
    if views is None:
        views = [one.name for one in plane.descriptions(at) if one.kind == "view"]
    found = [due(plane, view, now, at) for view in views]
    return [(one, expire(plane, job_id, token, one, now)) for one in found if one is not None]


def _count(plane: Plane, view: str, aged: Aged, at: int) -> int:
    query = plane.check(f"SELECT count(*) FROM {VIEW} AS v WHERE {_old(aged)}", at, relations=[VIEW])
    return int(plane.read(query, limit=1, at=at, relations={VIEW: StoredRows(view, at)}).rows[0][0])


def _old(aged: Aged) -> str:
    return f"v.{ROW_ID} >= {int(aged.first)} AND v.{ROW_ID} < {int(aged.end)}"


def _told(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
