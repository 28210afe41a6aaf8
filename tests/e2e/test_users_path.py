"""The way that users take: everything through the command line and Prefect's HTTP API of one running `up`."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from uuid import UUID

import httpx
import psutil
import pytest

from tests.e2e.conftest import AUTH_STRING, Platform


@pytest.fixture(scope="module")
def orders(platform: Platform) -> Platform:
    """The platform, with a dataset and a view of it that has a schedule."""
    loaded = platform.submit("create-dataset", "name=orders", "source=orders.csv")
    assert loaded["result"]["rows"] == 3
    (platform.folder / "totals.sql").write_text("SELECT customer, sum(amount) AS total FROM orders GROUP BY 1\n")
    made = platform.submit("create-materialized-view", "name=totals", "query=@totals.sql", "refresh_schedule=* * * * *")
    assert made["result"]["schedule"] == "* * * * *"
    return platform


def test_up_tells_where_everything_is(platform: Platform) -> None:
    assert set(platform.told) == {"api_url", "ui_url", "jobs_url", "home", "pid"}
    home = Path(platform.told["home"])
    known = json.loads((home / "up.json").read_text())
    assert {name: known[name] for name in platform.told} == platform.told
    assert platform.told["pid"] == platform.process.pid
    assert platform.told["api_url"].startswith("http://127.0.0.1:")
    assert httpx.get(platform.told["ui_url"], follow_redirects=True, trust_env=False).status_code == 200
    assert stat.S_IMODE((home / "up.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_the_users_own_prefect_is_not_touched(orders: Platform) -> None:
    assert not (orders.folder / ".prefect").exists()
    assert sorted(path.name for path in orders.folder.iterdir()) == ["data", "narrative", "tmp", "totals.sql", "up.err"]


@pytest.mark.long  # more commands and jobs
def test_a_job_is_seen_by_every_command(orders: Platform) -> None:
    jobs = orders.json("jobs", "list", "--type", "create-dataset", "--dataset", "orders")["jobs"]
    assert [job["state"] for job in jobs] == ["completed"]
    shown = orders.json("jobs", "show", jobs[0]["job_id"])
    assert shown["request_source"] == {"type": "cli", "name": None}
    assert next(event["to_state"] for event in shown["events"]) == "pending"
    assert [event["to_state"] for event in shown["events"]][-2:] == ["running", "completed"]
    assert shown["queue_seconds"] > 0
    assert orders.run("jobs", "wait", jobs[0]["job_id"][:12]).returncode == 0
    assert {dataset["name"] for dataset in orders.json("datasets", "list")["datasets"]} >= {"orders", "totals"}
    view = orders.json("datasets", "show", "totals")
    assert (view["kind"], view["rows"]) == ("view", 2)
    found = orders.json("query", "SELECT * FROM totals ORDER BY customer")
    assert [column["name"] for column in found["columns"]] == ["customer", "total"]
    assert found["rows"] == [["ann", 15.5], ["bob", 20.0]]
    assert orders.run("query", "SELECT * FROM totals ORDER BY 1").stdout.splitlines()[1].split() == ["ann", "15.5"]


@pytest.mark.long  # more commands and jobs
def test_a_failed_job_says_why(orders: Platform) -> None:
    failed = orders.submit("create-dataset", "name=orders", "source=orders.csv", code=1)
    assert failed["state"] == "failed"
    assert failed["failures"][0]["code"] == "dataset_exists"
    outside = orders.submit("create-dataset", "name=secrets", "source=/etc/passwd", "format=csv", code=1)
    assert outside["failures"][0]["code"] == "import_refused"


@pytest.mark.long  # more commands and jobs
def test_a_key_gives_the_same_job(orders: Platform) -> None:
    inputs = ["name=keyed", "source=orders.csv", "--key", "load-1"]
    first = orders.submit("create-dataset", *inputs)
    assert orders.submit("create-dataset", *inputs)["job_id"] == first["job_id"]
    refused = orders.json("submit", "create-dataset", "name=other", "source=orders.csv", "--key", "load-1", code=2)
    assert refused["error"]["code"] == "idempotency_conflict"


@pytest.mark.long  # more commands and jobs
def test_waiting_can_time_out(orders: Platform) -> None:
    inputs = ["view=totals", "mode=full", "--wait", "--timeout", "0"]
    told = orders.json("submit", "refresh-materialized-view", *inputs, code=5)
    assert told["error"]["code"] == "wait_timed_out"


def test_an_outside_callers_run_is_the_job(orders: Platform) -> None:
    answer = orders.trigger("refresh-materialized-view", {"parameters": {"view": "totals", "mode": "full"}})
    assert answer.status_code == 201
    flow_run_id = answer.json()["id"]
    ended = orders.json("jobs", "wait", flow_run_id)
    assert ended["job_id"] == flow_run_id
    assert ended["result"]["action"] == "full"
    shown = orders.json("jobs", "show", flow_run_id)
    assert shown["job_id"] == flow_run_id
    assert shown["request_source"]["type"] == "api"


def test_jobs_are_run_and_read_by_plain_http_as_the_page_says(orders: Platform) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "read-results-over-http.md").read_text()
    (script,) = re.findall(r"^`run_job.py`:\n\n```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (command,) = re.findall(r"^python run_job.py (.*)$", page, re.MULTILINE)
    jobs_url = orders.told["jobs_url"]
    addresses = {
        "PREFECT_API_URL": orders.told["api_url"],
        "JOBS_URL": jobs_url,
        "PREFECT_API_AUTH_STRING": AUTH_STRING,
    }
    done = subprocess.run(
        [sys.executable, "-c", script, *command.split()],
        env={**orders.environment, **addresses},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("completed {'dataset': 'orders'"), done.stdout
    with httpx.Client(trust_env=False, timeout=30) as http:
        (newest,) = http.get(jobs_url, params={"type": "create-dataset", "limit": 1}).json()["jobs"]
        events = http.get(f"{jobs_url}/{newest['job_id']}/events").json()
        assert {**newest, **events} == orders.json("jobs", "show", newest["job_id"])
        for query in re.findall(r"^curl \"\$JOBS_URL(.*)\"$", page, re.MULTILINE):
            assert http.get(f"{jobs_url}{query}").status_code == 200


@pytest.mark.parametrize(
    ("type", "parameters", "said"),
    [
        ("refresh-materialized-view", {"view": 3}, "view"),
        ("refresh-materialized-view", {"view": "totals", "mode": "sometimes"}, "mode"),
        ("refresh-materialized-view", {"view": "Robert'); DROP TABLE"}, "Robert"),
        ("refresh-materialized-view", {"view": "totals", "vieww": 1}, "vieww"),
        ("refresh-materialized-view", {}, "view"),
        ("create-dataset", {"name": "x", "source": ""}, "source"),
        ("create-dataset", {"name": "x", "source": "a.csv", "write_mode": "truncate"}, "truncate"),
        ("create-dataset", {"name": "x", "source": ["a.csv"]}, "source"),
        ("create-materialized-view", {"name": "x", "query": {"sql": "SELECT 1"}}, "query"),
    ],
)
def test_prefects_api_refuses_inputs_that_break_a_rule(
    type: str, parameters: dict[str, object], said: str, platform: Platform
) -> None:
    answer = platform.trigger(type, {"parameters": parameters})
    assert answer.status_code == 409
    assert said in answer.json()["detail"]


def test_a_caller_can_choose_no_command(orders: Platform) -> None:
    marker = orders.folder / "marker"
    hostile = {"command": f"sh -c 'touch {marker}'", "env": {"NARRATIVE_HOME": "/nowhere"}, "working_dir": "/"}
    asked = {"parameters": {"view": "totals"}}
    assert orders.trigger("refresh-materialized-view", {**asked, "job_variables": hostile}).status_code == 422
    run = orders.trigger("refresh-materialized-view", asked).json()
    with orders.http() as http:
        assert http.patch(f"/flow_runs/{run['id']}", json={"job_variables": hostile}).status_code == 422
    assert orders.json("jobs", "wait", run["id"])["state"] == "completed"
    assert not marker.exists()


def test_without_the_auth_string_nobody_gets_in(platform: Platform) -> None:
    with platform.http(auth=None) as http:
        assert http.get("/work_pools/narrative").status_code == 401
        assert http.post("/flow_runs/filter", json={}).status_code == 401
    with platform.http(auth=("tester", "wrong")) as http:
        assert http.get("/work_pools/narrative").status_code == 401
    refused = platform.run(
        "deploy", PREFECT_API_URL=platform.told["api_url"], PREFECT_HOME=str(platform.folder / "tmp")
    )
    assert refused.returncode == 4
    assert "PREFECT_API_AUTH_STRING" in refused.stderr
    for process in psutil.Process(platform.process.pid).children(recursive=True):
        assert AUTH_STRING not in " ".join(process.cmdline())


def test_only_its_own_pages_may_call_it_from_a_browser(platform: Platform) -> None:
    with platform.http() as http:
        stranger = http.get("/health", headers={"Origin": "http://evil.example"})
        own = http.get("/health", headers={"Origin": platform.told["ui_url"]})
    assert "access-control-allow-origin" not in stranger.headers
    assert own.headers["access-control-allow-origin"] == platform.told["ui_url"]


def test_a_second_up_is_refused(platform: Platform) -> None:
    refused = platform.run("up")
    assert refused.returncode == 2
    assert platform.told["ui_url"] in refused.stderr


def test_deploying_again_changes_nothing(platform: Platform) -> None:
    applied = platform.json("deploy")
    assert {outcome for part in applied.values() for outcome in part.values()} == {"unchanged"}


@pytest.mark.long  # a worker and its jobs
def test_a_killed_worker_is_replaced(orders: Platform) -> None:
    (worker,) = (
        process
        for process in psutil.Process(orders.process.pid).children(recursive=True)
        if "worker" in process.cmdline() and "guard.py" not in " ".join(process.cmdline())
    )
    worker.kill()
    refreshed = orders.submit("refresh-materialized-view", "view=totals", "mode=full")
    assert refreshed["state"] == "completed"
    assert "worker ended unexpectedly (SIGKILL)" in (orders.folder / "up.err").read_text()


def test_a_schedule_really_makes_runs(orders: Platform) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        found = orders.json("jobs", "list", "--source", "schedule", "--dataset", "totals", "--state", "completed")[
            "jobs"
        ]
        if found:
            break
        time.sleep(2)
    assert found
    assert found[-1]["type"] == "refresh-materialized-view"
    assert found[-1]["request_source"] == {"type": "schedule", "name": "totals"}
    assert found[-1]["result"]["action"] in {"full", "no_data"}


def test_a_job_whose_process_is_killed_is_tried_again(orders: Platform) -> None:
    """The same job, with its first failure kept; who waits for it sees how it ends."""
    query = "SELECT count(*) AS n FROM range(20000) AS x(a) JOIN range(10000) AS y(b) ON a + b > 0"
    asked = orders.json("submit", "create-materialized-view", "name=survivor", f"query={query}")
    job = orders.wait_until(asked["job_id"], lambda job: job["executor"] is not None)
    os.kill(job["executor"]["pid"], signal.SIGKILL)
    ended = orders.json("jobs", "wait", asked["job_id"])
    assert (ended["state"], ended["attempt"]) == ("completed", 2)
    assert UUID(ended["job_id"]) == UUID(asked["job_id"])
    assert [(one["attempt"], one["kind"], one["retryable"]) for one in ended["failures"]] == [
        (1, "infrastructure", True)
    ]
    assert orders.json("query", "SELECT n FROM survivor")["rows"] == [[20000 * 10000 - 1]]
