"""Applying the declarations: repeatable, without undoing operators; inputs are checked; schedules make runs."""

import time
from typing import Any
from uuid import UUID

import httpx
import pytest
from live_platform import Platform
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule
from prefect_narrative.deployments import DECLARATIONS, WORK_POOL, apply_deployments
from prefect_narrative.flows.create_dataset import create_dataset
from prefect_narrative.flows.create_materialized_view import create_materialized_view

from prefect_narrative.client import Client, IdempotencyConflictError, RefusedInputError, UnknownJobTypeError
from prefect_narrative.jobs.hooks import here
from prefect_narrative.jobs.prefect_runs import PrefectRuns
from prefect_narrative.jobs.reconciler import Reconciler, look
from prefect_narrative.jobs.states import JobState

REFRESH = "refresh-materialized-view/narrative"


@pytest.fixture(scope="module")
def applied(platform: Platform) -> None:
    apply_deployments()


def deployment(platform: Platform, name: str) -> dict[str, Any]:
    flow, _, deployed = name.partition("/")
    return dict(httpx.get(f"{platform.url}/deployments/name/{flow}/{deployed}").raise_for_status().json())


def trigger(platform: Platform, name: str, body: dict[str, Any]) -> httpx.Response:
    there = deployment(platform, name)
    return httpx.post(f"{platform.url}/deployments/{there['id']}/create_flow_run", json=body)


def test_applying_again_changes_nothing(platform: Platform, applied: None) -> None:
    again = apply_deployments()
    assert set(again.deployments) == {f"{one.type}/narrative" for one in DECLARATIONS}
    outcomes = {*again.pool.values(), *again.deployments.values(), *again.blocks.values()}
    assert outcomes == {"unchanged"}


def test_operators_changes_stay(platform: Platform, applied: None) -> None:
    with get_client(sync_client=True) as client:
        there = client.read_deployment_by_name(REFRESH)
        client.create_deployment_schedules(
            there.id, [DeploymentScheduleCreate(schedule=CronSchedule(cron="0 5 * * *"), active=False, slug="kept")]
        )
    mine = {"tags": ["narrative", "mine"], "parameters": {"mode": "full"}, "paused": True, "description": "old words"}
    httpx.patch(f"{platform.url}/deployments/{there.id}", json=mine).raise_for_status()
    httpx.patch(f"{platform.url}/work_pools/{WORK_POOL}", json={"concurrency_limit": 3}).raise_for_status()
    assert apply_deployments().deployments[REFRESH] == "updated", "its description is ours"
    after = deployment(platform, REFRESH)
    assert after["description"] != "old words"
    assert {name: after[name] for name in ("tags", "parameters", "paused")} == {
        "tags": ["narrative", "mine"],
        "parameters": {"mode": "full"},
        "paused": True,
    }
    assert [(one["slug"], one["active"]) for one in after["schedules"] if one["slug"] == "kept"] == [("kept", False)]
    pool = httpx.get(f"{platform.url}/work_pools/{WORK_POOL}").json()
    assert pool["concurrency_limit"] == 3
    back = {"tags": ["narrative"], "parameters": {}, "paused": False}
    httpx.patch(f"{platform.url}/deployments/{there.id}", json=back).raise_for_status()


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"name": "x"}, "source"),
        ({"source": "x.csv"}, "name"),
        ({"name": "x", "source": 7}, "source"),
        ({"name": "X", "source": "x.csv"}, "name"),
        ({"name": "x; DROP TABLE y", "source": "x.csv"}, "name"),
        ({"name": "a.b.c", "source": "x.csv"}, "name"),
        ({"name": "x" * 129, "source": "x.csv"}, "name"),
        ({"name": "_narrative.datasets", "source": "x.csv"}, "name"),
        ({"name": "x", "source": ""}, "source"),
        ({"name": "x", "source": "x.csv", "format": "xlsx"}, "format"),
        ({"name": "x", "source": "x.csv", "write_mode": "merge"}, "write_mode"),
        ({"name": "x", "source": "x.csv", "tags": "one"}, "tags"),
        ({"name": "x", "source": "x.csv", "tags": [""]}, "tags"),
        ({"name": "x", "source": "x.csv", "data_plane": "../other"}, "data_plane"),
        ({"name": "x", "source": "x.csv", "timeout_seconds": 0}, "timeout_seconds"),
        ({"name": "x", "source": "x.csv", "max_retries": -1}, "max_retries"),
        ({"name": "x", "source": "x.csv", "command": "id"}, "command"),
        ({"name": "x", "source": "x.csv", "Name": "y"}, "Name"),
    ],
)
def test_bad_parameters_are_refused_by_prefects_api(
    platform: Platform, applied: None, parameters: dict[str, Any], words: str
) -> None:
    answer = trigger(platform, "create-dataset/narrative", {"parameters": parameters})
    assert answer.status_code == 409, answer.text
    assert words in answer.json()["detail"]


def test_caller_can_not_choose_what_the_worker_runs(platform: Platform, applied: None) -> None:
    body = {"parameters": {"name": "x", "source": "x.csv"}, "job_variables": {"command": "id", "env": {"A": "b"}}}
    answer = trigger(platform, "create-dataset/narrative", body)
    if answer.is_success:
        template = httpx.get(f"{platform.url}/work_pools/{WORK_POOL}").json()["base_job_template"]
        assert "{{" not in str(template["job_configuration"]), "nothing of the caller's is ever filled in"


def test_submitting_and_keys(platform: Platform, applied: None) -> None:
    with Client() as client:
        inputs = {"name": "keyed", "source": "keyed.csv"}
        first = client.submit("create-dataset", inputs, idempotency_key="k")
        assert first.state is JobState.PENDING
        assert first.waiting_for is not None
        assert (first.idempotency_key, first.request_source.type) == ("k", "api")
        assert client.submit("create-dataset", inputs, idempotency_key="k").job_id == first.job_id
        with pytest.raises(IdempotencyConflictError, match=str(first.job_id)):
            client.submit("create-dataset", {**inputs, "source": "other.csv"}, idempotency_key="k")
        httpx.post(
            f"{platform.url}/flow_runs/{first.job_id}/set_state",
            json={"state": {"type": "CANCELLED", "name": "Cancelled"}, "force": True},
        ).raise_for_status()
        assert client.get(first.job_id).state is JobState.CANCELLED
        assert client.submit("create-dataset", inputs, idempotency_key="k").job_id == first.job_id
        second = client.submit("create-dataset", inputs, idempotency_key="k", again=True)
        assert second.job_id != first.job_id
        assert client.submit("create-dataset", inputs, idempotency_key="k", again=True).job_id == second.job_id
        assert client.submit("create-dataset", inputs).idempotency_key is None
        with pytest.raises(UnknownJobTypeError, match="create-dataset"):
            client.submit("create-datset", inputs)
        with pytest.raises(RefusedInputError, match="surprise"):
            client.submit("create-dataset", {**inputs, "surprise": 1})


def test_view_with_a_schedule_gets_runs_and_the_sweep_sees_only_due_ones(platform: Platform, applied: None) -> None:
    """The versions matter here: with others, Prefect's scheduler fails and only its log says so."""
    (platform.imports / "ticker.csv").write_text("a\n1\n")
    create_dataset(name="ticker", source="ticker.csv")
    made = create_materialized_view(
        name="ticker_view", query="SELECT a FROM ticker", refresh_schedule="@daily", timezone="Europe/Berlin"
    )
    assert made.schedule == "0 0 * * *"
    (schedule,) = [one for one in deployment(platform, REFRESH)["schedules"] if one["slug"] == "ticker_view"]
    assert schedule["active"]
    assert schedule["schedule"]["timezone"] == "Europe/Berlin"
    assert schedule["parameters"] == {"view": "ticker_view", "data_plane": "default"}
    wanted = {"deployments": {"id": {"any_": [deployment(platform, REFRESH)["id"]]}}}
    until = time.monotonic() + 90
    runs: list[dict[str, Any]] = []
    while not runs and time.monotonic() < until:
        found = httpx.post(f"{platform.url}/flow_runs/filter", json=wanted).raise_for_status().json()
        runs = [one for one in found if one["auto_scheduled"] and one["parameters"].get("view") == "ticker_view"]
        time.sleep(0.5)
    assert runs, "the scheduler made no run"
    store, outbox = here()
    with get_client(sync_client=True) as client:
        Reconciler(store, outbox).sweep(PrefectRuns(client))
        assert all(store.get(UUID(one["id"])) is None for one in runs), "a run of the future is not a job yet"
        run_id = UUID(runs[0]["id"])
        assert look(store, PrefectRuns(client), run_id) is None, "nor does it become one by being read"
        seen = PrefectRuns(client).read(run_id)
        assert seen is not None
        assert seen.request_source is not None
        assert seen.request_source.type == "schedule"


def test_sweep_finds_what_no_hook_saw(platform: Platform, applied: None) -> None:
    made = trigger(platform, "create-dataset/narrative", {"parameters": {"name": "swept", "source": "s.csv"}})
    run_id = UUID(made.raise_for_status().json()["id"])
    store, outbox = here()
    with get_client(sync_client=True) as client:
        reconciler, runs = Reconciler(store, outbox), PrefectRuns(client)
        reconciler.sweep(runs)
        row = store.get(run_id)
        assert row is not None
        assert (row.state, row.type) == (JobState.PENDING, "create-dataset")
        assert row.prefect.deployment == "create-dataset/narrative"
        time.sleep(2.1)  # younger rows are left to a later sweep
        httpx.delete(f"{platform.url}/flow_runs/{run_id}").raise_for_status()
        reconciler.sweep(runs)
        row = store.get(run_id)
        assert row is not None
        assert row.state is JobState.CANCELLED
        assert "deleted" in store.events(run_id)[-1].cause
