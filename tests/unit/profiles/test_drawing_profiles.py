"""Bars, small histograms and flags."""

import re
from datetime import UTC, datetime

import pytest

from prefect_narrative.profiles.dataset_profile import Profile, ShownColumn
from prefect_narrative.profiles.drawing import BAR_WIDTH, bar, number, spark, value
from prefect_narrative.profiles.page import page
from prefect_narrative.profiles.quality import flags

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def histogram(*counts: int, kind: str = "bins", truncated: bool = False) -> dict[str, object]:
    total = sum(counts) or 1
    bins = [{"lower": i, "upper": i + 1, "count": count, "ratio": count / total} for i, count in enumerate(counts)]
    return {"kind": kind, "bins": bins, "overflow": 0, "truncated": truncated}


@pytest.mark.parametrize(
    ("share", "drawn"),
    [
        (1.0, "████████ 100 %"),
        (0.0, "         0 %"),
        (0.5, "████     50 %"),
        (0.999999, "███████▉ 99.9 %"),
        (0.1, "▊        10 %"),
        (None, "-"),
    ],
)
def test_a_bar_is_as_full_as_its_share(share: float | None, drawn: str) -> None:
    assert bar(share) == drawn
    assert share is None or drawn.index(drawn.lstrip("█▏▎▍▌▋▊▉ ")) == BAR_WIDTH + 1


def test_blocks_are_as_high_as_counts() -> None:
    assert spark(histogram(0, 1, 8, 4)) == " ▁█▄"
    assert spark(histogram(*range(40)), width=4) == "▂▄▆█"
    assert spark(histogram(3, 3, kind="top", truncated=True)) == "▇▇…"
    assert spark(histogram()) == "-"
    assert spark(None) == "-"


def test_figures_and_values_are_short() -> None:
    assert [number(figure) for figure in (9999.5, 0.1234567, 1e9, "NaN", -1234.5)] == [
        "10,000", "0.1235", "1e+09", "NaN", "-1,234",
    ]  # fmt: skip
    shown = [None, True, 1.23456789, "x" * 30, {"$shortened": "y" * 30, "length": 5000}]
    assert [value(one, 5) for one in shown] == ["-", "true", "1.234…", "xxxxx…", "yyyyy… (5,000)"]


@pytest.mark.parametrize(
    ("statistics", "rows", "flagged"),
    [
        ({"value_count": 0, "null_value_count": 9}, 9, ("empty",)),
        ({"value_count": 0, "null_value_count": 0}, 0, ()),
        ({"value_count": 8, "null_value_count": 2, "count_distinct": 8}, 10, ("many nulls", "unique")),
        ({"value_count": 81, "null_value_count": 19, "count_distinct": 3}, 100, ()),
        ({"value_count": 5, "null_value_count": 0, "count_distinct": 1, "nan_value_count": 5}, 5, ("NaN", "constant")),
        ({"value_count": 1, "null_value_count": 0, "count_distinct": 1}, 1, ()),
        ({"value_count": 20, "count_distinct": 2, "histogram": histogram(19, 1, kind="values")}, 20, ("skewed",)),
        ({"value_count": 20, "count_distinct": 2, "histogram": histogram(15, 5, kind="values")}, 20, ()),
        ({"value_count": 20, "count_distinct": 9, "histogram": histogram(20)}, 20, ()),
        ({"histogram": histogram(95, 5)}, 100, ("skewed",)),
        ({}, 100, ()),
    ],
)
def test_flags(statistics: dict[str, object], rows: int, flagged: tuple[str, ...]) -> None:
    assert flags(statistics, rows) == flagged  # type: ignore[arg-type]


@pytest.mark.parametrize(("share", "told"), [(2 / 3, "66.7 % complete"), (1.0, "100 % complete"), (None, None)])
def test_a_page_says_how_complete_a_column_is(share: float | None, told: str | None) -> None:
    known = {"completeness": share}
    column = ShownColumn(name="a", type="DOUBLE", standing="fresh", snapshot_id=1, rows=9, statistics=known)
    shown = page(Profile(dataset="d", kind="dataset", snapshot_id=1, rows=9, columns=(column,)), NOON)
    assert re.findall(r">([^<>]* complete)<", shown) == ([told] if told else [])
