"""Dropping datasets and views: what it removes, and which views it would leave without a source."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.planes.errors import DatasetNotFoundError, OvertakenError
from prefect_narrative.planes.plane import Dataset, Description, Plane
from prefect_narrative.views.lineage import Lineage

Dependants = Literal["refuse", "drop", "leave"]
"""What becomes of views that read what is dropped: nothing is dropped; they are dropped too; they stay as they are."""


class HasDependantsError(NarrativeError, ValueError):
    """Views read what is to be dropped."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "has_dependants"
    remedy = (
        "Drop them first; or dependants=drop (--cascade) drops them too, dependants=leave (--force) leaves them with "
        "their rows, to fail at their next refresh."
    )


@dataclass(frozen=True)
class DropPlan:
    """What is dropped."""

    at: int
    """The snapshot that was looked at."""
    doomed: tuple[Dataset, ...]
    """What is dropped: readers before what they read."""
    left: tuple[str, ...]
    """Views that stay though something that they read is dropped."""

    def guard(self, found: Sequence[Description]) -> None:
        """Raise where a view has come to read what is dropped since that was looked at.

        Raises:
            OvertakenError: with the view.
        """
        doomed = {one.name for one in self.doomed}
        new = sorted(_left_without(Lineage.of(found), doomed) - set(self.left))
        if new:
            raise OvertakenError(f"A view has come to read what was to be dropped: {', '.join(new)}.")


def plan_drop(
    plane: Plane,
    names: Sequence[str],
    dependants: Dependants,
    *,
    has_schedule: Callable[[str], bool] = lambda _: False,
) -> DropPlan:
    """Return what dropping datasets and views removes.

    Args:
        plane: Where they are.
        names: What to drop.
        dependants: What becomes of the views that read them.
        has_schedule: Tells of a name that is no dataset whether a schedule was left over from it, to be removed.

    Raises:
        InvalidNameError: a name breaks the naming rule.
        DatasetNotFoundError: there is no such dataset, and no schedule of that name either.
        HasDependantsError: other views read them, and `dependants` says to refuse.
    """
    at = plane.snapshot()
    lineage = Lineage.of(plane.descriptions(at))
    doomed: dict[str, None] = {}
    for name in names:
        if name in lineage.names:
            doomed[name] = None
        elif not has_schedule(name):
            plane.dataset(name, at)  # raises with what is wrong about the name
            raise DatasetNotFoundError.named(name, lineage.names)
    if dependants == "drop":
        for name in tuple(doomed):
            doomed |= dict.fromkeys(lineage.dependants(name))
    left = sorted(_left_without(lineage, set(doomed)))
    if left and dependants == "refuse":
        told = "; ".join(
            f"{reader} reads {', '.join(source for source in lineage.sources(reader) if source in doomed)}"
            for reader in left
        )
        below = sorted({name for reader in left for name in lineage.dependants(reader)} - set(left) - set(doomed))
        more = f" Views on these: {', '.join(below)}." if below else ""
        raise HasDependantsError(
            f"{', '.join(doomed)} can't be dropped: {told}.{more}", detail={"dependants": left, "further": below}
        )
    ordered = sorted(doomed, key=lambda name: len(lineage.ancestors(name)), reverse=True)
    return DropPlan(at, tuple(plane.dataset(name, at) for name in ordered), tuple(left))


def _left_without(lineage: Lineage, doomed: set[str]) -> set[str]:
    return {reader for name in doomed for reader in lineage.readers(name)} - doomed
