"""An attempt is priced by what it has used; where that can't be done, it has no cost, and nothing else changes."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from typing_extensions import override

from prefect_narrative.costs import Prices, cost_of
from prefect_narrative.costs.prices import PriceMissingError
from prefect_narrative.jobs import pricing
from prefect_narrative.jobs.charging import quantities_of
from prefect_narrative.jobs.context import JobContext
from prefect_narrative.jobs.outbox import Outbox
from prefect_narrative.jobs.record import JobId, Usage
from prefect_narrative.jobs.store import JobTableUnavailableError
from prefect_narrative.testing import MemoryJobStore, observed

USED = Usage(cpu_seconds=2, read_bytes=2**20, written_bytes=2**30)


@pytest.mark.parametrize("type", ["create-dataset", "deliver-data"])
def test_usage_is_priced_by_what_a_thread_has_read(type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pricing, "read_prices", Prices.default)
    found = pricing.Pricing(type).cost(USED)
    assert found == cost_of(quantities_of(type, USED), Prices.default())
    assert found.cost_micro_cents_usd == 63_477 + 2_500 + (150_000_000 if type == "deliver-data" else 0)


def _missing() -> Prices:
    raise PriceMissingError("The price list has no egress_usd_per_gib.")


def _refused() -> Prices:
    raise ConnectionError("nobody there")


@pytest.fixture
def silence() -> Iterator[Callable[[], Prices]]:
    """Give what waits until the test is over."""
    over = threading.Event()

    def wait() -> Prices:
        over.wait(60)
        return Prices.default()

    yield wait
    over.set()


@pytest.mark.parametrize(
    ("read", "told"),
    [
        (_missing, "The price list has no egress_usd_per_gib. Give it a value in the block"),
        (_refused, "the price list could not be read: ConnectionError('nobody there')"),
        (None, "Prefect did not tell the prices in time."),
    ],
    ids=["missing", "refused", "silent"],
)
def test_without_prices_there_is_no_cost_and_the_log_says_why(
    read: Callable[[], Prices] | None,
    told: str,
    silence: Callable[[], Prices],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(pricing, "read_prices", read or silence)
    monkeypatch.setattr(pricing, "PATIENCE", timedelta(seconds=0.05))
    with caplog.at_level(logging.WARNING):
        assert pricing.Pricing("test").cost(USED) is None
    assert f"What this job costs is not known: {told}" in caplog.text


class Lost(MemoryJobStore):
    """A table that can't take any usage."""

    @override
    def add_usage(self, *_: object) -> None:
        raise JobTableUnavailableError


@pytest.mark.parametrize("table", [MemoryJobStore, Lost])
def test_a_cost_comes_into_the_table_also_by_the_outbox(table: type[MemoryJobStore], tmp_path: Path) -> None:
    store, outbox, job_id = table(), Outbox(tmp_path), JobId(uuid4())
    store.apply(observed(job_id, "RUNNING", datetime.now(UTC)), cause="test")
    priced: list[Usage] = []

    def price(usage: Usage) -> object:
        priced.append(usage)
        return cost_of(quantities_of("test", usage), Prices.default())

    for _ in range(2):  # the second attempt costs, too
        with JobContext(job_id, store, outbox, price=price):  # type: ignore[arg-type]
            pass
    if table is Lost:
        letters = [json.loads(path.read_text()) for path in tmp_path.glob("*.usage.json")]
        assert [letter["cost"]["breakdown"][0]["item"] for letter in letters] == ["compute", "compute"]
        mended = MemoryJobStore()
        mended.apply(observed(job_id, "RUNNING", datetime.now(UTC)), cause="test")
        assert outbox.drain(mended) == 2
        store = mended
    expected = [cost_of(quantities_of("test", usage), Prices.default()) for usage in priced]
    assert store.cost(job_id) == expected[0] + expected[1]
