"""What is remarkable about a column, told from its statistics: flags for people to look at, not verdicts."""

from collections.abc import Mapping, Sequence
from typing import Any

from prefect_narrative.planes.column_statistics import Statistic

MANY_NULLS = 0.2
"""Share of NULLs from which a column is flagged."""
SKEWED = 0.9
"""Share of values in one bin, of several, from which a column is flagged."""


def flags(statistics: Mapping[Statistic, Any], rows: int) -> tuple[str, ...]:
    """Return a column's flags, the gravest first.

    `empty`: only NULLs; `many nulls`: a fifth or more of them; `NaN`: some values are no numbers; `constant`: one value
    only; `unique`: no value comes twice, so that it may be a key; `skewed`: nine of ten values lie in one of several
    bins.

    Args:
        statistics: What was calculated; what is missing flags nothing.
        rows: Rows in the snapshot of which they are.
    """
    count, nulls = statistics.get("value_count"), statistics.get("null_value_count")
    distinct = statistics.get("count_distinct")
    found: list[str] = []
    if rows and count == 0:
        return ("empty",)
    if rows and nulls is not None and nulls >= MANY_NULLS * rows:
        found.append("many nulls")
    if statistics.get("nan_value_count"):
        found.append("NaN")
    if count and distinct is not None and count > 1:
        if distinct == 1:
            found.append("constant")
        elif distinct == count:
            found.append("unique")
    if _is_skewed(statistics.get("histogram"), distinct):
        found.append("skewed")
    return tuple(found)


def _is_skewed(histogram: Mapping[str, Any] | None, distinct: int | None) -> bool:
    bins: Sequence[Mapping[str, Any]] = histogram["bins"] if histogram else ()
    if not bins or (distinct is not None and distinct < 2):
        return False
    alone = len(bins) == 1 and histogram is not None and histogram["kind"] == "bins"
    return not alone and max(one["ratio"] or 0 for one in bins) >= SKEWED
