"""What a materialized view is: a dataset with a definition, published together with its rows."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.planes.errors import nearest
from prefect_narrative.planes.plane import CheckedQuery, Column, Dataset, SourceVersion
from prefect_narrative.planes.sensitive import SENSITIVE
from prefect_narrative.views.expiry import EXPIRE_EVERYTHING, RETAIN_EVERYTHING
from prefect_narrative.views.schedule import RefreshSchedule, parse_schedule

_PROPERTY = "definition"
REMEMBERED = 8
"""Refreshes whose figures a definition keeps."""


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


class InvalidMergeKeyError(NarrativeError, ValueError):
    """Rows can't be merged by this key."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "invalid_merge_key"
    remedy = "Name columns of the query in merge_on, each once, and set write_mode=append."


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


class EngineMark(BaseModel):
    """What is noted at a refresh of rows that a later one may go on from."""

    model_config = ConfigDict(frozen=True)

    engine: str
    """The query engine that made them, with its version."""
    form: int
    """The form in which groups are kept beside them."""
    job_id: UUID
    """The job that published them: when that was tells whether anybody has changed them since."""
    unfit: str | None = None
    """Why no refresh can go on from them, in a sentence; None: one may."""


class PastRefresh(BaseModel):
    """What a refresh took: the next choice between full and incremental learns from it."""

    model_config = ConfigDict(frozen=True)

    action: Literal["full", "incremental"]
    seconds: float
    """Elapsed, up to its publication."""
    usual_seconds: float
    """What it would have been expected to take if nothing were known of the view's earlier refreshes."""
    changed_rows: int
    """At most so many rows of its sources had changed."""
    source_rows: int
    """Rows that its sources had."""
    rows: int
    """Rows that the view had afterwards."""


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
    """What the present rows were made from."""
    refreshed_at: datetime | None = None
    """When the sources were read for the present rows; None: before this was kept."""
    emptied_at: datetime | None = None
    """When all rows have expired, so that the view is empty whatever its sources hold, until a full refresh."""
    volatile: tuple[str, ...] = ()
    """Time-dependent functions in the query: such a view is refreshed even when its sources are unchanged."""
    write_mode: Literal["overwrite", "append"] = "overwrite"
    """What a refresh does with the query's rows: they replace the view's, or are added to them."""
    merge_on: tuple[str, ...] = ()
    """Key columns by which appended rows replace those that are there; empty: rows are only added."""
    partitioned_by: tuple[str, ...] = ()
    """By what the view's files are kept apart: a column, or year, month or day of one: `year(sold_at)`."""
    expire: str = RETAIN_EVERYTHING
    """How long rows are kept, see `views.expiry`."""
    sensitive_columns: tuple[str, ...] = ()
    """Columns that somebody has marked as sensitive."""
    inherited: tuple[str, ...] = ()
    """Columns that are sensitive since the rows were made from sensitive ones, or may have been."""
    extended_stats: Literal["all", "none"] = "none"
    """Whether each refresh is followed by statistics of all columns."""
    engine: EngineMark | None = None
    """By what the present rows were made, so that a refresh can go on from them; None: by nothing that noted it."""
    past: tuple[PastRefresh, ...] = ()
    """The latest refreshes that wrote rows, the newest last."""
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
        sensitive = [name for name in self.column_names if name.casefold() in self.hidden]
        return {
            "description": self.description,
            "tags": list(self.tags),
            "partitioned_by": list(self.partitioned_by),
            **({SENSITIVE: sensitive} if sensitive else {}),
            _PROPERTY: self.model_dump(mode="json"),
        }

    def read_from(self, versions: tuple[SourceVersion, ...]) -> Self:
        """Return the same definition for rows that were made from these versions of its sources."""
        return self.model_copy(update={"sources": tuple(map(ReadVersion.of, versions))})

    def remembering(self, past: PastRefresh) -> Self:
        """Return the same definition after one more refresh."""
        return self.model_copy(update={"past": (*self.past, past)[-REMEMBERED:]})

    @property
    def hidden(self) -> frozenset[str]:
        """Columns whose values nobody is shown, in small letters."""
        return frozenset(name.casefold() for name in (*self.sensitive_columns, *self.inherited))

    @property
    def keeps_ages(self) -> bool:
        """Whether rows expire one by one, so that it has to be kept when each of them was ingested."""
        return self.write_mode == "append" and self.expire not in {RETAIN_EVERYTHING, EXPIRE_EVERYTHING}

    @property
    def schedule(self) -> RefreshSchedule | None:
        """When the view is refreshed; None: when somebody asks."""
        return parse_schedule(self.refresh_schedule, self.timezone)

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the view's columns, in order."""
        return tuple(column.name for column in self.columns)


def source_names(properties: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a view reads, sorted, from what was published beside its rows; nothing where that can't be read."""
    definition = properties.get(_PROPERTY)
    sources = definition.get("sources", ()) if isinstance(definition, Mapping) else ()
    return tuple(sorted(source["name"] for source in sources))


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


def merge_key(merge_on: Sequence[str], write_mode: str, columns: Sequence[ViewColumn]) -> tuple[str, ...]:
    """Return the columns that rows are merged by, called as the view calls them.

    Raises:
        InvalidMergeKeyError: the view does not append, there is no such column, or one is named twice.
    """
    if merge_on and write_mode != "append":
        raise InvalidMergeKeyError(
            f"merge_on needs write_mode=append; with {write_mode} each refresh replaces all rows.",
            remedy="Set write_mode=append, or leave merge_on out.",
        )
    by_name = {column.name.casefold(): column.name for column in columns}
    key: list[str] = []
    for name in merge_on:
        found = by_name.get(name.casefold())
        if found is None:
            raise InvalidMergeKeyError(
                f"The query has no column {name!r} to merge by.{nearest(name.casefold(), by_name)}"
            )
        if found in key:
            raise InvalidMergeKeyError(f"The column {found!r} is in merge_on twice.")
        key.append(found)
    return tuple(key)
