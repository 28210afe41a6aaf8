"""Datasets to measure, and the statistics of the same values by other means: Python's own, NumPy's."""

import math
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np

from prefect_narrative.planes import Plane, Write
from prefect_narrative.profiles.calculating import Request, calculate
from prefect_narrative.profiles.dataset_profile import ColumnStatistics, Statistics
from prefect_narrative.settings import Settings

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def settings_in(home: Path) -> Settings:
    return Settings(home=home, threads=2, memory_limit="512MB")


def make(plane: Plane, name: str, query: str, mode: str = "replace", **write: Any) -> int:
    """Publish a query's rows as a dataset and return the snapshot."""
    job = uuid4()
    stage = plane.stage_query(job, 1, name, plane.check(query), at=plane.snapshot())
    return plane.publish(job, 1, [Write(name, mode, stage, **write)], {}).snapshot_id  # type: ignore[arg-type]


def measured(plane: Plane, dataset: str, **wanted: Any) -> Statistics:
    """Return what a job would keep."""
    return calculate(plane, uuid4(), Request(dataset, **wanted), NOON, lambda *_: None)


def keep(plane: Plane, dataset: str, job: UUID | None = None, **wanted: Any) -> Statistics:
    """Measure and keep."""
    found = measured(plane, dataset, **wanted)
    plane.publish(job or uuid4(), 1, [], {}, keep=[found.as_kept()])
    return found


def by_name(found: Statistics) -> dict[str, ColumnStatistics]:
    return {column.name: column for column in found.columns}


def moment_of(shown: str) -> int:
    """Return a date or a timestamp as text, in whole microseconds."""
    return (datetime.fromisoformat(shown).replace(tzinfo=UTC) - datetime(1, 1, 1, tzinfo=UTC)) // timedelta(
        microseconds=1
    )


def check_column(found: ColumnStatistics, values: Sequence[Any], max_bins: int = 20) -> None:
    """Compare a column's statistics with what Python and NumPy find in its values.

    Args:
        found: The statistics, all of the type's.
        values: Numbers, texts or booleans; None is NULL.
        max_bins: The most bins.
    """
    told = found.statistics
    if found.family == "number":
        values = [None if value is None else Decimal(value) for value in values]
    there = [value for value in values if value is not None]
    nans = [value for value in there if isinstance(value, float) and math.isnan(value)]
    plain = [value for value in there if not (isinstance(value, float) and math.isnan(value))]
    distinct = len(set(plain)) + bool(nans)
    assert told["value_count"] == len(there)
    assert told["null_value_count"] == len(values) - len(there)
    assert told["completeness"] == (len(there) / len(values) if values else None)
    assert told["count_distinct"] == distinct
    assert abs(told["approx_count_distinct"] - distinct) <= max(2, 6 * 0.13 * distinct)
    bounds = [_value(told[bound], found.family) for bound in ("lower_bound", "upper_bound")]
    assert bounds == ([min(plain), max(plain)] if plain else [None, None])
    if found.family == "float":
        assert told["nan_value_count"] == len(nans)
    else:
        assert "nan_value_count" not in told
    if found.family in {"float", "number"}:
        _check_moments(told, [float(value) for value in plain])
    _check_histogram(found, there, plain, distinct, max_bins)


def _check_moments(told: Any, plain: Sequence[float]) -> None:
    if not plain:
        assert (told["mean"], told["standard_deviation"]) == (None, None)
        return
    with np.errstate(all="ignore"):
        mean, deviation = np.mean(plain), np.std(plain)
    scale = max(abs(value) for value in plain)
    if math.isfinite(scale):
        exact = float(sum(map(Fraction, plain)) / len(plain))
        assert math.isclose(_value(told["mean"]), exact, rel_tol=1e-12, abs_tol=1e-12 * scale)
        assert math.isclose(_value(told["standard_deviation"]), deviation, rel_tol=1e-9, abs_tol=1e-9 * scale)
    else:
        assert str(_value(told["mean"])) == str(float(mean))
        assert math.isnan(_value(told["standard_deviation"]))


def _check_histogram(
    found: ColumnStatistics, there: Sequence[Any], plain: Sequence[Any], distinct: int, max_bins: int
) -> None:
    told = found.statistics["histogram"]
    bins = told["bins"]
    assert sum(one["count"] for one in bins) + told["overflow"] == len(there)
    assert all(one["ratio"] == one["count"] / len(there) for one in bins)
    counts = Counter("NaN" if isinstance(value, float) and math.isnan(value) else value for value in there)
    if distinct <= max_bins:
        assert (told["kind"], told["truncated"], told["overflow"]) == ("values", False, 0)
        shown = {_label(_value(one["value"], found.family)): one["count"] for one in bins}
        assert shown == {_label(value): count for value, count in counts.items()}
        return
    if told["kind"] == "top":
        assert told["truncated"] is True
        assert len(bins) == max_bins
        least = bins[-1]["count"]
        assert [one["count"] for one in bins] == [count for _, count in counts.most_common(max_bins)]
        assert all(counts[one["value"]] == one["count"] >= least for one in bins)
        return
    assert (told["kind"], told["truncated"]) == ("bins", False)
    finite = [float(value) for value in plain if math.isfinite(value)]
    assert len(bins) <= max_bins
    if not finite:
        assert bins == []
        return
    edges = [_value(bins[0]["lower"]), *(_value(one["upper"]) for one in bins)]
    assert (edges[0], edges[-1]) == (min(finite), max(finite))
    assert all(one["upper"] == after["lower"] for one, after in pairwise(bins))
    if edges[0] < edges[-1]:
        widths = [after - before for before, after in pairwise(edges)]
        assert all(math.isclose(one, widths[0], rel_tol=1e-6, abs_tol=1e-9 * abs(edges[-1])) for one in widths[:-1])
        assert widths[-1] <= widths[0] * (1 + 1e-6) + 1e-9 * abs(edges[-1])
        assert [one["count"] for one in bins] == list(np.histogram(finite, bins=edges)[0])


def _value(shown: Any, family: str = "float") -> Any:
    """Return what JSON stands for: numbers that it lacks or that it would not keep are texts there."""
    if family == "number":
        return None if shown is None else Decimal(str(shown))
    return float(shown) if family == "float" and shown in ("NaN", "Infinity", "-Infinity") else shown


def _label(value: Any) -> Any:
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else repr(value + 0.0)
    return value
