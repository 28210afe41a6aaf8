"""What a profile of a dataset is: up to twelve statistics of each column, in one snapshot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

Statistic = Literal[
    "value_count",
    "null_value_count",
    "nan_value_count",
    "lower_bound",
    "upper_bound",
    "approx_count_distinct",
    "count_distinct",
    "histogram",
    "mean",
    "standard_deviation",
    "column_stored_bytes",
    "completeness",
]
STATISTICS: tuple[Statistic, ...] = get_args(Statistic)

Family = Literal["float", "number", "time", "text", "nested"]
"""Which statistics a type has: float is FLOAT and DOUBLE; number is every whole number and DECIMAL; time is DATE, TIME
and TIMESTAMP; text is VARCHAR, BOOLEAN and UUID; nested is LIST, STRUCT, MAP and their like, and BLOB."""

_NESTED: frozenset[Statistic] = frozenset({"value_count", "null_value_count", "column_stored_bytes", "completeness"})
_ALL: frozenset[Statistic] = frozenset(STATISTICS)
_NUMBER = _ALL - {"nan_value_count"}
_TEXT = _NUMBER - {"mean", "standard_deviation"}

OF_FAMILY: Mapping[Family, frozenset[Statistic]] = {
    "float": _ALL,
    "number": _NUMBER,
    "time": _TEXT,
    "text": _TEXT,
    "nested": _NESTED,
}

SHOWING_VALUES: frozenset[Statistic] = frozenset(
    {"lower_bound", "upper_bound", "histogram", "mean", "standard_deviation"}
)
"""Statistics from which values can be told: there are none of sensitive columns."""

APPROXIMATE_ERROR = 0.13
"""Relative standard error of `approx_count_distinct`: 1.04 / sqrt(64) of a HyperLogLog with 64 registers, as DuckDB has
it (Flajolet, Fusy, Gandouet and Meunier, HyperLogLog, AofA 2007). One of three is further off, one of twenty twice as
far."""


@dataclass(frozen=True)
class HistogramOptions:
    """How finely values are told apart."""

    max_bins: int = 20
    """Most bins; while there are no more distinct values than this, each has a bin of its own."""
    overflow: bool = True
    """Whether values that are in no bin are counted together."""


@dataclass(frozen=True)
class ColumnProfile:
    """Statistics of a column."""

    name: str
    type: str
    """In DuckDB's words."""
    family: Family
    statistics: Mapping[Statistic, Any]
    """Those that were calculated, as JSON has them; None is a mean, a bound... of no values."""
    redacted: bool = False
    """Whether its values are sensitive, so that none of the statistics that show values was calculated."""


@dataclass(frozen=True)
class DatasetProfile:
    """Statistics of a dataset's columns in one snapshot."""

    rows: int
    columns: tuple[ColumnProfile, ...]
    passes: int
    """How many times rows were read, each time other columns; metadata told the rest."""
    read_bytes: int
    """Stored bytes of the columns that were read."""


@dataclass(frozen=True)
class KeptStatistics:
    """Statistics of a dataset as the statistics store has them."""

    dataset: str
    snapshot_id: int
    head: Mapping[str, Any]
    """What they are of, and how and when they were calculated. JSON values."""
    columns: Sequence[Mapping[str, Any]]
    """The columns' statistics. JSON values."""
