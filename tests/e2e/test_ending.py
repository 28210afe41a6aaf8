"""However `up` ends, no process is left and no job is shown as running for ever."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import NARRATIVE, Platform, environment_of, nothing_runs_in


def start_long_job(running: Platform) -> str:
    """Start a job that would take minutes, and return its id once it runs."""
    rows = "\n".join(f"{number},{number % 3}" for number in range(30_000))
    (running.folder / "narrative" / "imports" / "pairs.csv").write_text(f"a,b\n{rows}\n")
    running.submit("create-dataset", "name=pairs", "source=pairs.csv")
    query = "SELECT count(*) AS n FROM pairs AS x JOIN pairs AS y USING (b) JOIN pairs AS z USING (b)"
    job_id = str(
        running.json("submit", "create-materialized-view", "name=slow", f"query={query}", "max_retries=0")["job_id"]
    )
    running.wait_until(job_id, lambda job: job["state"] == "running")
    return job_id


@pytest.mark.long
def test_killed_then_ended(up: Callable[..., Platform], tmp_path: Path) -> None:
    killed = up()
    job_id = start_long_job(killed)
    killed.end(signal.SIGKILL)
    again = up()  # waits for what the killed one left to end
    shown = again.json("jobs", "wait", job_id, "--timeout", "30", code=1)
    assert (shown["state"], shown["failures"][0]["kind"]) == ("failed", "infrastructure")
    query = "SELECT count(*) AS n FROM pairs AS x JOIN pairs AS y USING (b) JOIN pairs AS z USING (b)"
    second = str(
        again.json("submit", "create-materialized-view", "name=slow", f"query={query}", "max_retries=0")["job_id"]
    )
    again.wait_until(second, lambda job: job["state"] == "running")
    assert again.end() == 0
    assert nothing_runs_in(tmp_path, within_seconds=1)
    assert not (tmp_path / "narrative" / "up.json").exists()
    shown = again.json("jobs", "show", second)
    assert (shown["state"], shown["failures"][0]["kind"]) == ("failed", "infrastructure")


def test_a_killed_up_leaves_no_process(up: Callable[..., Platform], tmp_path: Path) -> None:
    up("--no-worker").end(signal.SIGKILL)
    assert nothing_runs_in(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_while_it_starts(number: signal.Signals, tmp_path: Path) -> None:
    with (tmp_path / "up.err").open("w") as errors:
        process = subprocess.Popen([*NARRATIVE, "up"], env=environment_of(tmp_path), cwd=tmp_path, stderr=errors)
    time.sleep(3)
    process.send_signal(number)
    assert process.wait(60) == 130
    assert nothing_runs_in(tmp_path, within_seconds=1)
    assert "Traceback" not in (tmp_path / "up.err").read_text()
