"""What `jobs cancel` and `jobs retry` understand, say and refuse; what they do is tested on a real server."""

import json
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest

from prefect_narrative.cli import main
from prefect_narrative.cli.exits import ExitCode
from prefect_narrative.client import Client, JobEndedError, NotRetryableError
from prefect_narrative.jobs.record import Job
from prefect_narrative.jobs.states import JobState


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[UUID]]:
    """Let the client answer without a server; give what it was asked."""
    asked: dict[str, list[UUID]] = {"cancel": [], "retry": []}

    def answer(what: str, state: JobState) -> Callable[[Client, UUID], Job]:
        def act(client: Client, job_id: UUID) -> Job:
            asked[what].append(job_id)
            found = next(job for job in client.page().jobs if job.job_id == job_id)
            return found.model_copy(update={"state": state})

        return act

    monkeypatch.setattr(Client, "cancel", answer("cancel", JobState.PENDING_CANCELLATION))
    monkeypatch.setattr(Client, "retry", answer("retry", JobState.PENDING))
    return asked


@pytest.mark.parametrize(("what", "state"), [("cancel", "pending_cancellation"), ("retry", "pending")])
def test_a_job_is_named_by_the_beginning_of_its_id(
    what: str,
    state: str,
    add_job: Callable[..., Job],
    answers: dict[str, list[UUID]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = add_job()
    assert main(["jobs", what, str(job.job_id)[:8]]) == ExitCode.OK
    assert capsys.readouterr().out == f"{job.job_id} {state}\n"
    assert main(["jobs", what, str(job.job_id), "--json"]) == ExitCode.OK
    told = json.loads(capsys.readouterr().out)
    assert (told["job_id"], told["state"]) == (str(job.job_id), state)
    assert answers[what] == [job.job_id, job.job_id]


@pytest.mark.parametrize("what", ["cancel", "retry"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], ExitCode.REFUSED),
        (["not-an-id"], ExitCode.REFUSED),
        (["'; DROP TABLE jobs; --"], ExitCode.REFUSED),
        (["ffffffff"], ExitCode.NOT_FOUND),
        (["{id}", "--timeout", "3"], ExitCode.REFUSED),
        (["{id}", "--wait", "--timeout", "nan"], ExitCode.REFUSED),
    ],
    ids=str,
)
def test_what_is_no_job_is_refused(
    what: str, arguments: list[str], code: ExitCode, answers: dict[str, list[UUID]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["jobs", what, *(one.format(id=uuid4()) for one in arguments)]) == code
    assert "remedy: " in capsys.readouterr().err
    assert answers[what] == []


@pytest.mark.parametrize(
    ("what", "error"), [("cancel", JobEndedError("it is completed")), ("retry", NotRetryableError("it is running"))]
)
def test_what_can_not_be_done_is_refused_with_its_reason(
    what: str,
    error: Exception,
    add_job: Callable[..., Job],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: object) -> Job:
        raise error

    monkeypatch.setattr(Client, what, refuse)
    assert main(["jobs", what, str(add_job().job_id), "--json"]) == ExitCode.REFUSED
    told = json.loads(capsys.readouterr().out)["error"]
    assert (told["code"], told["message"]) == (getattr(error, "code", None), str(error))


@pytest.mark.parametrize(
    ("what", "ended", "code"),
    [
        ("cancel", JobState.CANCELLED, ExitCode.OK),
        ("cancel", JobState.COMPLETED, ExitCode.FAILED),
        ("retry", JobState.COMPLETED, ExitCode.OK),
        ("retry", JobState.FAILED, ExitCode.FAILED),
    ],
)
def test_a_wait_says_by_its_exit_code_whether_it_ended_as_wanted(
    what: str,
    ended: JobState,
    code: ExitCode,
    add_job: Callable[..., Job],
    answers: dict[str, list[UUID]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = add_job()
    monkeypatch.setattr(Client, "watch", lambda *_, **__: iter([job.model_copy(update={"state": ended})]))
    assert main(["jobs", what, str(job.job_id), "--wait"]) == code
    assert answers[what] == [job.job_id]
