"""Marking columns of datasets and views as sensitive after they were made, and taking marks away."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from uuid import uuid4

from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.planes.columns import named_columns
from prefect_narrative.planes.errors import OvertakenError
from prefect_narrative.planes.plane import Dataset, Plane, Write
from prefect_narrative.planes.sensitive import SENSITIVE, marked
from prefect_narrative.views.definition import ViewDefinition

ATTEMPTS = 6
"""How often it is tried where others write to the dataset meanwhile."""


class InheritedMarkError(NarrativeError, PermissionError):
    """A column is sensitive because of what it derives from."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "inherited_mark"
    remedy = "Take the mark from the column that it derives from, and refresh the view in full: mode=full."


def mark(plane: Plane, name: str, columns: Sequence[str], *, sensitive: bool) -> tuple[str, ...]:
    """Mark columns as sensitive, or take their marks away, and return all that are marked then.

    Args:
        plane: The plane.
        name: The dataset or view.
        columns: Their names; those that are so already stay so.
        sensitive: Whether to mark them.

    Raises:
        DatasetNotFoundError: there is no such dataset, with the nearest names.
        ColumnNotFoundError: there is no such column, with the nearest names.
        AmbiguousColumnError: a column is named twice.
        InheritedMarkError: a view's column has its mark from what it derives from.
        OvertakenError: others kept writing to the dataset meanwhile.
        PublishLockTimeoutError: the publish lock was not free in time.
    """
    for attempt in range(1, ATTEMPTS + 1):
        dataset = plane.dataset(name)
        names = [column.name for column in named_columns(dataset.columns, columns, repr(dataset.name))]
        properties = _changed(dataset, names, sensitive=sensitive)
        if marked(properties) != marked(dataset.properties) or properties != dataset.properties:
            job = uuid4()
            write = Write(dataset.name, "describe", kind=dataset.kind, properties=properties, since=dataset.snapshot_id)
            try:
                plane.claim(job, 1)
                plane.publish(job, 1, [write], {})
            except OvertakenError:
                if attempt == ATTEMPTS:
                    raise
                continue
        return tuple(column.name for column in dataset.columns if column.name.casefold() in marked(properties))
    raise AssertionError


def _changed(dataset: Dataset, names: Sequence[str], *, sensitive: bool) -> Mapping[str, Any]:
    """Return a dataset's properties with the marks changed."""
    if dataset.kind == "view":
        definition = ViewDefinition.of(dataset)
        inherited = {one.casefold() for one in definition.inherited}
        kept = _with(definition.sensitive_columns, names, definition.column_names, sensitive=sensitive)
        stay = [name for name in names if name.casefold() in inherited]
        if stay and not sensitive:
            raise InheritedMarkError(
                f"{', '.join(stay)} of {dataset.name!r} can't lose the mark: the view's rows were made from sensitive "
                "columns.",
            )
        return definition.model_copy(update={"sensitive_columns": kept}).as_properties()
    has = [column.name for column in dataset.columns]
    kept = _with(tuple(dataset.properties.get(SENSITIVE) or ()), names, has, sensitive=sensitive)
    others = {key: value for key, value in dataset.properties.items() if key != SENSITIVE}
    return {**others, **({SENSITIVE: list(kept)} if kept else {})}


def _with(marks: Sequence[str], names: Sequence[str], has: Sequence[str], *, sensitive: bool) -> tuple[str, ...]:
    before, named = {one.casefold() for one in marks}, {one.casefold() for one in names}
    wanted = before | named if sensitive else before - named
    return tuple(name for name in has if name.casefold() in wanted)
