"""`narrative reconciler` as a process: it tells where jobs are read, answers, and ends cleanly while callers wait."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
import pytest

from prefect_narrative.cli.server import free_port
from prefect_narrative.jobs.document import record
from prefect_narrative.jobs.record import Job
from prefect_narrative.jobs.sql import open_store
from prefect_narrative.settings import Settings
from prefect_narrative.testing import observed

TOKEN = "a-token-that-nobody-guesses"


@pytest.fixture
def job(tmp_path: Path) -> Job:
    with open_store(Settings(home=tmp_path / "narrative")) as store:
        return store.apply(observed(uuid4(), "RUNNING", datetime.now(UTC)), cause="hook")


@pytest.fixture
def reconciler(tmp_path: Path, job: Job) -> Iterator[subprocess.Popen[str]]:
    """A reconciler whose Prefect is down."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NARRATIVE_", "PREFECT_"))}
    environment = {
        **kept,
        "HOME": str(tmp_path),
        "NARRATIVE_HOME": str(tmp_path / "narrative"),
        "NARRATIVE_API_TOKEN": TOKEN,
        "PREFECT_API_URL": f"http://127.0.0.1:{free_port()}/api",
    }
    with (tmp_path / "errors").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect_narrative.cli", "reconciler", "--json"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    yield process
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_it_serves_what_is_known_and_ends_while_a_caller_waits(
    reconciler: subprocess.Popen[str], job: Job, tmp_path: Path
) -> None:
    assert reconciler.stdout is not None
    told = json.loads(reconciler.stdout.readline())
    assert told == {"jobs_url": told["jobs_url"], "pid": reconciler.pid}
    assert told["jobs_url"].startswith("http://127.0.0.1:")
    assert TOKEN not in " ".join(psutil.Process(reconciler.pid).cmdline())
    shown = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(trust_env=False, timeout=60, headers=shown) as client, ThreadPoolExecutor() as pool:
        refused = client.get(told["jobs_url"], headers={"Authorization": ""})
        assert refused.status_code == 401
        stale = client.get(f"{told['jobs_url']}/{job.job_id}")
        assert (stale.json(), stale.headers["narrative-stale"]) == (record(job), "true")
        assert client.get(f"{told['jobs_url']}/{uuid4()}").status_code == 503
        waits = pool.submit(client.get, f"{told['jobs_url']}/{job.job_id}?wait=60")
        health = told["jobs_url"].replace("/jobs", "/health")
        assert client.get(health).json() == {"table": "ok", "last_sweep_seconds": None, "pid": reconciler.pid}
        reconciler.send_signal(signal.SIGTERM)
        assert (waits.result().status_code, waits.result().json()) == (200, record(job))
        assert reconciler.wait(30) == 0
    assert TOKEN not in (tmp_path / "errors").read_text()
