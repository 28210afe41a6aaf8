import json
import subprocess
import sys

import pytest

from prefect_narrative.cli import main
from prefect_narrative.cli.exits import ExitCode, NotFoundError, UsageError, exit_code_of
from prefect_narrative.client import (
    IdempotencyConflictError,
    PrefectRefusedError,
    PrefectUnavailableError,
    RefusedInputError,
    UnknownJobError,
    UnknownJobTypeError,
    WaitTimeoutError,
)
from prefect_narrative.errors import NarrativeError
from prefect_narrative.jobs.store import InvalidCursorError, JobTableUnavailableError
from prefect_narrative.planes.errors import DatasetNotFoundError, QueryFailedError, QueryRefusedError
from prefect_narrative.settings import Settings

A_JOB = "00000000-0000-0000-0000-000000000001"

REFUSED = [
    (["nonsense"], "Unknown command"),
    (["jobs"], ""),
    (["jobs", "lst"], 'Did you mean "list"'),
    (["jobs", "list", "--state", "done"], "--state"),
    (["jobs", "list", "--limit", "0"], "1 to 500"),
    (["jobs", "list", "--limit", "501"], "1 to 500"),
    (["jobs", "list", "--limit", "many"], "--limit"),
    (["jobs", "list", "--created-from", "yesterday"], "--created-from"),
    (["jobs", "list", "--cursor", "made-up"], "cursor"),
    (["jobs", "list", "--odd"], "--odd"),
    (["jobs", "show"], "requires an argument"),
    (["jobs", "show", "not-a-job"], "is not a job's id"),
    (["jobs", "show", "abc"], "is not a job's id"),
    (["jobs", "wait", A_JOB, "--timeout", "-1"], "no number of seconds"),
    (["jobs", "wait", A_JOB, "--timeout", "nan"], "no number of seconds"),
    (["submit"], "requires an argument"),
    (["submit", "create-dataset", "name"], "is not name=value"),
    (["submit", "create-dataset", "name=a", "--again"], "--again says nothing without --key"),
    (["submit", "create-dataset", "name=a", "--timeout", "3"], "--timeout says nothing without --wait"),
    (["query", "SELECT 1", "--limit", "1001"], "1 to 1000"),
    (["query", "DROP TABLE x"], "exactly one SELECT"),
    (["query", "SELECT * FROM read_csv('/etc/passwd')"], "read_csv"),
    (["query", "@/nowhere.sql"], "can't be read"),
    (["datasets", "show", "Robert'); DROP TABLE"], "name"),
    (["up", "--port", "0"], "is not a port"),
    (["up", "--port", "70000"], "is not a port"),
    (["up", "--host", "0.0.0.0"], "--host"),
    (["up", "--jobs-port", "0"], "is not a port"),
    (["up", "--port", "4211", "--jobs-port", "4211"], "can't both have port 4211"),
    (["reconciler", "--port", "0"], "is not a port"),
    (["reconciler", "--port", "70000"], "is not a port"),
    (["reconciler", "--host", "0.0.0.0"], "Without a token the job API listens on loopback only, not on 0.0.0.0"),
    (["reconciler", "--host", "::"], "Without a token"),
    (["reconciler", "--host", "no such host"], "no name or address of this machine"),
    (["up", "--auth-string", "nocolon"], "no colon"),
    (["up", "--import-root", "/nowhere/at/all"], "is not a folder"),
]


@pytest.mark.parametrize(("arguments", "said"), REFUSED, ids=lambda value: " ".join(value)[:40])
def test_a_users_mistake_is_told_in_two_lines(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if arguments == ["jobs"]:
        assert main(arguments) == ExitCode.OK  # the help
        return
    assert main(arguments) == ExitCode.REFUSED
    told = capsys.readouterr()
    assert said in told.err
    assert "error: " in told.err
    assert "\nremedy: " in told.err
    assert "Traceback" not in told.err
    assert told.out == ""


@pytest.mark.parametrize(("arguments", "said"), REFUSED, ids=lambda value: " ".join(value)[:40])
def test_a_mistake_is_one_json_document_for_programs(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if arguments == ["jobs"]:
        return
    assert main([*arguments, "--json"]) == ExitCode.REFUSED
    told = capsys.readouterr()
    error = json.loads(told.out)["error"]
    assert set(error) == {"kind", "code", "message", "remedy"}
    assert error["kind"] == "input"
    assert said in error["message"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError(), 2),
        (RefusedInputError(), 2),
        (QueryRefusedError(), 2),
        (IdempotencyConflictError(), 2),
        (InvalidCursorError(), 2),
        (NotFoundError(), 3),
        (UnknownJobError(), 3),
        (UnknownJobTypeError(), 3),
        (DatasetNotFoundError(), 3),
        (PrefectUnavailableError(), 4),
        (PrefectRefusedError(), 4),
        (JobTableUnavailableError(), 4),
        (WaitTimeoutError(), 5),
        (QueryFailedError(), 1),
        (NarrativeError(), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_kind_of_error_has_its_exit_code(error: NarrativeError, code: int) -> None:
    assert exit_code_of(error) == code


@pytest.mark.parametrize(
    "arguments",
    [
        ["submit", "create-dataset", "name=a"],
        ["deploy"],
        ["jobs", "show", A_JOB],
        ["jobs", "wait", A_JOB],
        ["datasets", "list", "--data-plane", "other"],
    ],
    ids=" ".join,
)
def test_without_a_server_the_remedy_names_up(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == ExitCode.UNREACHABLE
    assert "narrative up" in capsys.readouterr().err


def test_a_defect_is_told_without_its_trace(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**_values: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("prefect_narrative.cli.jobs.JobFilter", broken)
    assert main(["jobs", "list"]) == ExitCode.FAILED
    told = capsys.readouterr().err
    assert "error: ZeroDivisionError: by zero" in told
    assert "NARRATIVE_TRACEBACK" in told
    assert "Traceback" not in told


def test_a_bad_setting_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NARRATIVE_THREADS", "zero")
    assert main(["jobs", "list"]) == ExitCode.REFUSED
    assert "error: NARRATIVE_THREADS: Input should be a valid integer" in capsys.readouterr().err


@pytest.mark.parametrize("token", ["", "short", "with a space in its midst", "x" * 1001, "naïve-token-of-16-letters"])
def test_a_bad_token_is_refused_and_not_repeated(
    token: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NARRATIVE_API_TOKEN", token)
    assert main(["reconciler"]) == ExitCode.REFUSED
    told = capsys.readouterr().err
    assert "error: NARRATIVE_API_TOKEN: " in told
    assert not token or token not in told
    with pytest.raises(ValueError, match="api_token") as caught:
        Settings()
    assert not token or token not in str(caught.value)


def test_a_home_that_cannot_be_made_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NARRATIVE_HOME", "/proc/nowhere")
    assert main(["up"]) == ExitCode.FAILED
    assert "error: /proc/nowhere: No such file or directory" in capsys.readouterr().err


def test_help_names_every_command_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == ExitCode.OK
    told = capsys.readouterr().out
    for word in ("up", "deploy", "reconciler", "jobs", "submit", "datasets", "query", "demo", "130", "timed out"):
        assert word in told


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["up"],
        ["deploy"],
        ["reconciler"],
        ["jobs"],
        ["jobs", "list"],
        ["jobs", "show"],
        ["jobs", "wait"],
        ["submit"],
        ["datasets"],
        ["datasets", "list"],
        ["datasets", "show"],
        ["query"],
        ["demo"],
    ],
    ids=" ".join,
)
def test_every_command_has_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--help"]) == ExitCode.OK
    assert "Usage: narrative" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--help"], ["jobs", "list", "--help"], ["jobs", "list"], ["datasets", "list"]])
def test_reading_commands_do_not_wait_for_prefect(arguments: list[str]) -> None:
    code = (
        "import sys; from prefect_narrative.cli import main; main(sys.argv[1:]); "
        "sys.exit('prefect' in sys.modules or ('duckdb' in sys.modules and sys.argv[1] != 'datasets'))"
    )
    assert subprocess.run([sys.executable, "-c", code, *arguments], check=False, capture_output=True).returncode == 0


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    shown = subprocess.run(
        f"{sys.executable} -m prefect_narrative.cli jobs list --json | true; echo ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        check=False,
        capture_output=True,
        text=True,
    )
    assert shown.stdout.strip() == "0"
    assert "Traceback" not in shown.stderr
