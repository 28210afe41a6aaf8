"""Estimators: against populations that are drawn from, and at their limits."""

import random
from collections import Counter

import pytest

from prefect_narrative.forecasts.estimators import Estimate, classes, known, total
from prefect_narrative.forecasts.history import PastRun, Taken, learned, pace


def test_totals_cover_the_truth_as_often_as_they_say() -> None:
    generator = random.Random(1)
    units = [generator.choice((0, 0, 1, 2, 9)) for _ in range(2000)]
    hit, middle = 0, []
    for _ in range(300):
        drawn = [unit for unit in units if generator.random() < 0.1]
        found = total(sum(drawn), sum(unit**2 for unit in drawn), 0.1)
        hit += found.low <= sum(units) <= found.high
        middle.append(found.rows)
    assert 255 <= hit <= 292  # 90 % of 300, by four standard deviations
    assert abs(sum(middle) / 300 - sum(units)) < 0.03 * sum(units)


@pytest.mark.parametrize(
    ("copies", "worst", "covered"),
    [
        ((1,), 1.1, True),
        ((4,), 1.2, True),
        ((2, 2, 2, 20), 2.1, False),  # no sample tells such classes from more even ones
        ((200,), 1.0, True),
    ],
)
def test_classes_come_near_for_even_and_uneven_ones(copies: tuple[int, ...], worst: float, covered: bool) -> None:
    generator = random.Random(2)
    values = [number for number in range(2000) for _ in range(copies[number % len(copies)])]
    seen = Counter(Counter(value for value in values if generator.random() < 0.1).values())
    found = classes(seen, 0.1)
    assert max(found.rows / 2000, 2000 / found.rows) <= worst
    assert (found.low <= 2000 <= found.high) is covered


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (total(5, 5, 1.0), known(5)),
        (classes({3: 2, 1: 1}, 1.0), known(3)),
        (classes({}, 1.0), known(0)),
        (classes({40: 3}, 0.1), known(3)),
        (Estimate(50, 20, 90).clipped(30, 5), Estimate(30, 15, 30)),
        (Estimate(3, 1, 9).clipped(None, 20), known(0)),
        (known(3) * Estimate(2, 1, 4), Estimate(6, 3, 12)),
        (known(3) + known(4), known(7)),
    ],
    ids=str,
)
def test_what_is_certain_is_said_to_be(found: Estimate, expected: Estimate) -> None:
    assert found == expected


def test_nothing_seen_is_not_nothing() -> None:
    found = total(0, 0, 0.1)
    assert found.low == 0 < found.rows < found.high


def test_a_query_learns_from_its_own_runs() -> None:
    sampled = Estimate(100, 80, 120)
    assert learned(sampled, []) == (sampled, None)
    assert learned(sampled, [PastRun(77, None, unchanged=True)])[0] == known(77)
    assert learned(sampled, [PastRun(77, None, unchanged=False)]) == (sampled, None)
    found, how = learned(sampled, [PastRun(60, 50.0, unchanged=False), PastRun(36, 30.0, unchanged=False)])
    assert (found.rows, how) == (120.0, "corrected by the 2 latest of its own runs")
    assert found.low < 120 < found.high


def test_seconds_follow_the_same_query_or_the_bytes_of_others() -> None:
    assert pace(10, []) is None
    others = [Taken(100, 2.0, 1.0, same_query=False), Taken(200, 3.0, None, same_query=False)]
    found = pace(400, others)
    assert found is not None
    assert (found.seconds, found.cpu_seconds, found.runs, found.same_query) == (pytest.approx(5.0), 1.0, 2, False)
    same = pace(400, [Taken(400, 7.0, 6.0, same_query=True), *others])
    assert same is not None
    assert (same.seconds, same.cpu_seconds, same.runs, same.same_query) == (7.0, 6.0, 1, True)
