"""Refreshing a view that keeps its rows: what its query yields is added to them, or upserted by key.

Each refresh runs the query once and publishes what follows from it together with the snapshots that were read, so that
no row is added twice and none is left out, however often a refresh is killed and tried again. The view's columns are
frozen: a query that yields others is refused before it runs.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from prefect_narrative.errors import FailureKind
from prefect_narrative.planes.columns import KEPT_AS, check_append
from prefect_narrative.planes.errors import ColumnMismatchError, DeltaLostError, UnstorableColumnError
from prefect_narrative.planes.plane import (
    ROW_ID,
    CheckedQuery,
    Column,
    Ingestion,
    Plane,
    SourceVersion,
    Stage,
    StoredRows,
    Write,
)
from prefect_narrative.views.definition import ViewDefinition
from prefect_narrative.views.expiring import Due, stage_old_rows
from prefect_narrative.views.merging import Merged, check_keys, stage_merge
from prefect_narrative.views.outcome import Outcome


class ViewColumnsError(ColumnMismatchError):
    """A view's query does not yield the columns any more that the view has."""

    kind: ClassVar[FailureKind] = FailureKind.DATA
    code: ClassVar[str] = "view_columns_changed"
    remedy = (
        "Create the view again with if_exists=replace: with a query that yields its columns (CAST, AS), or with new "
        "columns and new rows."
    )


def since(
    plane: Plane, definition: ViewDefinition, query: CheckedQuery, versions: Sequence[SourceVersion]
) -> tuple[Mapping[str, SourceVersion | None], str]:
    """Return since when DELTA is to yield what has changed in its datasets, and a sentence about what is read anew.

    Args:
        plane: Where the view lives.
        definition: The view's, with what its rows were made from.
        query: Its query.
        versions: What is read now.

    Raises:
        DeltaLostError: a dataset was replaced, or its history has expired, and the view has no key by which rows that
            are read once more would find those that are there.
    """
    seen = {source.name: source.as_source() for source in definition.sources}
    now = {version.name: version for version in versions}
    found: dict[str, SourceVersion | None] = {}
    anew = []
    for name in query.deltas:
        found[name] = seen.get(name)
        lost = plane.delta_lost(seen[name], now[name].snapshot_id) if name in seen else "it was not read before"
        if lost is None:
            continue
        if not definition.merge_on:
            raise DeltaLostError(
                f"What has changed in {name!r} since the view's last refresh can't be told: {lost}.",
                detail={"dataset": name},
            )
        found[name] = None
        anew.append(f"all rows of {name} were read, since {lost}")
    return found, f" {'; '.join(anew)}.".capitalize() if anew else ""


def positions(
    definition: ViewDefinition, query: CheckedQuery, versions: Sequence[SourceVersion]
) -> tuple[SourceVersion, ...]:
    """Return what the view will have been made from: where DELTA has read a dataset, it never falls behind."""
    seen = {source.name: source.as_source() for source in definition.sources}

    def later(version: SourceVersion) -> SourceVersion:
        before = seen.get(version.name)
        if version.name not in query.deltas or before is None or before.table_id != version.table_id:
            return version
        return max(before, version, key=lambda one: one.snapshot_id)

    return tuple(map(later, versions))


def check_row_names(view: str, definition: ViewDefinition) -> None:
    """Raise where a column's name would keep rows from being told apart by their ids.

    Raises:
        UnstorableColumnError: with the name.
    """
    for column in definition.columns:
        if column.name.lower() in {"rowid", ROW_ID}:
            raise UnstorableColumnError(
                f"{view!r} has a column called {column.name!r}, which hides the ids of its rows; a view with "
                "write_mode=append needs them.",
                remedy="Give the column another name with AS.",
            )


def check_columns(view: str, definition: ViewDefinition, described: Sequence[Column]) -> None:
    """Raise unless a query still yields a view's columns: all of them, each with its type or a narrower number.

    Columns that the view does not have are left out, as they are by `SELECT *` over a source that has gained some.

    Raises:
        ViewColumnsError: with every difference.
    """
    has = [Column(column.name, _kept(column.type)) for column in definition.columns]
    wanted = {column.name.lower() for column in has}
    given = [Column(column.name, _kept(column.type)) for column in described if column.name.lower() in wanted]
    try:
        check_append(view, has, given)
    except ColumnMismatchError as error:
        differences = error.detail["differences"]
        raise ViewColumnsError(
            f"The query of {view!r} does not yield the view's columns any more: {'; '.join(differences)}.",
            detail={"dataset": view, "differences": differences},
        ) from error


def stage_increment(
    plane: Plane,
    job_id: UUID,
    token: int,
    view: str,
    definition: ViewDefinition,
    query: CheckedQuery,
    *,
    at: int,
    table_id: int,
    old_rows: int,
    versions: Sequence[SourceVersion],
    now: datetime,
    expired: Due | None,
    pins: Mapping[str, int] | None = None,
) -> Outcome:
    """Run a view's query and stage what it makes of the view's rows, outside any lock.

    Args:
        plane: Where the view lives.
        job_id: For whom.
        token: The attempt's fencing token.
        view: The view's name.
        definition: What it is; its sources are those of the rows that are there.
        query: Its query, checked.
        at: The snapshot in which the view, and each source without a pin, is read.
        table_id: The view's table.
        old_rows: How many rows it has.
        versions: What is read of its sources.
        now: When the rows are ingested.
        expired: The rows that are to go.
        pins: Sources that are read at snapshots of their own.

    Raises:
        ViewColumnsError: the query does not yield the view's columns.
        DeltaLostError: it can't be told what has changed in a source.
        DuplicateKeyError: the query yields a key twice.
    """
    check_columns(view, definition, plane.describe(query, at))
    changed_since, anew = since(plane, definition, query, versions)
    incoming = plane.stage_query(
        job_id,
        token,
        view,
        query,
        at=at,
        columns=definition.column_names,
        partitioned_by=definition.partitioned_by,
        since=changed_since,
        pins=pins,
    )
    old = None if expired is None else stage_old_rows(plane, job_id, token, expired)
    oldest_row = None if expired is None or expired.aged is None else expired.aged.end
    gone = 0 if old is None else old.rows
    if definition.merge_on:
        check_keys(plane, view, definition.merge_on, incoming, definition.hidden)
        merged = stage_merge(
            plane,
            job_id,
            token,
            StoredRows(view, at),
            incoming,
            merge_on=definition.merge_on,
            columns=definition.column_names,
            partitioned_by=definition.partitioned_by,
            oldest_row=oldest_row,
        )
    else:
        merged = Merged(incoming if incoming.rows else None, None, incoming.rows, 0, 0)
    write = Write(
        dataset=view,
        mode="change",
        stage=merged.adds,
        kind="view",
        properties=definition.read_from(positions(definition, query, versions)).as_properties(),
        replaces=table_id,
        deletes=_together(plane, job_id, token, view, at, merged.deletes, old),
        since=at,
        ingestion=Ingestion(now, oldest_row) if definition.keeps_ages else None,
    )
    inserted = 0 if merged.adds is None else merged.adds.rows
    deleted = merged.replaced_rows + gone
    return Outcome(write, inserted, deleted, old_rows + inserted - deleted, _told(merged, gone, definition) + anew)


def _together(
    plane: Plane, job_id: UUID, token: int, view: str, at: int, one: Stage | None, other: Stage | None
) -> Stage | None:
    """Return the row ids of two stages in one."""
    if one is None or other is None:
        return one or other
    query = plane.check("SELECT * FROM _one UNION ALL SELECT * FROM _other", at, relations=["_one", "_other"])
    return plane.stage_query(job_id, token, view, query, at=at, relations={"_one": one, "_other": other})


def _told(merged: Merged, gone: int, definition: ViewDefinition) -> str:
    if definition.merge_on:
        told = f"Rows: {merged.new_rows} new, {merged.replaced_rows} replaced, {merged.same_rows} as they were"
    else:
        told = f"Rows: {merged.new_rows} added"
    return f"{told}, {gone} expired." if gone else f"{told}."


def _kept(kind: str) -> str:
    """Return the type that a column's values are kept in, as far as it has a name of one word."""
    return "VARCHAR" if kind.startswith("ENUM(") else KEPT_AS.get(kind.lower(), kind)
