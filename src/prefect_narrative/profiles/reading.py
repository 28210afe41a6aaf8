"""Reading kept statistics: of each column the newest, whether they still hold, and what may be shown."""

from collections.abc import Sequence
from typing import ClassVar

from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.planes.column_statistics import Statistic
from prefect_narrative.planes.plane import Column, Plane, SourceVersion
from prefect_narrative.profiles.dataset_profile import Profile, ShownColumn, Standing, Statistics
from prefect_narrative.profiles.quality import flags
from prefect_narrative.views.sensitivity import Sensitivity


class StatisticsNotFoundError(NarrativeError, LookupError):
    """There are no statistics of this dataset, or of this snapshot of it."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "statistics_not_found"
    remedy = "Calculate them: narrative submit calculate-column-statistics dataset=NAME --wait"


def profile(plane: Plane, name: str, snapshot: int | None = None) -> Profile:
    """Return a dataset's columns with what is known of each now; columns without statistics are `missing`.

    Args:
        plane: The plane.
        name: The dataset or view.
        snapshot: Show the statistics of this snapshot; None: the newest that there are of each column.

    Raises:
        DatasetNotFoundError: there is no such dataset, with the nearest names.
        StatisticsNotFoundError: nothing was ever calculated of the dataset, or nothing of that snapshot.
    """
    at = plane.snapshot() if snapshot is None else snapshot
    kept = [Statistics.of_kept(one) for one in plane.statistics(plane.dataset(name).name)]
    if snapshot is not None:
        kept = [one for one in kept if one.head.snapshot_id == snapshot]
    if not kept:
        of = "" if snapshot is None else f" in snapshot {snapshot}"
        raise StatisticsNotFoundError(
            f"There are no statistics of {name!r}{of}.",
            remedy=f"Calculate them: narrative submit calculate-column-statistics dataset={name} --wait",
        )
    dataset = plane.dataset(name, at)
    versions = [SourceVersion(dataset.name, one.head.table_id, one.head.snapshot_id) for one in kept]
    fresh = [not one.changed for one in plane.freshness(versions, at)]
    hidden = Sensitivity(plane, at).of_dataset(dataset.name)
    return Profile(
        dataset=dataset.name,
        kind=dataset.kind,
        snapshot_id=at,
        rows=dataset.rows,
        columns=tuple(
            _column(column, kept, fresh, hidden=column.name.casefold() in hidden) for column in dataset.columns
        ),
    )


def _column(column: Column, kept: Sequence[Statistics], fresh: Sequence[bool], *, hidden: bool) -> ShownColumn:
    """Return a column with its newest statistics; others of the same contents are added to them."""
    found: dict[Statistic, object] = {}
    first: Statistics | None = None
    standing: Standing = "missing"
    redacted = hidden
    for one, holds in zip(kept, fresh, strict=True):
        held = next((of for of in one.columns if (of.name, of.type) == (column.name, column.type)), None)
        if held is None or (first is not None and not (holds and standing == "fresh")):
            continue
        if first is None:
            first, standing = one, "fresh" if holds else "stale"
        redacted = redacted or held.redacted
        found = {**(held.without_values() if redacted else held).statistics, **found}
    if first is None:
        return ShownColumn(name=column.name, type=column.type, standing="missing", redacted=hidden)
    return ShownColumn(
        name=column.name,
        type=column.type,
        standing=standing,
        snapshot_id=first.head.snapshot_id,
        calculated_at=first.head.calculated_at,
        rows=first.head.rows,
        redacted=redacted,
        statistics=found,
        flags=flags(found, first.head.rows),
    )
