import json
import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from prefect_narrative.cli.server import ServerCalls, base_environment, client_environment
from prefect_narrative.settings import Settings
from tests.e2e.conftest import Platform

AT_ONCE = int(os.environ.get("NARRATIVE_AT_ONCE", "4"))


def outcome(job: dict[str, Any]) -> str:
    return job["state"] if job["state"] == "completed" else f"{job['state']}: {job['failures']}"


def wait_for_worker(platform: Platform, name: str, since: str) -> None:
    calls = ServerCalls(platform.told["api_url"], platform.environment["PREFECT_SERVER_API_AUTH_STRING"])
    until = time.monotonic() + 120
    while not calls.worker_polled(name, since):
        assert time.monotonic() < until, f"worker {name} never asked for work"
        time.sleep(0.2)
    calls.close()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_two_workers_create_and_refresh_different_views_at_once(platform: Platform) -> None:
    """Four at a time (eight in the long run), no error, and each view has the rows of its query."""
    settings = Settings(home=platform.environment["NARRATIVE_HOME"], import_roots=(platform.imports,))
    environment = client_environment(
        base_environment(settings, platform.environment),
        platform.told["api_url"],
        platform.environment["PREFECT_SERVER_API_AUTH_STRING"],
    )
    platform.submit("create-dataset", "name=sides", "source=orders.csv")
    since = datetime.now(UTC).isoformat()
    command = ["worker", "start", "--pool", "narrative", "--type", "process", "--name", "two"]
    second = subprocess.Popen(
        [sys.executable, "-m", "prefect", *command],
        env={**environment, "PREFECT_WORKER_QUERY_SECONDS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for_worker(platform, "two", since)
        with ThreadPoolExecutor(AT_ONCE) as together:

            def ended(job: dict[str, Any]) -> dict[str, Any]:
                return dict(json.loads(platform.run("jobs", "wait", job["job_id"], "--json").stdout))

            def all_at_once(type: str, *inputs: list[str]) -> list[dict[str, Any]]:
                asked = list(together.map(lambda one: platform.json("submit", type, *one), inputs))
                return list(together.map(ended, asked))

            views = [f"side_{number}" for number in range(AT_ONCE)]
            made = all_at_once(
                "create-materialized-view",
                *(
                    [f"name={view}", f"query=SELECT id + {number} AS id FROM sides"]
                    for number, view in enumerate(views)
                ),
            )
            assert Counter(map(outcome, made)) == {"completed": AT_ONCE}
            platform.submit("create-dataset", "name=sides", "source=orders.csv", "write_mode=append")
            refreshed = all_at_once("refresh-materialized-view", *([f"view={view}", "mode=full"] for view in views))
            assert Counter(map(outcome, refreshed)) == {"completed": AT_ONCE}
            workers = {job["executor"]["worker"] for job in made + refreshed}
        assert len(workers) == 2, f"only {workers} worked"
        rows = {one["name"]: one["rows"] for one in platform.json("datasets", "list")["datasets"]}
        assert {rows[view] for view in views} == {rows["sides"]}
    finally:
        second.terminate()
        second.wait(60)
