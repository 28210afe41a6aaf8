"""How the views of a plane stand: what they are, how fresh they are, what they are made from and what reads them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import reduce
from typing import ClassVar, Literal

from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.planes.errors import nearest
from prefect_narrative.planes.plane import Dataset, Plane
from prefect_narrative.views.definition import NotAViewError, ViewDefinition
from prefect_narrative.views.lineage import Lineage


class ViewNotFoundError(NarrativeError, LookupError):
    """There is no such view."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "view_not_found"
    remedy = "`narrative views list` shows the views there are."


class FreshnessState(StrEnum):
    """Whether contents are what a refresh would make of them now."""

    FRESH = "fresh"
    """Nothing that they are made from has changed since."""
    STALE = "stale"
    """Something that the view itself reads has changed since, or is gone."""
    BEHIND = "behind"
    """What the view reads is unchanged, but is stale or behind itself: views below it are to be refreshed first."""


@dataclass(frozen=True)
class SourceStanding:
    """A dataset or view that a view reads."""

    name: str
    kind: Literal["dataset", "view", "gone"]
    state: FreshnessState
    """STALE: it has changed since the view read it. BEHIND: it has not, and is a view that is not fresh itself."""
    since: datetime | None
    """When the first change came that the view has not; None: there is none, or that can't be known any more."""


@dataclass(frozen=True)
class ViewStanding:
    """A view as it stands."""

    dataset: Dataset
    definition: ViewDefinition
    sources: tuple[SourceStanding, ...]
    """What it reads itself, by name."""
    ancestors: tuple[str, ...]
    """All that it is made from, itself or over other views: the nearest first."""
    readers: tuple[str, ...]
    """The views that read it themselves."""
    dependants: tuple[str, ...]
    """All views that are made from it, themselves or over others: the nearest first."""

    @property
    def name(self) -> str:
        """The view's name."""
        return self.dataset.name

    @property
    def state(self) -> FreshnessState:
        """Whether its rows are what a refresh would make of them; of views of the time, as of their last refresh."""
        states = {source.state for source in self.sources}
        for state in (FreshnessState.STALE, FreshnessState.BEHIND):
            if state in states:
                return state
        return FreshnessState.FRESH

    @property
    def since(self) -> datetime | None:
        """When the first change came that the view has not; None: it is fresh, or that can't be known any more."""
        changed = [source.since for source in self.sources if source.state is not FreshnessState.FRESH]
        return reduce(_earlier, changed) if changed else None


def standings(plane: Plane) -> tuple[ViewStanding, ...]:
    """Return how all views of a plane stand, by name. One whose definition can't be read is left out."""
    at = plane.snapshot()
    lineage = Lineage.of(plane.descriptions(at))
    found: dict[str, tuple[Dataset, ViewDefinition]] = {}
    for dataset in plane.datasets(at):
        if dataset.kind == "view":
            try:
                found[dataset.name] = (dataset, ViewDefinition.of(dataset))
            except (ValueError, NotAViewError):
                continue
    sources = _sources(plane, {name: definition for name, (_, definition) in found.items()}, lineage, at)
    return tuple(
        ViewStanding(
            dataset=dataset,
            definition=definition,
            sources=sources[name],
            ancestors=lineage.ancestors(name),
            readers=lineage.readers(name),
            dependants=lineage.dependants(name),
        )
        for name, (dataset, definition) in found.items()
    )


def standing_of(plane: Plane, view: str) -> ViewStanding:
    """Return how one view stands.

    Raises:
        InvalidNameError: the name breaks the naming rule.
        ViewNotFoundError: there is none, with the nearest names.
        NotAViewError: a dataset of this name is no view.
    """
    if plane.exists(view) and plane.dataset(view).kind != "view":
        raise NotAViewError(f"{view!r} is a dataset, and no view.")
    found = standings(plane)
    for one in found:
        if one.name == view:
            return one
    raise ViewNotFoundError(f"There is no view {view!r}.{nearest(view, (one.name for one in found))}")


def _sources(
    plane: Plane, definitions: Mapping[str, ViewDefinition], lineage: Lineage, at: int
) -> dict[str, tuple[SourceStanding, ...]]:
    read = {
        (view, source.name): source.as_source()
        for view, definition in definitions.items()
        for source in definition.sources
    }
    seen = dict(zip(read, plane.freshness(tuple(read.values()), at), strict=True))
    # When the first change came that a view itself has not, of those that have not seen one.
    stale: dict[str, datetime | None] = {}
    for (view, name), freshness in seen.items():
        if freshness.changed or name not in lineage.names:
            stale[view] = _earlier(stale[view], freshness.since) if view in stale else freshness.since

    def standing(view: str, name: str) -> SourceStanding:
        kind: Literal["dataset", "view", "gone"] = "view" if name in lineage.reads else "dataset"
        if name not in lineage.names:
            return SourceStanding(name, "gone", FreshnessState.STALE, None)
        if seen[view, name].changed:
            return SourceStanding(name, kind, FreshnessState.STALE, seen[view, name].since)
        below = [stale[one] for one in (name, *lineage.ancestors(name)) if one in stale]
        if below:
            return SourceStanding(name, kind, FreshnessState.BEHIND, reduce(_earlier, below))
        return SourceStanding(name, kind, FreshnessState.FRESH, None)

    return {view: tuple(standing(view, name) for name in lineage.sources(view)) for view in definitions}


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    return None if one is None or other is None else min(one, other)
