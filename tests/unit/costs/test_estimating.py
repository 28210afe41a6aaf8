"""What an operation to come is estimated by: jobs as like it as there are, else its sources' sizes."""

import pytest

from prefect_narrative.costs import Cost, Item, Prices, Quantities, cost_of
from prefect_narrative.costs.estimating import Estimate, History, Method, estimate

PRICES = Prices(scan=2**30, compute=1_000_000, egress=2**30, storage=0)  # a micro-cent for a byte or a microsecond


def took(scan: int, seconds: float = 0.0) -> Quantities:
    return Quantities(scan_bytes=scan, cpu_seconds=seconds)


NEAR, NEARER, FAR = [took(7)], [took(1, 0.00001), took(10), took(3), took(2)], [took(1000, 0.000005)]


@pytest.mark.parametrize(
    ("history", "source_bytes", "expected"),
    [
        (History(NEARER, NEAR, FAR), 50, (Method.SAME_INPUT, 4, took(3), 2, 11, ())),
        (History((), NEAR, FAR), 50, (Method.SAME_SUBJECT, 1, took(7), 7, 7, ())),
        (History((), (), FAR), 50, (Method.SAME_TYPE, 1, took(50, 0.000005), 55, 55, ())),
        (History((), (), FAR), None, (Method.SAME_TYPE, 1, FAR[0], 1005, 1005, ())),
        (History(), 50, (Method.SOURCE_SIZES, 0, Quantities(scan_bytes=50), None, None, (Item.COMPUTE,))),
        (History(), None, (Method.NOTHING, 0, None, None, None, (Item.SCAN, Item.COMPUTE))),
    ],
    ids=lambda value: value[0].value if isinstance(value, tuple) else "",
)
def test_the_nearest_jobs_count(
    history: History,
    source_bytes: int | None,
    expected: tuple[Method, int, Quantities | None, int | None, int | None, tuple[Item, ...]],
) -> None:
    method, jobs, quantities, lowest, highest, unknown = expected
    cost: Cost | None = None if quantities is None else cost_of(quantities, PRICES)
    assert estimate(history, source_bytes, PRICES) == Estimate(method, jobs, cost, lowest, highest, unknown)
