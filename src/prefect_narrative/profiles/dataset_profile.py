"""What is known of a dataset's columns: what was calculated, of which snapshot, and whether that still holds."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from prefect_narrative.planes.column_statistics import (
    APPROXIMATE_ERROR,
    SHOWING_VALUES,
    ColumnProfile,
    Family,
    KeptStatistics,
    Statistic,
)

MAX_BINS = 1000


class HistogramInput(BaseModel):
    """How finely a histogram tells values apart."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_bins: int = Field(default=20, ge=1, le=MAX_BINS)
    """Most bins; while a column has no more distinct values than this, each has a bin of its own."""
    overflow: bool = True
    """Whether values that are in no bin are counted together."""


DEFAULT_HISTOGRAM = HistogramInput()


class ColumnStatistics(BaseModel):
    """Statistics of one column in one snapshot."""

    model_config = ConfigDict(frozen=True)

    name: str
    type: str
    """In DuckDB's words."""
    family: Family
    redacted: bool = False
    """Whether its values are sensitive: there is no bound, histogram, mean or deviation then."""
    statistics: dict[Statistic, Any]
    """Those that were calculated, as JSON has them; None is a bound, a mean... of no values."""

    @classmethod
    def of(cls, found: ColumnProfile) -> Self:
        """Return what a plane has found."""
        return cls(
            name=found.name,
            type=found.type,
            family=found.family,
            redacted=found.redacted,
            statistics=dict(found.statistics),
        )

    def without_values(self) -> Self:
        """Return the same as it may be shown where the column's values are sensitive."""
        left = {name: value for name, value in self.statistics.items() if name not in SHOWING_VALUES}
        return self.model_copy(update={"redacted": True, "statistics": left})


class StatisticsHead(BaseModel):
    """What is known of calculated statistics beside their values."""

    model_config = ConfigDict(frozen=True)

    dataset: str
    table_id: int
    """The lake's id of the table; a replaced table has another."""
    snapshot_id: int
    """The snapshot that was read."""
    rows: int
    statistics: tuple[Statistic, ...]
    """Those that were asked for."""
    histogram: HistogramInput
    columns: tuple[str, ...]
    job_id: UUID
    calculated_at: datetime


class Statistics(BaseModel):
    """Statistics of a dataset's columns as they were calculated."""

    model_config = ConfigDict(frozen=True)

    head: StatisticsHead
    columns: tuple[ColumnStatistics, ...]

    def as_kept(self) -> KeptStatistics:
        """Return what the statistics store keeps."""
        return KeptStatistics(
            self.head.dataset,
            self.head.snapshot_id,
            self.head.model_dump(mode="json"),
            [column.model_dump(mode="json") for column in self.columns],
        )

    @classmethod
    def of_kept(cls, kept: KeptStatistics) -> Self:
        """Return statistics that were kept."""
        return cls(
            head=StatisticsHead.model_validate(kept.head),
            columns=tuple(ColumnStatistics.model_validate(column) for column in kept.columns),
        )


Standing = Literal["fresh", "stale", "missing"]
"""fresh: the dataset's contents are those that were measured; stale: they may have changed since; missing: there are no
statistics, which is not to say that they are zero."""


class ShownColumn(BaseModel):
    """One column of a dataset, with what is known of it."""

    model_config = ConfigDict(frozen=True)

    name: str
    type: str
    standing: Standing
    snapshot_id: int | None = None
    """The snapshot of which the statistics are; None where they are missing."""
    calculated_at: datetime | None = None
    rows: int | None = None
    """Rows in that snapshot."""
    redacted: bool = False
    statistics: dict[Statistic, Any] = {}
    flags: tuple[str, ...] = ()
    """What is remarkable, see `profiles.quality`."""


class Profile(BaseModel):
    """A dataset's columns with what is known of them now."""

    model_config = ConfigDict(frozen=True)

    dataset: str
    kind: Literal["dataset", "view"]
    snapshot_id: int
    """The snapshot whose columns these are."""
    rows: int
    """Rows in that snapshot."""
    columns: tuple[ShownColumn, ...]
    approx_count_distinct_error: float = APPROXIMATE_ERROR
    """Relative standard error of `approx_count_distinct`."""

    @property
    def standing(self) -> Mapping[Standing, int]:
        """How many columns there are of each standing."""
        counts: dict[Standing, int] = {"fresh": 0, "stale": 0, "missing": 0}
        for column in self.columns:
            counts[column.standing] += 1
        return counts
