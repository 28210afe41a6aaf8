import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest

AUTH_STRING = "tester:secret"
NARRATIVE = [sys.executable, "-m", "prefect_narrative.cli"]


def environment_of(folder: Path, **values: str) -> dict[str, str]:
    """The environment of a user whose every folder lies in this one, and of whom nothing else is known."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NARRATIVE_", "PREFECT_"))}
    places = {"HOME": str(folder), "NARRATIVE_HOME": str(folder / "narrative"), "TMPDIR": str(folder / "tmp")}
    (folder / "tmp").mkdir(exist_ok=True)
    return {**kept, **places, **values}


def processes_in(folder: Path) -> list[str]:
    """The command lines of all processes that work in a folder, as their environment says."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(str(folder) in value for value in process.environ().values()):
                found.append(" ".join(process.cmdline()))
    return found


def nothing_runs_in(folder: Path, within_seconds: float = 20) -> bool:
    until = time.monotonic() + within_seconds
    while processes_in(folder):
        if time.monotonic() > until:
            return False
        time.sleep(0.2)
    return True


@dataclass
class Platform:
    """A running `narrative up` and the commands of somebody who uses it."""

    folder: Path
    environment: dict[str, str]
    process: subprocess.Popen[str]
    told: dict[str, Any]
    """The line that `up --json` printed."""

    @property
    def imports(self) -> Path:
        return self.folder / "data"

    def run(self, *arguments: str, **values: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*NARRATIVE, *arguments],
            env={**self.environment, **values},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def json(self, *arguments: str, code: int = 0) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)

    def submit(self, type: str, *inputs: str, code: int = 0) -> dict[str, Any]:
        return dict(self.json("submit", type, *inputs, "--wait", code=code))

    def http(self, **values: Any) -> httpx.Client:
        auth = tuple(AUTH_STRING.split(":"))
        return httpx.Client(
            **{"base_url": self.told["api_url"], "auth": auth, "timeout": 30, "trust_env": False, **values}
        )

    def wait_until(self, job_id: str, is_so: Callable[[Mapping[str, Any]], bool]) -> Mapping[str, Any]:
        """A job as it is when something has become true of it; asked for by HTTP, since a command takes a second."""
        until = time.monotonic() + 90
        with httpx.Client(trust_env=False, timeout=30) as http:
            while not is_so(job := http.get(f"{self.told['jobs_url']}/{job_id}").raise_for_status().json()):
                assert time.monotonic() < until, job
                time.sleep(0.05)
        return dict(job)

    def trigger(self, type: str, body: Mapping[str, Any]) -> httpx.Response:
        with self.http() as http:
            deployment = http.get(f"/deployments/name/{type}/narrative").raise_for_status().json()
            asked = {"idempotency_key": str(uuid4()), **body}
            for _ in range(20):  # a server on SQLite sometimes answers 503, "database is locked"
                answer = http.post(f"/deployments/{deployment['id']}/create_flow_run", json=asked)
                if answer.status_code != 503:
                    break
                time.sleep(0.5)
            return answer

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


def start_up(folder: Path, *arguments: str, **values: str) -> Platform:
    """Start `narrative up --json` and return when it has printed its line."""
    environment = environment_of(folder, **values)
    with (folder / "up.err").open("w") as errors:
        process = subprocess.Popen(
            [*NARRATIVE, "up", "--json", *arguments],
            env=environment,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdout is not None
    with process.stdout:
        line = process.stdout.readline()
    if not line:
        process.wait(60)
        raise AssertionError((folder / "up.err").read_text())
    return Platform(folder, environment, process, json.loads(line))


@pytest.fixture(scope="session")
def platform(
    tmp_path_factory: pytest.TempPathFactory, with_prefect_database: Callable[[Path], None]
) -> Iterator[Platform]:
    """One `narrative up` with an auth string, for all tests that only use it."""
    folder = tmp_path_factory.mktemp("platform")
    (folder / "data").mkdir()
    (folder / "data" / "orders.csv").write_text("id,customer,amount\n1,ann,10.5\n2,bob,20\n3,ann,5\n")
    with_prefect_database(folder / "narrative" / "prefect")
    running = start_up(folder, "--import-root", str(folder / "data"), PREFECT_SERVER_API_AUTH_STRING=AUTH_STRING)
    yield running
    assert running.end() == 0
    assert nothing_runs_in(folder)


@pytest.fixture
def up(tmp_path: Path, with_prefect_database: Callable[[Path], None]) -> Iterator[Callable[..., Platform]]:
    """Start an `up` of the test's own; whatever the test does to it, nothing is left."""
    with_prefect_database(tmp_path / "narrative" / "prefect")
    started: list[Platform] = []

    def start(*arguments: str) -> Platform:
        started.append(start_up(tmp_path, *arguments))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.end()
