"""A cascade: its children run on a real worker, in order, from one set of contents; a failure stops what reads it."""

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
import pytest
from live_platform import Platform
from prefect import State
from prefect.client.orchestration import get_client
from prefect_narrative.deployments import WORK_POOL, apply_deployments
from prefect_narrative.flows.create_dataset import create_dataset
from prefect_narrative.flows.create_materialized_view import create_materialized_view
from prefect_narrative.flows.refresh_materialized_view import refresh_materialized_view

from prefect_narrative.jobs.hooks import here
from prefect_narrative.jobs.prefect_runs import PrefectRuns
from prefect_narrative.jobs.reconciler import look
from prefect_narrative.jobs.record import Job
from prefect_narrative.jobs.states import JobState
from prefect_narrative.profiles.reading import profile

VIEWS = {
    "paid": "SELECT id, amount FROM bills",
    "paid_total": "SELECT sum(amount) AS total FROM paid",
    "paid_small": "SELECT id, CAST(amount AS TINYINT) AS amount FROM paid",
    "paid_shares": "SELECT id, amount, CAST(total AS BIGINT) AS total FROM paid_small CROSS JOIN paid_total",
}


@pytest.fixture(scope="module")
def worker(platform: Platform) -> Iterator[None]:
    """A worker for the children; the parents run here."""
    apply_deployments()
    limit_pool(platform, None)
    with get_client(sync_client=True) as client:
        there = client.read_deployment_by_name("refresh-materialized-view/narrative")
    unpaused = {"paused": False, "parameters": {}}
    httpx.patch(f"{platform.url}/deployments/{there.id}", json=unpaused).raise_for_status()
    command = [
        "worker",
        "start",
        "--pool",
        WORK_POOL,
        "--type",
        "process",
        "--name",
        "cascade",
        "--install-policy",
        "never",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect", *command],
        env={**platform.environment, "PREFECT_WORKER_QUERY_SECONDS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def limit_pool(platform: Platform, limit: int | None) -> None:
    httpx.patch(f"{platform.url}/work_pools/{WORK_POOL}", json={"concurrency_limit": limit}).raise_for_status()


def write(platform: Platform, *amounts: int) -> None:
    lines = [f"{number},{amount}" for number, amount in enumerate(amounts)]
    (platform.imports / "bills.csv").write_text("\n".join(["id,amount", *lines]) + "\n")
    create_dataset(name="bills", source="bills.csv", write_mode="overwrite")


def refresh(view: str) -> Job:
    state: State[object] = refresh_materialized_view(view=view, cascade="downstream", return_state=True)
    assert state.state_details.flow_run_id is not None
    return record(UUID(str(state.state_details.flow_run_id)))


def record(job_id: UUID) -> Job:
    with get_client(sync_client=True) as client:
        found = look(here()[0], PrefectRuns(client), job_id)
    assert found is not None
    return found


def rows(platform: Platform, query: str) -> list[tuple[object, ...]]:
    with platform.plane() as plane:
        return list(plane.read(plane.check(query), limit=100).rows)


def outcomes(children: list[dict[str, Any]]) -> list[tuple[str, str, str | None]]:
    return [(child["view"], child["state"], child["action"]) for child in children]


@pytest.fixture(scope="module")
def views(platform: Platform) -> None:
    write(platform, 10, 5)
    for name, query in VIEWS.items():
        create_materialized_view(name=name, query=query)


def test_dependants_are_refreshed_in_order_from_one_set_of_contents(
    platform: Platform, worker: None, views: None
) -> None:
    write(platform, 10, 20)
    done = refresh("paid")
    assert done.result is not None, done.failures
    children = done.result["children"]
    assert outcomes(children) == [
        ("paid_small", "completed", "full"),
        ("paid_total", "completed", "full"),
        ("paid_shares", "completed", "full"),
    ]
    assert rows(platform, "SELECT * FROM paid_shares ORDER BY id") == [(0, 10, 30), (1, 20, 30)]
    snapshots = {child["view"]: child["snapshot_id"] for child in children}
    first, _, last = (record(UUID(child["job_id"])) for child in children)
    assert first.parent_job_id == last.parent_job_id == done.job_id
    assert last.request_source is not None
    assert last.request_source.type == "job"
    assert first.input["source_snapshots"] == {"paid": done.result["snapshot_id"]}
    assert last.input["source_snapshots"] == {name: snapshots[name] for name in ("paid_small", "paid_total")}


@pytest.mark.long  # several jobs
def test_a_failure_stops_what_reads_it_and_says_so(platform: Platform, worker: None, views: None) -> None:
    before = rows(platform, "SELECT * FROM paid_shares ORDER BY id")
    write(platform, 10, 1000)
    failed = refresh("paid")
    (failure,) = failed.failures
    assert (failed.state, failure.code, failure.retryable) == (JobState.FAILED, "cascade_failed", False)
    assert failure.detail is not None
    assert outcomes(failure.detail["children"]) == [("paid_small", "failed", None), ("paid_total", "completed", "full")]
    assert failure.detail["not_refreshed"] == ["paid_shares"]
    assert "paid_small failed" in failure.message
    assert "Not refreshed, since they read these: paid_shares." in failure.message
    assert rows(platform, "SELECT total FROM paid_total") == [(1010,)]
    assert rows(platform, "SELECT * FROM paid_shares ORDER BY id") == before


def test_a_view_that_nothing_reads_has_no_children(platform: Platform, worker: None, views: None) -> None:
    done = refresh("paid_shares")
    assert done.result is not None
    assert (done.result["children"], done.state) == ([], JobState.COMPLETED)


def test_a_view_that_asks_for_it_is_measured_after_what_changed_it(platform: Platform, worker: None) -> None:
    write(platform, 10, 5)
    made: State[Any] = create_materialized_view(
        name="large", query="SELECT id FROM bills WHERE amount > 7", extended_stats="all", return_state=True
    )
    created = record(UUID(str(made.state_details.flow_run_id)))
    unchanged = refresh("large")
    write(platform, 10, 5, 20)
    changed = refresh("large")
    children = []
    for parent in (created, unchanged, changed):
        assert parent.result is not None, parent.failures
        child = parent.result["statistics_job"]
        children.append(None if child is None else ended(UUID(child)))
    first, none, last = children
    assert none is None, "nothing has changed"
    for child, parent, count in ((first, created, 1), (last, changed, 2)):
        assert child is not None
        assert (child.type, child.state) == ("calculate-column-statistics", JobState.COMPLETED)
        assert child.parent_job_id == parent.job_id
        assert child.result is not None
        assert parent.result is not None
        assert child.result["snapshot_id"] == parent.result["snapshot_id"]
        assert [one["value_count"] for one in child.result["columns"]] == [count]
    with platform.plane() as plane:
        (shown,) = profile(plane, "large").columns
    assert (shown.standing, shown.statistics["upper_bound"]) == ("fresh", 2)


def ended(job_id: UUID) -> Job:
    until = time.monotonic() + 120
    while not (job := record(job_id)).state.terminal:
        assert time.monotonic() < until, job
        time.sleep(0.5)
    return job


def test_a_pool_that_would_make_a_cascade_wait_for_itself_is_refused(
    platform: Platform, worker: None, views: None
) -> None:
    limit_pool(platform, 1)
    try:
        failed = refresh("paid")
    finally:
        limit_pool(platform, None)
    assert [one.code for one in failed.failures] == ["no_room_for_children"]
