"""`narrative demo` shows everything and leaves nothing."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import NARRATIVE, environment_of, nothing_runs_in

FLIGHTS = 336_776


@pytest.mark.long  # CI runs the demo itself, as README says it
def test_the_demo_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [*NARRATIVE, "demo", "--json"],
        env=environment_of(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [job["type"] for job in told["jobs"]] == [
        *["create-dataset"] * 5,
        "create-materialized-view",
        "create-dataset",
        "refresh-materialized-view",
    ]
    assert {job["state"] for job in told["jobs"]} == {"completed"}
    rows = {job["dataset"]: job["result"]["rows"] for job in told["jobs"][:5]}
    assert rows == {"flights": FLIGHTS, "weather": 26_115, "planes": 3_322, "airports": 1_458, "airlines": 16}
    refresh = told["jobs"][-1]
    assert refresh["job_id"] == told["flow_run_id"]
    assert refresh["request_source"]["type"] == "api"
    assert refresh["result"]["action"] == "full"
    assert told["view"]["rows"][0][0] == 2014
    assert told["kept"] is None
    assert nothing_runs_in(tmp_path, within_seconds=1)
    assert [path.name for path in tmp_path.rglob("*")] == ["tmp"]


@pytest.mark.long
def test_a_demo_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    environment = environment_of(tmp_path)
    with (tmp_path / "demo.err").open("w") as errors:
        process = subprocess.Popen([*NARRATIVE, "demo"], env=environment, cwd=tmp_path, stderr=errors)
    until = time.monotonic() + 60
    while "Loading" not in (tmp_path / "demo.err").read_text() and time.monotonic() < until:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    assert nothing_runs_in(tmp_path, within_seconds=1)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["demo.err", "tmp"]
