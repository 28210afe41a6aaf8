import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest

from prefect_narrative.cli import main
from prefect_narrative.cli.exits import ExitCode
from prefect_narrative.jobs.record import Job, WaitingCause, WaitingFor
from prefect_narrative.jobs.states import JobState


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["jobs", "list", "--json", *arguments]) == ExitCode.OK
    return [job["job_id"] for job in json.loads(capsys.readouterr().out)["jobs"]]


def test_an_empty_table_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "list"]) == ExitCode.OK
    assert capsys.readouterr().err == "No jobs.\n"


def test_jobs_are_listed_newest_first_in_pages(add_job: Callable[..., Job], capsys: pytest.CaptureFixture[str]) -> None:
    ids = [str(add_job(number).job_id) for number in range(5)][::-1]
    assert main(["jobs", "list", "--json", "-n", "3"]) == ExitCode.OK
    page = json.loads(capsys.readouterr().out)
    assert [job["job_id"] for job in page["jobs"]] == ids[:3]
    assert listed(capsys, "--cursor", page["cursor"]) == ids[3:]


@pytest.mark.parametrize(
    ("arguments", "numbers"),
    [
        (["--state", "pending"], [2]),
        (["--state", "failed", "--state", "pending"], [2, 1]),
        (["--state", "pending_cancellation"], []),
        (["--type", "create-dataset"], [2, 1]),
        (["--dataset", "flights"], [0]),
        (["--tag", "mine"], [1]),
        (["--source", "schedule"], [0]),
        (["--data-plane", "other"], [2]),
        (["--created-from", "2026-03-01T12:01:00"], [2, 1]),
        (["--created-from", "2026-03-01T13:01:00+01:00"], [2, 1]),
        (["--created-before", "2026-03-01T12:01:00Z"], [0]),
        (["--ended-from", "2026-03-01T12:00:30"], [1]),
        (["--ended-before", "2026-03-01 12:00:30"], [0]),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_lists_can_be_narrowed(
    arguments: list[str], numbers: list[int], add_job: Callable[..., Job], capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = [
        add_job(
            0,
            state=JobState.CANCELLED,
            type="refresh-materialized-view",
            dataset="flights",
            request_source={"type": "schedule", "name": "flights"},
        ),
        add_job(1, state=JobState.FAILED, tags=("mine",)),
        add_job(2, data_plane="other"),
    ]
    assert listed(capsys, *arguments) == [str(jobs[number].job_id) for number in numbers]


def test_the_table_shows_hostile_names_as_text(add_job: Callable[..., Job], capsys: pytest.CaptureFixture[str]) -> None:
    add_job(dataset="\x1b[2J[red]x[/]")
    assert main(["jobs", "list"]) == ExitCode.OK
    told = capsys.readouterr().out
    assert "\\x1b[2J[red]x[/]" in told
    assert "\x1b" not in told


def test_a_record_for_programs_has_all_its_fields(
    add_job: Callable[..., Job], capsys: pytest.CaptureFixture[str]
) -> None:
    job = add_job(state=JobState.CANCELLED)
    assert main(["jobs", "show", str(job.job_id), "--json"]) == ExitCode.OK
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {*Job.model_fields, "queue_seconds", "run_seconds", "events"}
    assert [event["to_state"] for event in told["events"]] == ["cancelled"]


def test_a_job_is_shown_with_why_it_failed(add_job: Callable[..., Job], capsys: pytest.CaptureFixture[str]) -> None:
    job = add_job(state=JobState.FAILED, message="it \x1bbroke")
    assert main(["jobs", "show", str(job.job_id)]) == ExitCode.OK
    told = capsys.readouterr().out
    assert "state" in told
    assert "failed, attempt 1" in told
    assert "it \\x1bbroke" in told


@pytest.mark.parametrize(
    ("fact", "since", "told"),
    [
        ("work pool 'x' is paused", None, "pool_paused: work pool 'x' is paused"),
        (
            "work pool 'x' is \x1bpaused",
            datetime(2026, 3, 1, 13, tzinfo=timezone(timedelta(hours=1))),
            "pool_paused: work pool 'x' is \\x1bpaused (since 2026-03-01 12:00:00Z)",
        ),
        (
            "paused since 2026-03-01 12:00:00 UTC",
            datetime(2026, 3, 1, 12, tzinfo=UTC),
            "pool_paused: paused since 2026-03-01 12:00:00 UTC",
        ),
    ],
    ids=["no time", "with its time", "time told"],
)
def test_a_pending_job_is_shown_with_why_it_waits(
    fact: str,
    since: datetime | None,
    told: str,
    add_job: Callable[..., Job],
    capsys: pytest.CaptureFixture[str],
) -> None:
    why = WaitingFor(cause=WaitingCause.POOL_PAUSED, fact=fact, since=since)
    job = add_job(state=JobState.PENDING, waiting_for=why)
    assert main(["jobs", "show", str(job.job_id)]) == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    shown = [line.removeprefix("waiting for").strip() for line in lines if line.startswith("waiting for")]
    assert shown == [told]


def test_the_beginning_of_an_id_is_enough(add_job: Callable[..., Job], capsys: pytest.CaptureFixture[str]) -> None:
    one = add_job(state=JobState.CANCELLED, job_id=UUID("aaaaaaaa-0000-0000-0000-000000000001"))
    add_job(state=JobState.CANCELLED, job_id=UUID("aaaaaaaa-1000-0000-0000-000000000001"))
    assert main(["jobs", "show", "AAAAAAAA-0"]) == ExitCode.OK
    assert str(one.job_id) in capsys.readouterr().out
    assert main(["jobs", "show", "aaaaaaaa"]) == ExitCode.REFUSED
    assert "2 jobs have an id that begins" in capsys.readouterr().err
    assert main(["jobs", "show", "bbbbbbbb"]) == ExitCode.NOT_FOUND


def test_an_active_job_is_shown_as_last_known_when_prefect_is_down(
    add_job: Callable[..., Job], capsys: pytest.CaptureFixture[str]
) -> None:
    job = add_job()
    assert main(["jobs", "show", str(job.job_id)]) == ExitCode.OK
    told = capsys.readouterr()
    assert "pending" in told.out
    assert "Prefect can't be reached" in told.err


@pytest.mark.parametrize(("state", "code"), [(JobState.FAILED, 1), (JobState.CANCELLED, 1)])
def test_waiting_for_a_job_at_rest_ends_at_once(
    state: JobState, code: int, add_job: Callable[..., Job], capsys: pytest.CaptureFixture[str]
) -> None:
    job = add_job(state=state)
    assert main(["jobs", "wait", str(job.job_id), "--json"]) == code
    assert json.loads(capsys.readouterr().out)["state"] == state
