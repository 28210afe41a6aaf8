"""Whether a view can be brought up to date by what has changed, from metadata and the query alone; nothing is run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from prefect_narrative.planes.errors import ChangesUnknownError, SnapshotNotFoundError
from prefect_narrative.planes.plane import Changes, CheckedQuery, Column, Dataset, Plane, SourceVersion
from prefect_narrative.planes.syntax import Parser
from prefect_narrative.views.definition import EngineMark, ViewDefinition
from prefect_narrative.views.reasons import NotIncrementalError
from prefect_narrative.views.shapes import Shape, shape_of

FORM = 1
"""The form in which groups are kept. Where it changes, views are refreshed in full once."""


@dataclass(frozen=True)
class Maintenance:
    """What it takes to bring a view up to date by what has changed."""

    dataset: Dataset
    """The view as it was read."""
    shape: Shape
    changes: Mapping[str, Changes]
    """How each source has changed."""


def maintenance(
    plane: Plane,
    dataset: Dataset,
    definition: ViewDefinition,
    query: CheckedQuery,
    versions: Sequence[SourceVersion],
) -> Maintenance:
    """Return what it takes to bring a view up to date by what has changed.

    Args:
        plane: Where the view lives.
        dataset: The view, as it was read.
        definition: Its definition, with what its rows were made from.
        query: Its query.
        versions: The contents of its sources to which it is to be brought.

    Raises:
        NotIncrementalError: it can't be, with the reason.
    """
    check_rows(plane, dataset, definition)
    changes = source_changes(plane, definition, versions)
    shape = shape_in(plane, query, {name: one.columns for name, one in changes.items()}, dataset.snapshot_id)
    if shape.results is not None and not plane.has_state(dataset.name, dataset.snapshot_id):
        raise NotIncrementalError("What was kept of the view's groups is gone.")
    return Maintenance(dataset, shape, changes)


def check_rows(plane: Plane, dataset: Dataset, definition: ViewDefinition) -> None:
    """Raise unless a view's rows are those of its last refresh, made by this very engine.

    Raises:
        NotIncrementalError: they are not, or that is not known.
    """
    mark, at = definition.engine, dataset.snapshot_id
    if mark is None:
        raise NotIncrementalError("Nothing was noted at the last refresh that another could go on from.")
    engine = plane.engine()
    if (mark.engine, mark.form) != (engine, FORM):
        raise NotIncrementalError(f"The rows were made by another engine ({mark.engine}) than this one ({engine}).")
    if mark.unfit is not None:
        raise NotIncrementalError(mark.unfit)
    if definition.emptied_at is not None:
        raise NotIncrementalError("The view's rows have expired.")
    made = plane.published(mark.job_id)
    if made is None:
        raise NotIncrementalError("It is not known any more when the view's rows were made.")
    try:
        [seen] = plane.versions([dataset.name], made.snapshot_id)
    except SnapshotNotFoundError as error:
        raise NotIncrementalError(f"The view's own history since snapshot {made.snapshot_id} has expired.") from error
    if seen.table_id != dataset.table_id or plane.changed(seen, at):
        raise NotIncrementalError("The view's rows have changed since its last refresh, or its history has expired.")


def source_changes(plane: Plane, definition: ViewDefinition, versions: Sequence[SourceVersion]) -> dict[str, Changes]:
    """Return how each source of a view has changed since its last refresh.

    Raises:
        NotIncrementalError: it can't be told of one of them.
    """
    seen = {source.name: source.as_source() for source in definition.sources}
    if set(seen) != {version.name for version in versions}:
        raise NotIncrementalError("The query reads other datasets than at the last refresh.")
    found = {}
    for version in versions:
        before = seen[version.name]
        if before.snapshot_id > version.snapshot_id:
            raise NotIncrementalError(f"Older contents of {version.name} are asked for than the view was made from.")
        try:
            found[version.name] = plane.changes(before, version.snapshot_id)
        except ChangesUnknownError as error:
            raise NotIncrementalError(str(error)) from error
    return found


def shape_in(plane: Plane, query: CheckedQuery, datasets: Mapping[str, Sequence[Column]], at: int) -> Shape:
    """Return the form of a view's query.

    Args:
        plane: Where the view lives.
        query: Its query.
        datasets: The columns of each dataset that it reads.
        at: The snapshot whose datasets count.

    Raises:
        NotIncrementalError: it has none by which changes of its sources lead to its own.
    """

    def describe(sql: str) -> Sequence[Column]:
        return plane.describe(plane.check(sql, at, relations=()), at)

    parser = Parser()
    try:
        return shape_of(query, parser, describe, datasets)
    finally:
        parser.close()


def mark(plane: Plane, job_id: UUID, unfit: str | None = None) -> EngineMark:
    """Return what is noted with rows that a job makes, so that a later refresh can go on from them.

    Args:
        plane: Where the view lives.
        job_id: The job that publishes them.
        unfit: Why none can.
    """
    return EngineMark(engine=plane.engine(), form=FORM, job_id=job_id, unfit=unfit)
