import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from prefect_narrative.cli.connection import UpRecord, connect, read_up, up_file
from prefect_narrative.jobs.processes import start_ticks
from prefect_narrative.settings import Settings


def record_in(settings: Settings, **values: object) -> UpRecord:
    record = UpRecord(
        "http://127.0.0.1:1/api",
        "http://127.0.0.1:1",
        "http://127.0.0.1:2/v1/jobs",
        str(settings.make_home()),
        os.getpid(),
        start_ticks(os.getpid()),
    )
    return replace(record, **values)  # type: ignore[arg-type]


def test_the_record_is_whole_and_for_its_owner_only(settings: Settings) -> None:
    record = record_in(settings, auth_string="a:b")
    record.write()
    assert read_up(settings.home) == record
    assert stat.S_IMODE(up_file(settings.home).stat().st_mode) == 0o600
    assert [path.name for path in settings.home.iterdir()] == ["up.json"]
    record.remove()
    assert read_up(settings.home) is None


def test_a_record_of_another_process_is_not_removed(settings: Settings) -> None:
    record_in(settings, pid=1).write()
    record_in(settings).remove()
    assert read_up(settings.home) == record_in(settings, pid=1)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 3}', "\udcff"])
def test_a_broken_record_is_none(text: str, settings: Settings) -> None:
    up_file(settings.make_home()).write_bytes(text.encode("utf-8", "surrogateescape"))
    assert read_up(settings.home) is None


def test_the_environment_comes_first(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    record_in(settings).write()
    monkeypatch.setenv("PREFECT_API_URL", "http://elsewhere/api")
    assert connect(settings).source == "environment"
    assert os.environ["PREFECT_API_URL"] == "http://elsewhere/api"


def test_then_a_running_up_with_its_credentials(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    record_in(settings, auth_string="a:b").write()
    monkeypatch.setenv("NO_PROXY", "intern.example")
    connection = connect(settings)
    assert (connection.api_url, connection.source, connection.known) == ("http://127.0.0.1:1/api", "up", True)
    assert os.environ["PREFECT_API_URL"] == "http://127.0.0.1:1/api"
    assert os.environ["PREFECT_API_AUTH_STRING"] == "a:b"
    assert os.environ["PREFECT_HOME"] == str(settings.home / "prefect")
    assert os.environ["NO_PROXY"] == "intern.example,127.0.0.1,localhost"


def test_a_dead_one_does_not_count(settings: Settings) -> None:
    record_in(settings, start_ticks=(start_ticks(os.getpid()) or 0) - 100).write()
    connection = connect(settings)
    assert (connection.api_url, connection.source, connection.known) == (None, "profile", False)
    assert "PREFECT_API_URL" not in os.environ


def test_one_whose_process_has_ended_does_not_count(settings: Settings) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    record_in(settings, pid=ended.pid, start_ticks=None).write()
    assert connect(settings).source == "profile"


def test_the_profile_comes_last(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / ".prefect").mkdir()
    (tmp_path / ".prefect" / "profiles.toml").write_text(
        'active = "mine"\n[profiles.mine]\nPREFECT_API_URL = "http://127.0.0.1:9/api"\n'
    )
    connection = connect(settings)
    assert connection.source == "profile"
    assert json.dumps(connection.api_url) == "null"
