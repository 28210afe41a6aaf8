"""`calculate-costs` as a flow against a real server, the price list, and what jobs record of their own costs."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from live_platform import Platform
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import BlockDocumentUpdate
from prefect_narrative.blocks import PriceList
from prefect_narrative.deployments import apply_deployments
from prefect_narrative.flows.calculate_costs import CostsCalculated, calculate_costs
from prefect_narrative.flows.create_dataset import create_dataset
from prefect_narrative.flows.operations import Operation, check_operation, history_of
from prefect_narrative.flows.sample_dataset import sample_dataset

from prefect_narrative.costs import Cost, Item, Line, Prices, cost_of
from prefect_narrative.costs.estimating import estimate
from prefect_narrative.costs.prices import PRICE_LIST
from prefect_narrative.jobs.charging import quantities_of
from prefect_narrative.jobs.record import Job
from prefect_narrative.jobs.spending import GroupBy
from prefect_narrative.jobs.states import JobState
from prefect_narrative.testing import observed

CITIES = "SELECT city, count(*) AS n FROM trips GROUP BY city"


def asked(platform: Platform, **inputs: Any) -> CostsCalculated:
    job = platform.run(calculate_costs, **inputs)
    assert job.state is JobState.COMPLETED, job.failures
    found = CostsCalculated.model_validate(job.result)
    if found.cost_micro_cents_usd is not None:
        Cost(cost_micro_cents_usd=found.cost_micro_cents_usd, breakdown=tuple(found.breakdown))  # it adds up
    return found


def set_prices(**prices: float | None) -> None:
    """Set prices as Prefect's UI does, which checks nothing."""
    with get_client(sync_client=True) as client:
        block = client.read_block_document_by_name(PRICE_LIST, PriceList.get_block_type_slug())
        data = {**PriceList.with_defaults().model_dump(include={item.price_field for item in Item}), **prices}
        client.update_block_document(block.id, BlockDocumentUpdate(data=data, merge_existing_data=False))


@pytest.fixture(scope="module")
def applied(platform: Platform) -> Iterator[None]:
    apply_deployments()
    yield
    set_prices()


@pytest.fixture(scope="module")
def dataset(platform: Platform, applied: None) -> Job:
    """A job that has loaded the dataset `trips`."""
    (platform.imports / "rides.csv").write_text("day,city,amount\n2024-01-01,Oslo,10.5\n2024-01-02,Rome,7\n")
    return platform.run(create_dataset, name="trips", source="rides.csv", write_mode="overwrite")


def test_jobs_cost_what_they_used_at_the_prices_of_their_time(
    platform: Platform, dataset: Job, caplog: pytest.LogCaptureFixture
) -> None:
    assert dataset.state is JobState.COMPLETED
    expected = cost_of(quantities_of(dataset.type, dataset.usage), Prices.default())
    assert dataset.cost_micro_cents_usd == expected.cost_micro_cents_usd > 0
    assert [line.item for line in expected.breakdown] == [Item.SCAN, Item.COMPUTE]

    set_prices(scan_usd_per_gib=1000, compute_usd_per_cpu_second=0)
    dear = Prices.default().model_copy(update={"scan": 100_000_000_000, "compute": 0})
    failed = platform.run(sample_dataset, query="SELECT CAST(city AS DATE) AS d FROM trips")
    assert failed.state is JobState.FAILED
    cost = cost_of(quantities_of(failed.type, failed.usage), dear)
    assert platform.store().cost(failed.job_id) == cost

    # What was recorded stands, whatever the prices are by now; what was not is priced by those of now.
    told = asked(platform, job_id=dataset.job_id)
    assert (told.cost_micro_cents_usd, tuple(told.breakdown)) == (expected.cost_micro_cents_usd, expected.breakdown)
    assert told.job is not None
    assert (told.job.known_by, told.job.attempts, told.job.type) == ("record", 1, "create-dataset")

    set_prices(egress_usd_per_gib=None)
    with caplog.at_level(logging.WARNING):
        unpriced = platform.run(sample_dataset, query=CITIES)
    assert (unpriced.state, unpriced.cost_micro_cents_usd) == (JobState.COMPLETED, None)
    assert "The price list has no egress_usd_per_gib. Give it a value in the block" in caplog.text
    missing = platform.run(calculate_costs, job_id=unpriced.job_id)
    assert [(one.code, "has no egress_usd_per_gib" in one.message) for one in missing.failures] == [
        ("price_missing", True)
    ]
    set_prices(egress_usd_per_gib=-1)
    negative = platform.run(calculate_costs, job_id=unpriced.job_id)
    assert [one.code for one in negative.failures] == ["invalid_price"]
    set_prices()
    told = asked(platform, job_id=unpriced.job_id)
    cost = cost_of(quantities_of(unpriced.type, unpriced.usage), Prices.default())
    assert (told.cost_micro_cents_usd, told.job and told.job.known_by) == (cost.cost_micro_cents_usd, "usage")


def test_an_operation_is_estimated_by_jobs_like_it(platform: Platform, dataset: Job) -> None:
    with platform.plane() as plane:
        size = plane.dataset("trips").bytes
    source = {"source": "trips", "rows": 2, "bytes": size}
    view = {"type": "create-materialized-view", "input": {"name": "cities", "query": CITIES}}
    told = Operation.model_validate(view)
    history = history_of(told, check_operation(told), platform.store())  # other tests may have made views, too
    expected = estimate(history, size, Prices.default())
    assert expected.cost is not None
    assert asked(platform, operation=view).model_dump(mode="json") == {
        **expected.cost.model_dump(mode="json"),
        "sources": [source],
        "operation": {
            "type": "create-materialized-view", "method": expected.method, "jobs": expected.jobs,
            "lowest_micro_cents_usd": expected.lowest, "highest_micro_cents_usd": expected.highest,
            "unknown": list(expected.unknown),
        },
        "job": None,
        "period": None,
    }  # fmt: skip

    same = asked(platform, operation={"type": "create-dataset", "input": dict(dataset.input) | {"format": "auto"}})
    assert same.operation is not None
    assert (same.operation.method, same.operation.jobs >= 1) == ("same_input", True)
    assert [one.source for one in same.sources] == ["rides.csv"]
    lowest, highest = same.operation.lowest_micro_cents_usd, same.operation.highest_micro_cents_usd
    assert lowest is not None
    assert highest is not None
    assert lowest <= (same.cost_micro_cents_usd or -1) <= highest

    other = {"type": "create-dataset", "input": {"name": "trips", "source": "rides.csv", "write_mode": "append"}}
    assert (found := asked(platform, operation=other).operation) is not None
    assert found.method == "same_subject"

    sample = platform.run(sample_dataset, query=CITIES, rows=1)
    of_type = asked(platform, operation={"type": "sample-dataset", "input": {"dataset": "trips"}})
    assert of_type.operation is not None
    assert of_type.operation.method == "same_type"
    assert of_type.breakdown[0] == Line.of_parts(Item.SCAN, size, 65_000_000)
    assert sample.usage.read_bytes == size

    nothing = asked(platform, operation={"type": "clean-up", "input": {"drop": ["trips"]}})
    assert (nothing.cost_micro_cents_usd, nothing.operation and nothing.operation.method) == (None, "nothing")


def test_a_period_is_the_sum_of_its_jobs(platform: Platform, applied: None) -> None:
    # Jobs of a distant past, which nobody else's tests are in.
    store, day = platform.store(), datetime(2020, 2, 1, tzinfo=UTC)
    prices, usage = Prices.default(), []
    for number in range(3):
        job_id = uuid4()
        store.apply(
            observed(job_id, "RUNNING", day - timedelta(hours=1), type=f"t{number % 2}", tags=("a",)), cause="test"
        )
        used = Job.model_fields["usage"].default.model_copy(update={"cpu_seconds": number + 1.0})
        if number:
            store.add_usage(job_id, 1, used, cost_of(quantities_of("t", used), prices))  # type: ignore[arg-type]
            usage.append(used)
        store.apply(observed(job_id, "CANCELLED", day + timedelta(hours=number), type=f"t{number % 2}"), cause="test")
    told = asked(platform, since="2020-02-01", until="2020-02-02", group_by="type")
    assert told.period is not None
    assert told.cost_micro_cents_usd == 5 * 1_250
    assert (told.period.group_by, told.period.jobs, told.period.unpriced) == (GroupBy.TYPE, 3, 1)
    assert [(one.group, one.jobs, one.unpriced, one.cost_micro_cents_usd) for one in told.period.groups] == [
        ("t0", 2, 1, 3 * 1_250),
        ("t1", 1, 0, 2 * 1_250),
    ]


@pytest.mark.parametrize(
    ("inputs", "code", "told"),
    [
        ({}, "cost_question", "Given was nothing."),
        ({"job_id": str(UUID(int=1)), "since": "P1D"}, "cost_question", "Given was job_id and since."),
        ({"until": "P1D", "group_by": "tag"}, "cost_question", "Given was until and group_by."),
        ({"job_id": str(UUID(int=1))}, "job_not_found", "There is no job 00000000-0000-0000-0000-000000000001."),
        ({"since": "P1D", "until": "P2D"}, "invalid_period", "The period goes backwards"),
        ({"operation": {"type": "creat-dataset"}}, "job_type_not_found", "Nearest: create-dataset"),
        ({"operation": {"type": "create-dataset", "input": {"nam": "x"}}}, "refused_input", "'nam' was unexpected"),
        ({"operation": {"type": "sample-dataset", "input": {"rows": 0}}}, "refused_input", "rows: 0 is less than"),
        (
            {"operation": {"type": "sample-dataset", "input": {"dataset": "trps"}}},
            "dataset_not_found",
            "Nearest: trips",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_what_can_not_be_calculated_is_told(
    platform: Platform, dataset: Job, inputs: dict[str, Any], code: str, told: str
) -> None:
    job = platform.run(calculate_costs, **inputs)
    assert (job.state, [one.code for one in job.failures]) == (JobState.FAILED, [code])
    assert told in job.failures[0].message
    assert job.failures[0].remedy


def test_a_job_that_runs_has_no_cost_yet(platform: Platform, applied: None) -> None:
    job_id = uuid4()
    platform.store().apply(observed(job_id, "RUNNING", datetime.now(UTC)), cause="test")
    job = platform.run(calculate_costs, job_id=job_id)
    assert [one.code for one in job.failures] == ["job_not_ended"]
    platform.store().apply(observed(job_id, "CANCELLED", datetime.now(UTC)), cause="test")
    told = asked(platform, job_id=job_id)
    assert told.job is not None
    assert (told.cost_micro_cents_usd, told.breakdown, told.job.known_by) == (None, [], None)


def test_a_price_list_is_checked_where_python_makes_it() -> None:
    assert PriceList.with_defaults().prices() == Prices.default()
    prices = PriceList.with_defaults().model_dump(include={item.price_field for item in Item})
    for wrong, message in ((-0.5, "a price is 0 to 10,000"), (float("nan"), "finite"), (1e-9, "eight decimals")):
        with pytest.raises(ValueError, match=message):
            PriceList(**prices | {"scan_usd_per_gib": wrong})
    del prices["compute_usd_per_cpu_second"]
    with pytest.raises(ValueError, match="compute_usd_per_cpu_second"):
        PriceList(**prices)
