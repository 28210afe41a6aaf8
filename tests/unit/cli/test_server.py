import fcntl
import os
import socket
from pathlib import Path

import pytest

from prefect_narrative.cli import server
from prefect_narrative.cli.connection import UpRecord
from prefect_narrative.cli.up import AlreadyUpError, only_one
from prefect_narrative.jobs.processes import start_ticks
from prefect_narrative.settings import Settings


def record_of(home: Path, pid: int, ticks: int | None) -> UpRecord:
    return UpRecord("http://127.0.0.1:7/api", "http://127.0.0.1:7", "http://127.0.0.1:8/v1/jobs", str(home), pid, ticks)


def test_the_callers_own_prefect_configuration_is_left_out(settings: Settings) -> None:
    given = {
        "PATH": "/bin",
        "PREFECT_API_URL": "https://api.prefect.cloud/x",
        "PREFECT_API_KEY": "secret",
        "PREFECT_SERVER_API_HOST": "0.0.0.0",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": "*",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": "postgresql://elsewhere",
        "PREFECT_LOGGING_LEVEL": "DEBUG",
        "HTTP_PROXY": "http://proxy",
        "no_proxy": "intern",
    }
    base = server.base_environment(settings, given)
    environment = server.server_environment(base, 4321, None)
    assert environment["PATH"] == "/bin"
    assert environment["PREFECT_LOGGING_LEVEL"] == "DEBUG"
    assert environment["PREFECT_HOME"] == str(settings.home / "prefect")
    assert environment["PREFECT_SERVER_API_HOST"] == "127.0.0.1"
    assert environment["PREFECT_SERVER_API_PORT"] == "4321"
    assert environment["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] == "http://127.0.0.1:4321,http://localhost:4321"
    assert environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert environment["DO_NOT_TRACK"] == "1"
    assert environment["NO_PROXY"] == "intern,127.0.0.1,localhost"
    assert not {"PREFECT_API_KEY", "PREFECT_API_URL", "PREFECT_SERVER_DATABASE_CONNECTION_URL"} & set(environment)
    assert not any("AUTH_STRING" in name for name in environment)


def test_the_auth_string_goes_to_everybody_and_never_onto_a_command_line(settings: Settings) -> None:
    base = server.base_environment(settings, {})
    assert server.server_environment(base, 1, "a:b")["PREFECT_SERVER_API_AUTH_STRING"] == "a:b"
    assert server.client_environment(base, "http://x", "a:b")["PREFECT_API_AUTH_STRING"] == "a:b"
    assert not any("a:b" in part for part in server.server_command())


def test_the_job_apis_token_goes_to_the_reconciler_alone(settings: Settings) -> None:
    base = server.base_environment(settings, {"NARRATIVE_API_TOKEN": "a-long-enough-token", "NARRATIVE_THREADS": "2"})
    assert base["NARRATIVE_THREADS"] == "2"
    client = server.client_environment(base, "http://x", None)
    for environment in (base, server.server_environment(base, 1, None), client):
        assert "a-long-enough-token" not in environment.values()
    assert server.reconciler_environment(client, "a-long-enough-token") == {
        **client,
        "NARRATIVE_API_TOKEN": "a-long-enough-token",
    }
    assert server.reconciler_environment(client, None) == client


def test_a_taken_port_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind((server.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(server.PortTakenError, match=f"Port {port}"):
            server.check_port(port)
    assert server.check_port(port) == port


def test_a_second_up_says_where_the_first_is(settings: Settings) -> None:
    home = settings.make_home()
    ticks = start_ticks(os.getpid())
    record = record_of(home, os.getpid(), ticks)
    with only_one(home):
        with pytest.raises(AlreadyUpError, match="starts or ends"), only_one(home):
            pass
        record.write()
        with pytest.raises(AlreadyUpError, match=rf"http://127\.0\.0\.1:7 \(process {os.getpid()}\)"), only_one(home):
            pass
    with only_one(home):
        pass


def test_the_lock_is_held_as_long_as_a_process_of_up_lives(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    home = settings.make_home()
    record = record_of(home, 2**22 + 1, None)
    record.write()  # of an `up` that was killed
    monkeypatch.setattr("prefect_narrative.cli.up.ENDING_SECONDS", 0.3)
    with (home / "up.lock").open("w") as held_by_a_guard:
        fcntl.flock(held_by_a_guard, fcntl.LOCK_EX)
        with pytest.raises(AlreadyUpError, match="starts or ends"), only_one(home):
            pass


def test_a_reused_pid_is_not_the_runs_process() -> None:
    run = {"start_time": "2001-01-01T00:00:00Z"}
    assert not server._alive(os.getpid(), run)
    assert server._alive(os.getpid(), {"start_time": None})
    assert not server._alive(2**22 + 1, {"start_time": None})


def test_the_home_is_not_the_users(settings: Settings, tmp_path: Path) -> None:
    assert not settings.home.is_relative_to(tmp_path / ".prefect")
