"""What jobs cost, in every store: of one job, and of the jobs of a period by group."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from prefect_narrative.costs import Cost, Item, Line, Prices, cost_of
from prefect_narrative.jobs.charging import quantities_of
from prefect_narrative.jobs.record import JobId, RequestSource, Usage
from prefect_narrative.jobs.spending import CostGroup, GroupBy, Spending
from prefect_narrative.jobs.store import JobStore
from prefect_narrative.testing import observed

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
PRICES = Prices.default()
DEARER = Prices(scan=130_000_000, compute=7, egress=1, storage=1)


def paid(usage: Usage, prices: Prices = PRICES, type: str = "test") -> Cost:
    return cost_of(quantities_of(type, usage), prices)


def ended(
    store: JobStore, number: int, *costs: Cost | None, at: datetime = NOON, state: str = "CANCELLED", **known: Any
) -> None:
    """Bring a job into the table that made an attempt for each cost, and ended."""
    job_id = JobId(UUID(int=number))
    store.apply(observed(job_id, "RUNNING" if costs else "SCHEDULED", at - HOUR, **known), cause="test")
    for token, cost in enumerate(costs, 1):
        store.add_usage(job_id, token, Usage(cpu_seconds=1), cost)
    store.apply(observed(job_id, state, at, **known), cause="test")


def test_a_jobs_cost_is_that_of_all_its_attempts_or_unknown(store: JobStore) -> None:
    job_id = JobId(UUID(int=1))
    before = store.apply(observed(job_id, "RUNNING", NOON), cause="test")
    assert (before.cost_micro_cents_usd, store.cost(job_id), store.cost(JobId(UUID(int=2)))) == (None, None, None)
    used = Usage(cpu_seconds=2.5, read_bytes=2**30, written_bytes=2**40)
    first, second = paid(used), paid(used, DEARER)
    store.add_usage(job_id, 1, used, first)
    store.add_usage(job_id, 2, used, second)
    for _ in range(2):  # what is delivered twice counts once
        store.add_usage(job_id, 2, used, second)
        total = 65_000_000 + 3_125 + 130_000_000 + 18
        job = store.get(job_id)
        assert job is not None
        assert job.cost_micro_cents_usd == total
        assert store.cost(job_id) == Cost(
            cost_micro_cents_usd=total,
            breakdown=(
                Line.of_parts(Item.SCAN, 2**30, 65_000_000),
                Line.of_parts(Item.SCAN, 2**30, 130_000_000),
                Line.of_parts(Item.COMPUTE, 2_500_000, 7, 18),
                Line.of_parts(Item.COMPUTE, 2_500_000, 1_250),
            ),
        )
    store.add_usage(job_id, 3, used)  # its prices could not be read
    unknown = store.get(job_id)
    assert unknown is not None
    assert (unknown.cost_micro_cents_usd, store.cost(job_id)) == (None, None)
    store.add_usage(job_id, 3, Usage(), Cost.of(()))  # nothing was measured
    assert store.cost(job_id) is None
    store.add_usage(job_id, 3, used, first)
    assert store.cost(job_id) == first + first + second


def test_only_what_is_delivered_is_egress(store: JobStore) -> None:
    job_id = JobId(UUID(int=1))
    used = Usage(cpu_seconds=0, written_bytes=2**30, read_bytes=0)
    store.apply(observed(job_id, "RUNNING", NOON, type="deliver-data"), cause="test")
    store.add_usage(job_id, 1, used, paid(used, type="deliver-data"))
    cost = store.cost(job_id)
    assert cost is not None
    assert [(line.item.value, line.amount_micro_cents_usd) for line in cost.breakdown] == [
        ("scan", 0),
        ("compute", 0),
        ("egress", 150_000_000),
    ]
    assert [line.item for line in paid(used, type="create-dataset").breakdown] == [Item.SCAN, Item.COMPUTE]


SMALL = paid(Usage(cpu_seconds=1.5, read_bytes=123))
LARGE = paid(Usage(cpu_seconds=1e6, read_bytes=2**45))
OTHER = paid(Usage(cpu_seconds=2), DEARER)


@pytest.fixture
def period(store: JobStore) -> JobStore:
    """Give a store with jobs in a period of an hour, and some outside it."""
    view: dict[str, Any] = {"type": "refresh", "dataset": "by_city", "request_source": RequestSource(type="schedule")}
    named = RequestSource(type="schedule", name="by_city")
    ended(store, 1, SMALL, **view, tags=("a", "source:cli", f"parent:{UUID(int=9)}"))
    ended(store, 2, LARGE, None, **view, tags=("a", "b"))  # not known of its second attempt
    ended(store, 3, SMALL, LARGE, **view | {"request_source": named}, tags=("b", "a", 'it\'s "odd", ü'))
    ended(store, 4, OTHER, at=NOON + HOUR / 2, state="FAILED", tags=("a", "b"))
    ended(store, 5)  # never started
    ended(store, 6, LARGE, at=NOON - timedelta(microseconds=1))
    ended(store, 7, LARGE, at=NOON + HOUR)
    store.apply(observed(UUID(int=8), "RUNNING", NOON), cause="test")
    return store


def group(name: str | None, jobs: int, unpriced: int, *costs: Cost) -> CostGroup:
    return CostGroup(
        group=name, jobs=jobs, unpriced=unpriced, cost=Cost.of(line for cost in costs for line in cost.breakdown)
    )


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        (GroupBy.TYPE, [group("refresh", 3, 1, SMALL, SMALL, LARGE), group("test", 2, 0, OTHER)]),
        (GroupBy.DATASET, [group("by_city", 3, 1, SMALL, SMALL, LARGE), group(None, 2, 0, OTHER)]),
        (
            GroupBy.REQUESTER,
            [
                group("schedule by_city", 1, 0, SMALL, LARGE),
                group("schedule", 2, 1, SMALL),
                group("api", 2, 0, OTHER),
            ],
        ),
        (
            GroupBy.TAG,
            [
                group('a, b, it\'s "odd", ü', 1, 0, SMALL, LARGE),
                group("a", 1, 0, SMALL),
                group("a, b", 2, 1, OTHER),
                group(None, 1, 0),
            ],
        ),
    ],
    ids=lambda value: value.value if isinstance(value, GroupBy) else "",
)
def test_each_job_of_a_period_counts_in_one_group(period: JobStore, by: GroupBy, groups: list[CostGroup]) -> None:
    total = SMALL + SMALL + LARGE + OTHER
    expected = Spending(jobs=5, unpriced=1, cost=total, groups=tuple(groups))
    found = period.spending(NOON, NOON + HOUR, by)
    assert found == expected
    known = [period.get(JobId(UUID(int=number))) for number in (1, 3, 4)]
    assert found.cost.cost_micro_cents_usd == sum(job.cost_micro_cents_usd or 0 for job in known if job is not None)


def test_a_period_without_jobs_costs_nothing(period: JobStore) -> None:
    nothing = Spending(jobs=0, unpriced=0, cost=Cost.of(()), groups=())
    assert period.spending(NOON + 2 * HOUR, NOON + 3 * HOUR, GroupBy.TYPE) == nothing
