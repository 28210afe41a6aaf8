"""`narrative costs` and what `narrative jobs show` says of a job's cost."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from prefect_narrative.cli import main
from prefect_narrative.cli.exits import ExitCode
from prefect_narrative.cli.money import usd
from prefect_narrative.cli.output import Output, cell
from prefect_narrative.cli.records import details
from prefect_narrative.costs import Cost, Prices, Quantities, cost_of
from prefect_narrative.jobs.record import Job, JobId, Usage
from prefect_narrative.jobs.sql import open_store
from prefect_narrative.jobs.states import JobState
from prefect_narrative.settings import Settings

SMALL = cost_of(Quantities(scan_bytes=2**29, cpu_seconds=2), Prices.default())
LARGE = cost_of(Quantities(scan_bytes=2000 * 2**30), Prices.default())
PERIOD = ["costs", "--since", "2026-03-01", "--until", "2026-03-02"]


@pytest.fixture
def spent(settings: Settings, add_job: Callable[..., Job]) -> None:
    """Three jobs that ended on the first of March, of one of which the cost is not known."""
    with open_store(settings) as store:
        for number, cost in enumerate((SMALL, LARGE, None)):
            known: dict[str, Any] = {"type": "clean-up", "dataset": None} if number else {}
            at = datetime.fromisoformat("2026-03-01T12:00:00Z") + timedelta(minutes=number)
            job = add_job(number, state=JobState.CANCELLED, tags=("a", "b")[:number], started_at=at, **known)
            store.add_usage(JobId(job.job_id), 1, Usage(cpu_seconds=1), cost)


def test_a_period_is_told_with_a_total(spent: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*PERIOD, "--by", "dataset"]) == ExitCode.OK
    printed = capsys.readouterr()
    assert [line.split() for line in printed.out.splitlines()] == [
        ["dataset", "jobs", "scan", "compute", "cost"],
        ["(none)", "2", "1,300.00000000", "0.00000000", "1,300.00000000"],
        ["orders", "1", "0.32500000", "0.00002500", "0.32502500"],
        ["total", "3", "1,300.32500000", "0.00002500", "1,300.32502500"],
    ]
    assert "from 2026-03-01 00:00:00Z until 2026-03-02 00:00:00Z" in printed.err
    assert "jobs that started, 1 of them." in printed.err


def test_a_period_is_told_to_programs(spent: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*PERIOD, "--by", "tag", "--json"]) == ExitCode.OK
    total = LARGE + SMALL
    assert json.loads(capsys.readouterr().out) == {
        "since": "2026-03-01T00:00:00+00:00",
        "until": "2026-03-02T00:00:00+00:00",
        "group_by": "tag",
        "jobs": 3,
        "unpriced": 1,
        **total.model_dump(mode="json"),
        "groups": [
            {"group": "a", "jobs": 1, "unpriced": 0, **LARGE.model_dump(mode="json")},
            {"group": None, "jobs": 1, "unpriced": 0, **SMALL.model_dump(mode="json")},
            {"group": "a, b", "jobs": 1, "unpriced": 1, **Cost.of(()).model_dump(mode="json")},
        ],
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--since", "P1X"], "since = 'P1X' is no ISO 8601 duration."),
        (["--since", "P1D", "--until", "P2D"], "The period goes backwards"),
        (["--since", "P1D", "--by", "person"], 'Choose from: "type", "dataset", "requester", "tag"'),
        ([], "--since requires an argument"),
    ],
    ids=["no duration", "backwards", "unknown group", "no period"],
)
def test_what_is_no_period_is_refused(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["costs", *arguments]) == ExitCode.REFUSED
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("state", "known", "told"),
    [
        (JobState.CANCELLED, {"cost_micro_cents_usd": 1}, "cost             0.00000001 USD"),
        (JobState.CANCELLED, {"cost_micro_cents_usd": 0}, "cost             0.00000000 USD"),
        (JobState.CANCELLED, {}, "cost             unknown"),
        (JobState.PENDING, {}, None),
        (JobState.CANCELLED, {"started_at": None}, None),
    ],
    ids=["a cost", "no cost", "unknown", "not ended", "never started"],
)
def test_a_cost_that_is_not_known_is_not_zero(
    add_job: Callable[..., Job],
    capsys: pytest.CaptureFixture[str],
    state: JobState,
    known: dict[str, Any],
    told: str | None,
) -> None:
    job = add_job(state=state)
    job = job.model_copy(update={"started_at": job.created_at, **known})
    details(job, Output())
    found = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("cost")]
    assert found == ([told.split()] if told else [])


def test_amounts_are_shown_whole() -> None:
    assert [cell(usd(amount)) for amount in (0, 1, 130_032_502_500)] == ["0.00000000", "0.00000001", "1,300.32502500"]
