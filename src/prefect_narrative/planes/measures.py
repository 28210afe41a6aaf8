"""SQL that measures a column, and what its answer means: by the groups of its values, or in passing over its rows.

NaN is a value that is no number: it is counted among the values and as one distinct value, and left out of bounds,
bins, mean and deviation. Infinities are bounds like others, and in no bin; with one, the mean is infinite or NaN.
"""

# ruff: noqa: S608  (expressions are made of our own names and of quoted identifiers)

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from prefect_narrative.planes.column_statistics import Family, HistogramOptions, Statistic
from prefect_narrative.planes.json_values import LENGTH, SHORTENED, fetched, json_value

if TYPE_CHECKING:
    from duckdb.sqltypes import DuckDBPyType

LONGEST_KEY = 256
"""Bytes of a text that is grouped as it is; of a longer one the beginning and a hash stand for it."""
KEY_BEGINNING = 200
"""Characters."""
KEY_LENGTH_DIGITS = 12

_WHOLE = frozenset("tinyint smallint integer bigint utinyint usmallint uinteger ubigint".split())  # noqa: SIM905
_FLOATS = frozenset({"float", "double"})
_TEXTS = frozenset({"varchar", "boolean", "uuid"})

_FROM_TIME = {
    "date": "({v} - DATE '1970-01-01')",
    "time": "epoch_us({v})",
    "timestamp": "epoch_us({v})",
    "timestamp_ns": "epoch_ns({v})",
    "timestamp with time zone": "epoch_us({v})",
}
"""A moment as a whole number of days, microseconds or nanoseconds."""
_TO_TIME = {
    "date": "DATE '1970-01-01' + CAST({i} AS INTEGER)",
    "time": "TIME '00:00:00' + to_microseconds(CAST({i} AS BIGINT))",
    "timestamp": "make_timestamp(CAST({i} AS BIGINT))",
    "timestamp_ns": "make_timestamp_ns(CAST({i} AS BIGINT))",
    "timestamp with time zone": "CAST(make_timestamp(CAST({i} AS BIGINT)) AS TIMESTAMP WITH TIME ZONE)",
}


def family_of(kind: "DuckDBPyType") -> Family:
    """Return which statistics a type has."""
    name = kind.id
    if name in _FLOATS:
        return "float"
    if name in _WHOLE or name == "decimal":
        return "number"
    if name in _FROM_TIME:
        return "time"
    return "text" if name in _TEXTS else "nested"


@dataclass(frozen=True)
class Measure:
    """A statement that yields one row, and what its statistics are."""

    sql: str
    read: Callable[[Sequence[Any]], dict[Statistic, Any]]
    """Takes that row."""


@dataclass(frozen=True)
class _Way:
    """How a type's values are compared, computed with and put into bins."""

    finite: str
    """Condition: the value has a place among bins."""
    number: str
    """Condition: the value is not NaN."""
    place: str | None
    """The value as a number that bins are made of; None: its bins are values."""
    whole: bool
    """Whether places are whole numbers, so that bins are, too."""


def _way(kind: "DuckDBPyType") -> _Way:
    name = kind.id
    if name in _FLOATS:
        return _Way("isfinite(v)", "NOT isnan(v)", "CAST(v AS DOUBLE)", whole=False)
    if name == "decimal":
        return _Way("true", "true", "CAST(v AS DOUBLE)", whole=False)
    if name in _WHOLE:
        return _Way("true", "true", "CAST(v AS HUGEINT)", whole=True)
    if name in _FROM_TIME:
        finite = "true" if name == "time" else "isfinite(v)"
        return _Way(finite, "true", f"CAST({_FROM_TIME[name].format(v='v')} AS HUGEINT)", whole=True)
    return _Way("true", "true", None, whole=False)


def grouped(
    expression: str, source: str, kind: "DuckDBPyType", statistics: Collection[Statistic], options: HistogramOptions
) -> Measure:
    """Return what measures a column by the groups of its values; each value is read once.

    Args:
        expression: The column, as SQL.
        source: What it is read from, as SQL.
        kind: Its type.
        statistics: Those that are wanted.
        options: How finely its histogram tells values apart.
    """
    way, most = _way(kind), options.max_bins
    key = _key(expression) if kind.id == "varchar" else expression
    parts = [
        f"WITH g AS MATERIALIZED (SELECT {key} AS v, count(*) AS n FROM {source} GROUP BY 1)",
        f"s AS MATERIALIZED (SELECT {_sums(way, kind)} FROM g)",
    ]
    chosen = ["c", "nulls", "nans", "d", "mean"]
    chosen.append("a" if "approx_count_distinct" in statistics else "NULL")
    bounds = ("lo", "hi") if kind.id != "varchar" else ("v_lo", "v_hi")
    if kind.id == "varchar":
        # A longer text's key does not stand where the text does: such bounds are looked for among the texts themselves.
        lo, hi = (
            f"CASE WHEN longest <= {LONGEST_KEY} THEN {edge} ELSE (SELECT {end}({expression}) FROM {source}) END"
            for edge, end in (("lo", "min"), ("hi", "max"))
        )
        parts.append(f"e AS MATERIALIZED (SELECT {lo} AS v_lo, {hi} AS v_hi FROM s)")
    chosen += [fetched(bound, kind) for bound in bounds]
    if "standard_deviation" in statistics:
        square = "power(CAST(v AS DOUBLE) - mean, 2)"
        parts.append(
            f"x AS (SELECT sqrt(fsum(n * {square}) / sum(n)) AS deviation FROM g, s "
            f"WHERE v IS NOT NULL AND {way.number} AND infinities = 0)"
        )
        chosen.append("(SELECT deviation FROM x)")
    else:
        chosen.append("NULL")
    if "histogram" in statistics:
        few = "" if way.place is None else f" AND (SELECT d FROM s) <= {most}"
        item = f"{{'v': {_shown_key(kind)}, 'n': n}}"
        order = f"CASE WHEN (SELECT d FROM s) > {most} THEN -n END, v"
        parts.append(
            f"t AS (SELECT list({item} ORDER BY {order}) AS top FROM "
            f"(SELECT v, n FROM g WHERE v IS NOT NULL{few} ORDER BY n DESC, v LIMIT {most}))"
        )
        chosen.append("(SELECT top FROM t)")
        if way.place is not None:
            parts.append(f"b AS ({_bins(way, most)})")
            chosen += ["(SELECT bins FROM b)", *_edges(way, kind, most)]
    sources = "s, e" if kind.id == "varchar" else "s"
    sql = f"{', '.join(parts)} SELECT {', '.join(chosen)} FROM {sources}"

    def read(row: Sequence[Any]) -> dict[Statistic, Any]:
        count, nulls, nans, distinct, mean, approximate, lower, upper, deviation, *histogram = row
        found: dict[Statistic, Any] = {
            "value_count": count,
            "null_value_count": nulls,
            "nan_value_count": nans,
            "lower_bound": json_value(lower, kind),
            "upper_bound": json_value(upper, kind),
            "approx_count_distinct": approximate,
            "count_distinct": distinct,
            "mean": _float(mean),
            "standard_deviation": _float(deviation, unknown=mean is not None),
            "completeness": _share(count, count + nulls),
        }
        if histogram:
            found["histogram"] = _histogram(histogram, kind, way, options, count, distinct)
        return {name: value for name, value in found.items() if name in statistics}

    return Measure(sql, read)


def scanned(
    columns: Sequence[tuple[str, "DuckDBPyType", Collection[Statistic]]], source: str
) -> tuple[str, Callable[[Sequence[Any]], list[dict[Statistic, Any]]]]:
    """Return what measures columns in passing over their rows once, without counting distinct values exactly.

    Args:
        columns: Each as SQL, its type, and the statistics that are wanted.
        source: What they are read from, as SQL.
    """
    wanted: list[str] = []
    for expression, kind, statistics in columns:
        wanted += _passing(expression, kind, statistics)

    def read(row: Sequence[Any]) -> list[dict[Statistic, Any]]:
        rows, *values = row
        found = []
        for number, (_, kind, statistics) in enumerate(columns):
            count, nans, lower, upper, approximate, mean, deviation = values[number * 7 : number * 7 + 7]
            told: dict[Statistic, Any] = {
                "value_count": count,
                "null_value_count": rows - count,
                "nan_value_count": nans,
                "lower_bound": json_value(lower, kind),
                "upper_bound": json_value(upper, kind),
                "approx_count_distinct": approximate,
                "mean": _float(mean),
                "standard_deviation": _float(deviation, unknown=mean is not None),
                "completeness": _share(count, rows),
            }
            found.append({name: value for name, value in told.items() if name in statistics})
        return found

    return f"SELECT count(*), {', '.join(wanted)} FROM {source}", read


def _passing(expression: str, kind: "DuckDBPyType", statistics: Collection[Statistic]) -> list[str]:
    """Return the seven expressions of one column; NULL for those that nobody wants."""
    way = _way(kind)
    number, finite = (text.replace("(v)", f"({expression})") for text in (way.number, way.finite))
    kept = "" if number == "true" else f" FILTER ({number})"
    shown = [
        fetched(f"{end}({expression}){kept}", kind) if bound in statistics else "NULL"
        for bound, end in (("lower_bound", "min"), ("upper_bound", "max"))
    ]
    mean = deviation = "NULL"
    if {"mean", "standard_deviation"} & set(statistics):
        if kind.id in _WHOLE:
            mean = f"CAST(sum(CAST({expression} AS HUGEINT)) AS DOUBLE) / count({expression})"
        else:
            some = f"CAST({expression} AS DOUBLE)"
            infinite = f"count(*) FILTER ({number} AND NOT {finite}) > 0"
            mean = f"CASE WHEN {infinite} THEN avg({some}){kept} ELSE favg({some}) FILTER ({number} AND {finite}) END"
            mean = mean if kind.id in _FLOATS else f"favg({some})"
    if "standard_deviation" in statistics:
        deviation = f"stddev_pop(CAST({expression} AS DOUBLE))"
        if kind.id in _FLOATS:
            deviation = (
                f"CASE WHEN count(*) FILTER ({number} AND NOT {finite}) = 0 THEN {deviation} FILTER ({finite}) END"
            )
    approximate = f"approx_count_distinct({expression})" if "approx_count_distinct" in statistics else "NULL"
    nans = f"count(*) FILTER (isnan({expression}))" if "nan_value_count" in statistics else "NULL"
    return [f"count({expression})", nans, *shown, approximate, mean, deviation]


def _key(expression: str) -> str:
    """Return what stands for a text among groups: of long ones, the beginning, the length, and a hash of the whole."""
    length = f"lpad(CAST(length({expression}) AS VARCHAR), {KEY_LENGTH_DIGITS}, '0')"
    long = f"left({expression}, {KEY_BEGINNING}) || {length} || sha256({expression})"
    return f"CASE WHEN strlen({expression}) > {LONGEST_KEY} THEN {long} ELSE {expression} END"


def _shown_key(kind: "DuckDBPyType") -> str:
    return "v" if kind.id == "varchar" else fetched("v", kind)


def _sums(way: _Way, kind: "DuckDBPyType") -> str:
    kept = "v IS NOT NULL" if way.number == "true" else f"v IS NOT NULL AND {way.number}"
    finite = f"v IS NOT NULL AND {way.finite}"
    sums = [
        "CAST(coalesce(sum(n) FILTER (v IS NOT NULL), 0) AS BIGINT) AS c",
        "CAST(coalesce(sum(n) FILTER (v IS NULL), 0) AS BIGINT) AS nulls",
        "count(v) AS d",
        "approx_count_distinct(v) AS a",
        f"min(v) FILTER ({kept}) AS lo",
        f"max(v) FILTER ({kept}) AS hi",
    ]
    if kind.id in _FLOATS:
        sums.append("CAST(coalesce(sum(n) FILTER (isnan(v)), 0) AS BIGINT) AS nans")
    else:
        sums.append("0 AS nans")
    if way.place is not None:
        edges = ("bin_lo", "min"), ("bin_hi", "max")
        sums += [f"{end}({way.place}) FILTER ({finite}) AS {name}" for name, end in edges]
    if kind.id == "varchar":
        sums.append("max(strlen(v)) AS longest")
    if kind.id in _WHOLE:
        sums += ["CAST(sum(CAST(v AS HUGEINT) * n) AS DOUBLE) / c AS mean", "0 AS infinities"]
    elif kind.id in _FLOATS:
        some = "CAST(v AS DOUBLE) * n"
        sums.append(f"count(*) FILTER ({kept} AND NOT {way.finite}) AS infinities")
        total = f"CASE WHEN infinities > 0 THEN sum({some}) FILTER ({kept}) ELSE fsum({some}) FILTER ({finite}) END"
        sums.append(f"{total} / nullif(c - nans, 0) AS mean")
    elif kind.id == "decimal":
        sums += ["fsum(CAST(v AS DOUBLE) * n) / nullif(c, 0) AS mean", "0 AS infinities"]
    else:
        sums += ["NULL AS mean", "0 AS infinities"]
    return ", ".join(sums)


def _bins(way: _Way, most: int) -> str:
    """Return how many values lie in each bin that has any, for a column of more distinct values than bins.

    Whole numbers: (hi - lo) // most + 1 of them make one bin. Others: equally wide from the lowest to the highest
    value, edges where `_edge` puts them; the quotient may miss its bin by one, so it is set right by the edges.
    """
    place = str(way.place)
    rows = f"FROM g, s WHERE v IS NOT NULL AND {way.finite} AND d > {most}"
    if way.whole:
        number = f"CAST(({place} - bin_lo) // ((bin_hi - bin_lo) // {most} + 1) AS INTEGER)"
        return _listed(f"SELECT {number} AS i, sum(n) AS n {rows} GROUP BY 1")
    span = f"({place} / 2 - bin_lo / 2) / (bin_hi / 2 - bin_lo / 2)"
    guess = (
        f"CASE WHEN bin_hi > bin_lo THEN CAST(least({most} - 1, greatest(0, floor({span} * {most}))) AS INTEGER) "
        "ELSE 0 END"
    )
    inner = f"SELECT {place} AS p, {guess} AS q, n, bin_lo, bin_hi {rows}"
    under = f"CAST(q > 0 AND p < {_edge('q', most)} AS INTEGER)"
    over = f"CAST(q < {most} - 1 AND p >= {_edge('q + 1', most)} AS INTEGER)"
    return _listed(f"SELECT q - {under} + {over} AS i, sum(n) AS n FROM ({inner}) GROUP BY 1")


def _listed(counts: str) -> str:
    return f"SELECT list({{'i': i, 'n': CAST(n AS BIGINT)}}) AS bins FROM ({counts})"


def _edge(number: str, most: int) -> str:
    return f"(bin_lo * (1 - ({number}) / {most}) + bin_hi * (({number}) / {most}))"


def _edges(way: _Way, kind: "DuckDBPyType", most: int) -> list[str]:
    """Return SQL for the edges of bins, lowest first, as JSON has them."""
    if not way.whole:
        return [f"list_transform(range(0, {most} + 1), lambda i: {_edge('i', most)})"]
    width = f"((bin_hi - bin_lo) // {most} + 1)"
    count = f"CAST((bin_hi - bin_lo) // {width} + 1 AS INTEGER)"
    edge = f"least(bin_lo + i * {width}, bin_hi)"
    if kind.id in _TO_TIME:
        edge = f"CAST({_TO_TIME[kind.id].format(i=edge)} AS VARCHAR)"
    return [f"list_transform(range(0, {count} + 1), lambda i: {edge})"]


def _histogram(
    found: Sequence[Any], kind: "DuckDBPyType", way: _Way, options: HistogramOptions, count: int, distinct: int
) -> dict[str, Any]:
    top, bins, edges = (*found, None, None)[:3]
    if way.place is None or distinct <= options.max_bins:
        shown = [{"value": _key_value(one["v"], kind), "count": one["n"]} for one in top or ()]
        how = "values" if distinct <= options.max_bins else "top"
    else:
        shown = _binned({one["i"]: one["n"] for one in bins or ()}, [] if bins is None else edges, kind)
        how = "bins"
    for one in shown:
        one["ratio"] = _share(one["count"], count)
    left = count - sum(one["count"] for one in shown)
    return {
        "kind": how,
        "bins": shown,
        "overflow": left if options.overflow else None,
        "truncated": how == "top",
    }


def _binned(counts: Mapping[int, int], edges: Sequence[Any], kind: "DuckDBPyType") -> list[dict[str, Any]]:
    """Return the bins between edges; one where all values are the same."""
    if edges and edges[0] == edges[-1]:
        edges, counts = [edges[0], edges[-1]], {0: sum(counts.values())}
    shown = [json_value(edge, kind) if kind.id in _WHOLE else edge for edge in edges]
    return [
        {"lower": lower, "upper": upper, "count": counts.get(number, 0)}
        for number, (lower, upper) in enumerate(pairwise(shown))
    ]


def _key_value(value: Any, kind: "DuckDBPyType") -> Any:
    if kind.id != "varchar":
        return json_value(value, kind)
    if len(value.encode()) > LONGEST_KEY:
        digits = value[KEY_BEGINNING : KEY_BEGINNING + KEY_LENGTH_DIGITS]
        return {SHORTENED: value[:KEY_BEGINNING], LENGTH: int(digits)}
    return value


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _float(value: float | None, *, unknown: bool = False) -> float | str | None:
    """Return a number as JSON has it; `unknown`: None stands for NaN, the deviation of values with infinite ones."""
    if value is None:
        return "NaN" if unknown else None
    return value if math.isfinite(value) else "NaN" if math.isnan(value) else f"{'-' * (value < 0)}Infinity"
