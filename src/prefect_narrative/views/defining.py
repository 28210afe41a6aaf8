"""Defining a view: checking what somebody wrote against what is there, without running the query."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal

from prefect_narrative.errors import FailureKind
from prefect_narrative.planes.errors import DatasetExistsError, OvertakenError, WrongKindError
from prefect_narrative.planes.partitioning import partitions
from prefect_narrative.planes.plane import CheckedQuery, Column, Dataset, Description, Plane, SourceVersion
from prefect_narrative.planes.sensitive import SENSITIVE, marks
from prefect_narrative.views.appending import check_row_names
from prefect_narrative.views.definition import ViewDefinition, freeze_columns, merge_key
from prefect_narrative.views.lineage import Lineage, check_sources
from prefect_narrative.views.replacing import broken_by, check_dependants
from prefect_narrative.views.sensitivity import Sensitivity

IfExists = Literal["fail", "keep", "replace"]

SAID = (
    "query", "refresh_schedule", "timezone", "write_mode", "merge_on", "partitioned_by", "expire", "extended_stats",
    "sensitive_columns", "display_name", "description", "tags",
)  # fmt: skip
"""The fields of a definition that somebody says; the others follow from them."""


class ViewExistsError(DatasetExistsError):
    """There is a view of this name already."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    remedy = "Choose another name, or set if_exists to keep or replace."


@dataclass(frozen=True)
class Draft:
    """What somebody wants a view to be."""

    view: str
    definition: ViewDefinition
    """Without what follows from the data: columns, sources and the like."""
    if_exists: IfExists = "fail"
    sensitive_columns: tuple[str, ...] | None = None
    """Columns to mark as sensitive; None: those that are marked already."""
    force: bool = False
    """Whether to replace a view even where views that read it would fail or change."""


@dataclass(frozen=True)
class KeptView:
    """A view that is left as it is."""

    dataset: Dataset
    definition: ViewDefinition
    reason: str
    dependants: tuple[str, ...]
    """The views that read it, themselves or over others."""


@dataclass(frozen=True)
class DefinitionPlan:
    """What defining a view is going to do, and why."""

    view: str
    definition: ViewDefinition
    """What the view will be."""
    query: CheckedQuery
    at: int
    """The snapshot that every source is read at."""
    versions: tuple[SourceVersion, ...]
    reason: str
    readers: tuple[str, ...]
    """The views that read it."""
    dependants: tuple[str, ...]
    """The views that read it, themselves or over others."""
    replaced: ViewDefinition | None = None
    """What the view is now, where it is replaced."""

    def guard(self, found: Sequence[Description]) -> None:
        """Raise where what was checked is not so any more: sources dropped, a cycle closed, a new reader.

        Raises:
            ViewCycleError: a source has come to read this view.
            DatasetNotFoundError: a source is gone.
            OvertakenError: a view that reads this one is new, and was not looked at.
        """
        check_sources(self.view, self.query.sources, found)
        new = set(Lineage.of(found).readers(self.view)) - set(self.readers)
        if new:
            raise OvertakenError(f"Views that read {self.view!r} have come up meanwhile: {', '.join(sorted(new))}.")


def plan_definition(plane: Plane, draft: Draft, now: datetime) -> DefinitionPlan | KeptView:
    """Return what it takes to make a view what a draft says, or the view that is kept as it is.

    Raises:
        ViewExistsError: it is there, and if_exists says fail.
        DatasetExistsError: a dataset of this name is there.
        WrongKindError: the same, where if_exists says to keep or replace it.
        QueryRefusedError: the query is not allowed.
        ViewCycleError: the view would read itself.
        InvalidMergeKeyError: merge_on names no columns of the query, or nothing is appended.
        UnstorableColumnError: a view that keeps its rows has a column that would hide their ids.
        InvalidPartitionError: partitioned_by names no columns of the query.
        ColumnNotFoundError: sensitive_columns names no columns of the query.
        DependantsBreakError: views that read it would fail or change.
    """
    view, said = draft.view, draft.definition
    at = plane.snapshot()
    found = plane.descriptions(at)
    lineage = Lineage.of(found)
    standing = plane.dataset(view, at) if view in lineage.names else None
    if standing is not None:
        _check_place(standing, draft.if_exists)
    before = None if standing is None else ViewDefinition.of(standing)
    named = draft.sensitive_columns if draft.sensitive_columns is not None else said.sensitive_columns or None
    if named is None and before is not None:
        said = said.model_copy(update={"sensitive_columns": before.sensitive_columns})
    elif named is not None:
        said = said.model_copy(update={"sensitive_columns": named})
    if standing is not None and before is not None and draft.if_exists == "keep":
        return KeptView(standing, before, _kept(view, differences(said, before)), lineage.dependants(view))
    query = plane.check(said.query, at, deltas=said.write_mode == "append")
    check_sources(view, query.sources, found)
    described = tuple(plane.describe(query, at))
    columns = freeze_columns(query, described)
    definition = said.model_copy(
        update={
            "columns": columns,
            "volatile": query.volatile,
            "merge_on": merge_key(said.merge_on, said.write_mode, columns),
            "partitioned_by": tuple(map(str, partitions(said.partitioned_by, described))),
            "sensitive_columns": _sensitive(described, named, before),
            "inherited": Sensitivity(plane, at).inherited(query, described),
            "refreshed_at": now,
        }
    )
    if definition.write_mode == "append":
        check_row_names(view, definition)
    if before is not None and not draft.force:
        old = [Column(column.name, column.type) for column in before.columns]
        check_dependants(view, broken_by(plane, view, old, described, lineage, at))
    return DefinitionPlan(
        view=view,
        definition=definition,
        query=query,
        at=at,
        versions=tuple(plane.versions(query.sources, at)),
        reason=_made(definition, before, lineage.dependants(view)),
        readers=lineage.readers(view),
        dependants=lineage.dependants(view),
        replaced=before,
    )


def _sensitive(columns: Sequence[Column], said: Sequence[str] | None, before: ViewDefinition | None) -> tuple[str, ...]:
    kept = {} if before is None else {SENSITIVE: before.sensitive_columns}
    return tuple(marks(columns, said, kept, "The query"))


def _check_place(standing: Dataset, if_exists: IfExists) -> None:
    told = f"There is a {standing.kind} called {standing.name!r} already"
    if standing.kind != "view" and if_exists != "fail":
        raise WrongKindError(f"{told}, and a view does not take a dataset's place.", detail={"dataset": standing.name})
    if if_exists == "fail":
        error = ViewExistsError if standing.kind == "view" else DatasetExistsError
        raise error(f"{told}.", detail={"dataset": standing.name})


def differences(one: ViewDefinition, other: ViewDefinition) -> tuple[str, ...]:
    """Return the fields in which two definitions, as somebody says them, differ."""

    def plain(value: object) -> object:
        return tuple("".join(word.split()).casefold() for word in value) if isinstance(value, tuple) else value

    return tuple(name for name in SAID if plain(getattr(one, name)) != plain(getattr(other, name)))


def _kept(view: str, differing: Sequence[str]) -> str:
    if not differing:
        return f"There was a view called {view!r} already, with this definition."
    return f"There was a view called {view!r} already; it was kept, though its {_listed(differing)} is another."


def _made(definition: ViewDefinition, before: ViewDefinition | None, dependants: Sequence[str]) -> str:
    if before is None:
        return "There was no view of this name."
    differing = differences(definition, before)
    told = f"It has another {_listed(differing)} now" if differing else "Its definition is as before, its rows are new"
    if dependants:
        told += f"; made from it: {', '.join(dependants)}"
    return f"{told}."


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
