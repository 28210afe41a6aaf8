import os
from uuid import UUID

import httpx
import pytest

from prefect_narrative.api.app import JobApi
from prefect_narrative.jobs.document import record
from prefect_narrative.jobs.store import JobTableUnavailableError
from tests.unit.api.conftest import NOON, World, code_of, get, with_client

NOBODY = UUID(int=7)
JSON = {"content-type": "application/json", "cache-control": "no-store", "x-content-type-options": "nosniff"}


def test_a_job_is_its_record(world: World, api: JobApi) -> None:
    job = world.add("RUNNING", type="create-dataset", input={"name": "orders"}, tags=("mine",), dataset="orders")
    answer = get(api, f"/v1/jobs/{job.job_id}")
    assert (answer.status_code, answer.json()) == (200, record(job))
    assert dict(answer.headers) == {**JSON, "content-length": str(len(answer.content)), "narrative-ended": "false"}
    assert answer.json()["created_at"] == "2026-03-01T12:00:00Z"


def test_a_job_that_has_ended_has_its_times(world: World, api: JobApi) -> None:
    job = world.add("RUNNING")
    ended = world.end(job)
    answer = get(api, f"/v1/jobs/{job.job_id}")
    told = answer.json()
    assert (told, answer.headers["narrative-ended"]) == (record(ended), "true")
    assert (told["queue_seconds"], told["run_seconds"]) == (ended.queue_seconds, ended.run_seconds)


def test_jobs_are_listed_newest_first_in_pages(world: World, api: JobApi) -> None:
    jobs = [record(world.add(minute=minute)) for minute in range(5)][::-1]
    first = get(api, "/v1/jobs?limit=3").json()
    assert first["jobs"] == jobs[:3]
    assert get(api, "/v1/jobs", params={"cursor": first["cursor"]}).json() == {"jobs": jobs[3:], "cursor": None}


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("state=pending", [2]),
        ("state=failed&state=pending", [2, 1]),
        ("state=completed", []),
        ("type=create-dataset", [2, 1]),
        ("dataset=flights", [0]),
        ("tag=mine", [1]),
        ("request_source=schedule", [0]),
        ("data_plane=other", [2]),
        ("created_from=2026-03-01T12:01:00", [2, 1]),
        ("created_from=2026-03-01T13:01:00%2B01:00", [2, 1]),
        ("created_from=2026-03-02", []),
        ("created_before=2026-03-01T12:01:00Z", [0]),
        ("ended_from=2026-03-01T12:00:30Z", [1]),
        ("ended_before=2026-03-01T12:00:30Z", [0]),
        ("ended_before=2026-03-01T12:00:30Z&state=failed", []),
    ],
)
def test_lists_can_be_narrowed(query: str, numbers: list[int], world: World, api: JobApi) -> None:
    source = {"type": "schedule", "name": "flights"}
    jobs = [
        world.add("CANCELLED", 0, type="refresh", dataset="flights", request_source=source),
        world.add("FAILED", 1, type="create-dataset", tags=("mine",)),
        world.add("SCHEDULED", 2, type="create-dataset", data_plane="other"),
    ]
    assert get(api, f"/v1/jobs?{query}").json()["jobs"] == [record(jobs[number]) for number in numbers]


def test_a_jobs_moves_are_told_oldest_first(world: World, api: JobApi) -> None:
    job = world.add("RUNNING")
    world.end(job)
    told = get(api, f"/v1/jobs/{job.job_id}/events").json()
    assert told == {"events": [event.model_dump(mode="json") for event in world.store.events(job.job_id)]}
    assert [event["to_state"] for event in told["events"]] == ["running", "cancelled"]


@pytest.mark.parametrize("path", [f"/v1/jobs/{NOBODY}", f"/v1/jobs/{NOBODY}/events", f"/v1/jobs/{NOBODY}?wait=60"])
def test_an_unknown_job_is_told_with_the_rule(path: str, api: JobApi) -> None:
    answer = get(api, path)
    assert (answer.status_code, code_of(answer)) == (404, "job_not_found")
    assert f"There is no job {NOBODY}: a job's id is that of its flow run in Prefect." in answer.text


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/jobs/", "/docs", "/redoc", "/v1/jobs/%2e%2e/x", "/v1/jobs/a/b", "//v1/jobs"]
)
def test_there_is_nothing_else(path: str, api: JobApi) -> None:
    answer = with_client(api, lambda client: client.get(f"http://127.0.0.1{path}", follow_redirects=False))
    assert (answer.status_code, code_of(answer)) == (404, "path_not_found")


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"])
def test_it_is_read_only(method: str, api: JobApi) -> None:
    preflight = {"Origin": "http://evil.example", "Access-Control-Request-Method": "GET"}

    async def work(client: httpx.AsyncClient) -> list[httpx.Response]:
        paths = ("/v1/jobs", f"/v1/jobs/{NOBODY}", f"/v1/jobs/{NOBODY}/events", "/v1/health", "/openapi.json")
        return [await client.request(method, path, headers=preflight) for path in paths]

    for answer in with_client(api, work):
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert method == "HEAD" or code_of(answer) == "read_only"


def test_health_tells_of_table_and_sweep(world: World, api: JobApi) -> None:
    world.since_sweep = 1.5
    answer = get(api, "/v1/health")
    assert (answer.status_code, answer.json()) == (200, {"table": "ok", "last_sweep_seconds": 1.5, "pid": os.getpid()})
    world.since_sweep = float("inf")
    assert get(api, "/v1/health").json()["last_sweep_seconds"] is None


@pytest.mark.parametrize("path", ["/v1/jobs", f"/v1/jobs/{NOBODY}", f"/v1/jobs/{NOBODY}/events"])
def test_a_table_that_is_down_is_told_without_its_address(
    path: str, world: World, api: JobApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_arguments: object, **_options: object) -> None:
        raise JobTableUnavailableError("postgresql://admin@secret-host can't be used")

    monkeypatch.setattr(world.store, "get", down)
    monkeypatch.setattr(world.store, "page", down)
    answer = get(api, path)
    assert (answer.status_code, code_of(answer)) == (503, "job_table_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert "secret-host" not in answer.text
    health = get(api, "/v1/health")
    assert (health.status_code, health.json()["table"]) == (503, "unavailable")


def test_a_defect_is_told_without_its_text(world: World, api: JobApi, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object, **_options: object) -> None:
        raise ZeroDivisionError("by a secret")

    monkeypatch.setattr(world.store, "page", broken)
    answer = get(api, "/v1/jobs")
    assert (answer.status_code, code_of(answer)) == (500, "internal_error")
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


def test_a_list_says_when_nobody_has_looked_for_a_while(world: World, api: JobApi) -> None:
    job = world.add(minute=1)
    assert "narrative-stale" not in get(api, "/v1/jobs").headers
    world.since_sweep = 31.0
    answer = get(api, "/v1/jobs")
    assert answer.json()["jobs"] == [record(job)]
    assert answer.headers["narrative-stale"] == "true"


def test_odd_characters_of_a_record_are_sent_in_ascii(world: World, api: JobApi) -> None:
    job = world.add(input={"name": "東京\x1b\u2028🎉"}, created_at=NOON)
    answer = get(api, f"/v1/jobs/{job.job_id}")
    assert answer.content.isascii()
    assert answer.json()["input"] == {"name": "東京\x1b\u2028🎉"}
