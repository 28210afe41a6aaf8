"""What a materialized view is: a dataset with a definition, published together with its rows."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict

from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.planes.plane import CheckedQuery, Column, Dataset, SourceVersion

_PROPERTY = "definition"


class NotAViewError(NarrativeError, TypeError):
    """The dataset is not a materialized view."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "not_a_view"
    remedy = "Name a view: `narrative datasets list` shows which datasets are views."


class RandomViewError(NarrativeError, ValueError):
    """A view must yield the same rows from the same data."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "random_view"
    remedy = "Take the random function out of the query."


class DuplicateColumnsError(NarrativeError, ValueError):
    """A view's columns need names of their own."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "duplicate_columns"
    remedy = "Give each column of the query its own name with AS."


class ViewColumn(BaseModel):
    """A column of a view, frozen when the view was created."""

    model_config = ConfigDict(frozen=True)

    name: str
    type: str
    """In DuckDB's words."""


class ReadVersion(BaseModel):
    """Which contents of a source the last refresh read."""

    model_config = ConfigDict(frozen=True)

    name: str
    table_id: int
    snapshot_id: int

    @classmethod
    def of(cls, version: SourceVersion) -> Self:
        """Return the stored form of a plane's source version."""
        return cls(name=version.name, table_id=version.table_id, snapshot_id=version.snapshot_id)

    def as_source(self) -> SourceVersion:
        """Return the plane's form."""
        return SourceVersion(self.name, self.table_id, self.snapshot_id)


class ViewDefinition(BaseModel):
    """The definition of a view and what its present rows were made from.

    It is stored with the view's rows, in the same transaction: it is always the definition of just these rows.
    """

    model_config = ConfigDict(frozen=True)

    query: str
    """As the user wrote it."""
    columns: tuple[ViewColumn, ...]
    """The columns that the view has, whatever its sources gain later."""
    sources: tuple[ReadVersion, ...]
    volatile: tuple[str, ...] = ()
    """Time-dependent functions in the query: such a view is refreshed even when its sources are unchanged."""
    refresh_schedule: str = "@once"
    timezone: str = "UTC"
    display_name: str | None = None
    description: str | None = None
    tags: tuple[str, ...] = ()

    @classmethod
    def of(cls, dataset: Dataset) -> Self:
        """Return the definition of a dataset that is a view.

        Raises:
            NotAViewError: it is not.
        """
        if dataset.kind != "view" or _PROPERTY not in dataset.properties:
            raise NotAViewError(f"{dataset.name} is not a materialized view, so it can't be refreshed.")
        return cls.model_validate(dataset.properties[_PROPERTY])

    def as_properties(self) -> Mapping[str, Any]:
        """Return what is published beside the view's rows."""
        return {
            "description": self.description,
            "tags": list(self.tags),
            _PROPERTY: self.model_dump(mode="json"),
        }

    def read_from(self, versions: tuple[SourceVersion, ...]) -> Self:
        """Return the same definition for rows that were made from these versions of its sources."""
        return self.model_copy(update={"sources": tuple(map(ReadVersion.of, versions))})

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the view's columns, in order."""
        return tuple(column.name for column in self.columns)


def freeze_columns(query: CheckedQuery, columns: tuple[Column, ...]) -> tuple[ViewColumn, ...]:
    """Return the columns that a view with this query has from now on.

    Raises:
        RandomViewError: the query's rows are random.
        DuplicateColumnsError: two of its columns have the same name, letter case aside.
    """
    if query.random:
        raise RandomViewError(
            f"The query calls {', '.join(query.random)}: a view yields the same rows from the same data."
        )
    seen: set[str] = set()
    for column in columns:
        if column.name.casefold() in seen:
            raise DuplicateColumnsError(f"The query yields two columns called {column.name!r}.")
        seen.add(column.name.casefold())
    return tuple(ViewColumn(name=column.name, type=column.type) for column in columns)
