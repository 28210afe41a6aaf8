"""Quantities and prices become money by one rule, and amounts add up whichever way they are grouped."""

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from pydantic import ValidationError

from prefect_narrative.costs import Cost, Item, Line, Prices, Quantities, cost_of
from prefect_narrative.costs.prices import HIGHEST_USD, InvalidPriceError, PriceMissingError

PARTS = some.integers(0, 2**53 - 1)
PRICE = some.integers(0, 10**12)
PRICES = some.builds(Prices, scan=PRICE, compute=PRICE, egress=PRICE, storage=PRICE)
QUANTITIES = some.builds(
    Quantities,
    scan_bytes=some.none() | PARTS,
    cpu_seconds=some.none() | some.floats(0, 1e9),
    egress_bytes=some.none() | PARTS,
    storage_byte_months=some.none() | some.floats(0, 1e18),
)
COSTS = some.lists(some.builds(cost_of, QUANTITIES, PRICES), max_size=4)


def test_the_default_prices_are_the_platforms() -> None:
    assert Prices.default() == Prices(scan=65_000_000, compute=1_250, egress=150_000_000, storage=2_300_000)


def test_a_cost_names_each_quantity_that_is_known() -> None:
    quantities = Quantities(scan_bytes=3 * 2**29, cpu_seconds=2.5, egress_bytes=0)
    assert cost_of(quantities, Prices.default()).model_dump(mode="json") == {
        "cost_micro_cents_usd": 97_503_125,
        "breakdown": [
            {
                "item": "scan",
                "parts": 3 * 2**29,
                "quantity": 1.5,
                "unit": "GiB",
                "price_micro_cents_usd": 65_000_000,
                "amount_micro_cents_usd": 97_500_000,
            },
            {
                "item": "compute",
                "parts": 2_500_000,
                "quantity": 2.5,
                "unit": "CPU second",
                "price_micro_cents_usd": 1_250,
                "amount_micro_cents_usd": 3_125,
            },
            {
                "item": "egress",
                "parts": 0,
                "quantity": 0.0,
                "unit": "GiB",
                "price_micro_cents_usd": 150_000_000,
                "amount_micro_cents_usd": 0,
            },
        ],
    }
    assert cost_of(Quantities(), Prices.default()) == Cost(cost_micro_cents_usd=0, breakdown=())


@given(some.sampled_from(Item), PARTS, PRICE)
def test_an_amount_is_rounded_once_halves_up(item: Item, parts: int, price: int) -> None:
    line = Line.of_parts(item, parts, price)
    exact = Decimal(parts * price) / item.parts if parts * price < 10**20 else None
    if exact is not None:
        assert line.amount_micro_cents_usd == exact.to_integral_value(ROUND_HALF_UP)
    assert abs(line.amount_micro_cents_usd * item.parts - parts * price) * 2 <= item.parts
    assert line.parts == parts


@given(QUANTITIES, PRICES)
def test_the_lines_of_a_cost_add_up_to_it(quantities: Quantities, prices: Prices) -> None:
    cost = cost_of(quantities, prices)
    assert cost.cost_micro_cents_usd == sum(line.amount_micro_cents_usd for line in cost.breakdown)
    assert {line.item: line.parts for line in cost.breakdown} == quantities.parts()
    assert Cost.model_validate_json(cost.model_dump_json()) == cost


@settings(max_examples=40)
@given(COSTS, some.randoms(use_true_random=False))
def test_costs_add_up_whichever_way_they_are_grouped(costs: list[Cost], chance: Any) -> None:
    total = Cost.of(line for cost in costs for line in cost.breakdown)
    assert total.cost_micro_cents_usd == sum(cost.cost_micro_cents_usd for cost in costs)
    grouped: dict[int, Cost] = {}
    for cost in chance.sample(costs, len(costs)):
        group = chance.randrange(3)
        grouped[group] = grouped.get(group, Cost.of(())) + cost
    assert Cost.of(line for cost in grouped.values() for line in cost.breakdown) == total


def test_a_cost_that_does_not_add_up_is_none() -> None:
    with pytest.raises(ValidationError, match="the lines come to 3 micro-cents, not to 4"):
        Cost(cost_micro_cents_usd=4, breakdown=(Line.of_parts(Item.SCAN, 0, 1, 3),))


@pytest.mark.parametrize("wrong", [{"scan_bytes": -1}, {"cpu_seconds": float("nan")}, {"cpu_seconds": float("inf")}])
def test_quantities_are_numbers_from_0(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Quantities(**wrong)


LIST = {item.price_field: 1 for item in Item}


@pytest.mark.parametrize(
    ("usd", "micro_cents"),
    [(0, 0), (0.65, 65_000_000), ("1.5", 150_000_000), (0.00000001, 1), (Decimal("2e-8"), 2), (HIGHEST_USD, 10**12)],
)
def test_prices_are_exact(usd: Any, micro_cents: int) -> None:
    assert Prices.from_usd(LIST | {"egress_usd_per_gib": usd}).egress == micro_cents


@pytest.mark.parametrize(
    ("usd", "told"),
    [
        (-0.01, "egress_usd_per_gib = -0.01: a price is 0 to 10,000 US dollars for one GiB"),
        (10_000.5, "egress_usd_per_gib = 10000.5: a price is 0 to 10,000 US dollars"),
        (float("nan"), "egress_usd_per_gib = nan: a price is a finite number"),
        (float("-inf"), "egress_usd_per_gib = -inf: a price is a finite number"),
        (0.000000001, "egress_usd_per_gib = 1e-09: a price has at most eight decimals"),
        ("cheap", "egress_usd_per_gib = cheap: a price is a number"),
        (True, "egress_usd_per_gib = True: a price is a number"),
        ([1], r"egress_usd_per_gib = \[1\]: a price is a number"),
    ],
)
def test_a_price_that_can_not_be_is_refused(usd: Any, told: str) -> None:
    with pytest.raises(InvalidPriceError, match=told):
        Prices.from_usd(LIST | {"egress_usd_per_gib": usd})


@pytest.mark.parametrize("given_prices", [LIST | {"scan_usd_per_gib": None}, {"egress_usd_per_gib": 1}, {}])
def test_a_price_that_is_missing_is_not_free(given_prices: dict[str, Any]) -> None:
    with pytest.raises(PriceMissingError, match="no scan_usd_per_gib") as caught:
        Prices.from_usd(given_prices)
    assert caught.value.detail["missing"] == [name for name in LIST if given_prices.get(name) is None]
