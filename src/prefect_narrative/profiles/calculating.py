"""Calculating statistics of a dataset's columns at one snapshot, some columns at a time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.planes.column_statistics import STATISTICS, HistogramOptions, Statistic
from prefect_narrative.planes.columns import named_columns
from prefect_narrative.planes.plane import Column, Plane
from prefect_narrative.planes.profiling import COPIED_VALUES, GROUPING
from prefect_narrative.profiles.dataset_profile import (
    DEFAULT_HISTOGRAM,
    ColumnStatistics,
    HistogramInput,
    Statistics,
    StatisticsHead,
)
from prefect_narrative.views.sensitivity import Sensitivity

COLUMNS_AT_ONCE = 50

Tell = Callable[[str, float, float], None]
"""Takes what is done now, and which share of all is done at its beginning and at its end."""


class NoStatisticsError(NarrativeError, ValueError):
    """Statistics are of columns, and there are twelve of them."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "no_statistics"
    remedy = "Name the columns or the statistics that are wanted, or leave the input out: all of them."


@dataclass(frozen=True)
class Request:
    """What somebody wants to know."""

    dataset: str
    columns: Sequence[str] | None = None
    """None: all."""
    statistics: Sequence[Statistic] | None = None
    """None: all twelve; of each column those that its type has."""
    histogram: HistogramInput = DEFAULT_HISTOGRAM
    as_of: int | None = None
    """The snapshot to read; None: the newest."""


def calculate(plane: Plane, job_id: UUID, wanted: Request, now: datetime, tell: Tell) -> Statistics:
    """Return statistics, which are not kept yet.

    Raises:
        NoStatisticsError: an empty list of columns or statistics is given.
        DatasetNotFoundError: there is no such dataset, with the nearest names.
        ColumnNotFoundError: there is no such column, with the nearest names.
        AmbiguousColumnError: a column is named twice.
        SnapshotNotFoundError: the snapshot does not exist, or has expired.
    """
    for name, given in (("columns", wanted.columns), ("statistics", wanted.statistics)):
        if given is not None and not given:
            raise NoStatisticsError(f"{name} is an empty list: there is nothing to calculate.")
    at = plane.snapshot() if wanted.as_of is None else wanted.as_of
    dataset = plane.dataset(wanted.dataset, at)
    chosen = dataset.columns
    if wanted.columns is not None:
        chosen = tuple(named_columns(chosen, wanted.columns, repr(dataset.name)))
    statistics = tuple(name for name in STATISTICS if name in (wanted.statistics or STATISTICS))
    hidden = Sensitivity(plane, at).of_dataset(dataset.name)
    options = HistogramOptions(wanted.histogram.max_bins, wanted.histogram.overflow)
    found: list[ColumnStatistics] = []
    rows = dataset.rows
    for batch in _batches(chosen, dataset.rows, grouping=bool(GROUPING & set(statistics))):
        told = batch[0].name if len(batch) == 1 else f"{batch[0].name} to {batch[-1].name}"
        done = len(found) + len(batch)
        tell(f"measuring {told} ({done} of {len(chosen)} columns)", len(found) / len(chosen), done / len(chosen))
        profile = plane.profile(
            dataset.name,
            at=at,
            columns=[column.name for column in batch],
            statistics=statistics,
            histogram=options,
            hidden=hidden,
        )
        found += [ColumnStatistics.of(column) for column in profile.columns]
        rows = profile.rows
    head = StatisticsHead(
        dataset=dataset.name,
        table_id=dataset.table_id,
        snapshot_id=at,
        rows=rows,
        statistics=statistics,
        histogram=wanted.histogram,
        columns=tuple(column.name for column in chosen),
        job_id=job_id,
        calculated_at=now,
    )
    return Statistics(head=head, columns=tuple(found))


def _batches(columns: Sequence[Column], rows: int, *, grouping: bool) -> Iterator[Sequence[Column]]:
    """Yield the columns that are measured together: where each is read by itself, fewer of them the more rows."""
    size = max(1, min(COLUMNS_AT_ONCE, COPIED_VALUES // max(rows, 1))) if grouping else COLUMNS_AT_ONCE
    for start in range(0, len(columns), size):
        yield columns[start : start + size]
