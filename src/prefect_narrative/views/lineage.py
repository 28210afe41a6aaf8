"""Which views read what: up to the datasets that they are made from, down to the views that are made from them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.planes.errors import DatasetNotFoundError
from prefect_narrative.planes.plane import Description
from prefect_narrative.views.definition import source_names


class ViewCycleError(NarrativeError, ValueError):
    """A view can't be made from itself, not even over other views."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "view_cycle"
    remedy = "Let the query read datasets, or views that do not read this one."


@dataclass(frozen=True)
class Lineage:
    """The views of one snapshot and what each of them reads."""

    reads: Mapping[str, tuple[str, ...]]
    """Of each view the datasets and views that its query names, sorted."""
    names: frozenset[str]
    """All datasets and views."""

    @classmethod
    def of(cls, found: Iterable[Description]) -> Self:
        """Return the lineage of all datasets and views of a snapshot."""
        known = tuple(found)
        return cls(
            reads={one.name: source_names(one.properties) for one in known if one.kind == "view"},
            names=frozenset(one.name for one in known),
        )

    def sources(self, view: str) -> tuple[str, ...]:
        """Return what a view reads itself."""
        return self.reads.get(view, ())

    def readers(self, name: str) -> tuple[str, ...]:
        """Return the views that read a dataset or view themselves, sorted."""
        return tuple(sorted(view for view, sources in self.reads.items() if name in sources))

    def ancestors(self, view: str) -> tuple[str, ...]:
        """Return everything that a view is made from, itself or over other views: the nearest first."""
        return _walk(view, self.sources)

    def dependants(self, name: str) -> tuple[str, ...]:
        """Return all views that are made from a dataset or view, themselves or over others: the nearest first."""
        return _walk(name, self.readers)

    def path(self, view: str, to: str) -> tuple[str, ...] | None:
        """Return the shortest way from a view to what it reads, both ends included; None where there is none."""
        came_from: dict[str, str] = {}
        wave = [view]
        while wave:
            ahead: list[str] = []
            for name in wave:
                for source in self.sources(name):
                    if source == to:
                        way = [to, name]
                        while way[-1] != view:
                            way.append(came_from[way[-1]])
                        return tuple(reversed(way))
                    if source not in came_from and source != view:
                        came_from[source] = name
                        ahead.append(source)
            wave = ahead
        return None


def check_sources(view: str, sources: Sequence[str], found: Iterable[Description]) -> None:
    """Raise unless a view of this name can read these.

    Args:
        view: The view's name, whether it exists or not.
        sources: What its query reads.
        found: All datasets and views that there are.

    Raises:
        ViewCycleError: it would read itself, over however many views.
        DatasetNotFoundError: a source is not there.
    """
    lineage = Lineage.of(found)
    for source in sources:
        way = (view,) if source == view else lineage.path(source, view)
        if way is not None:
            told = ", which reads ".join((view, *way))
            raise ViewCycleError(f"A view can't be made from itself: {told}.", detail={"cycle": [view, *way]})
        if source not in lineage.names:
            raise DatasetNotFoundError.named(source, lineage.names)


def _walk(start: str, step: Callable[[str], tuple[str, ...]]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    wave = [start]
    while wave:
        wave = [name for near in wave for name in step(near) if name not in found and name != start]
        found.update(dict.fromkeys(wave))
        wave = list(dict.fromkeys(wave))
    return tuple(found)
