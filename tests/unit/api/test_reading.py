import asyncio
import threading
from datetime import timedelta
from uuid import UUID

import httpx
import pytest

from prefect_narrative.api import reading
from prefect_narrative.api.app import JobApi
from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.jobs.document import record
from prefect_narrative.jobs.record import Job, JobId
from prefect_narrative.jobs.store import JobTableUnavailableError
from prefect_narrative.testing import observed
from tests.unit.api.conftest import NOON, World, code_of, get, with_client

NEW = UUID(int=5)
LONG_AGO = 60.0


class PrefectDownError(NarrativeError, ConnectionError):
    kind = FailureKind.EXTERNAL


class PrefectRefusesError(NarrativeError, PermissionError):
    kind = FailureKind.ACCESS


def test_a_run_without_a_row_is_looked_up_however_fresh_the_table_is(world: World, api: JobApi) -> None:
    world.runs[NEW] = observed(NEW, "SCHEDULED", NOON)
    answer = get(api, f"/v1/jobs/{NEW}")
    assert answer.status_code == 200
    (row,) = world.store.page().jobs
    assert answer.json() == record(row)
    assert get(api, f"/v1/jobs/{NEW}/events").json()["events"][0]["cause"] == "read"
    assert world.looks == [NEW]


def test_an_active_job_is_looked_up_where_no_sweep_was_lately(world: World, api: JobApi) -> None:
    job = world.add("RUNNING")
    world.runs[job.job_id] = observed(job.job_id, "CANCELLED", NOON + timedelta(minutes=1))
    assert get(api, f"/v1/jobs/{job.job_id}").json()["state"] == "running"
    assert world.looks == []
    world.since_sweep = LONG_AGO
    answer = get(api, f"/v1/jobs/{job.job_id}")
    assert answer.json()["state"] == "cancelled"
    assert "narrative-stale" not in answer.headers
    assert world.looks == [job.job_id]


def test_a_job_at_rest_is_not_looked_up(world: World, api: JobApi) -> None:
    world.since_sweep = float("inf")
    job = world.add("CANCELLED")
    assert get(api, f"/v1/jobs/{job.job_id}").json() == record(job)
    assert world.looks == []


@pytest.mark.parametrize("trouble", [PrefectDownError("no"), PrefectRefusesError("no"), RuntimeError("an odd run")])
def test_a_known_job_is_told_as_it_was_where_prefect_cannot_be_asked(
    trouble: Exception, world: World, api: JobApi
) -> None:
    job = world.add("RUNNING")
    world.since_sweep, world.trouble = LONG_AGO, trouble
    for path, told in ((f"/v1/jobs/{job.job_id}", record(job)), (f"/v1/jobs/{job.job_id}/events", None)):
        answer = get(api, path)
        assert (answer.status_code, answer.headers["narrative-stale"]) == (200, "true")
        assert told is None or answer.json() == told


@pytest.mark.parametrize("trouble", [PrefectDownError("no"), PrefectRefusesError("no")])
def test_an_unknown_job_is_not_denied_where_prefect_cannot_be_asked(
    trouble: Exception, world: World, api: JobApi
) -> None:
    world.trouble = trouble
    answer = get(api, f"/v1/jobs/{NEW}?wait=60")
    assert (answer.status_code, code_of(answer)) == (503, "prefect_unavailable")
    assert int(answer.headers["retry-after"]) > 0


def test_a_prefect_that_is_down_is_left_in_peace_for_a_while(
    world: World, api: JobApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "REST_SECONDS", 3600.0)
    world.trouble = PrefectDownError("no")
    assert [get(api, f"/v1/jobs/{NEW}").status_code for _ in range(5)] == [503] * 5
    assert world.looks == [NEW]
    api._reading._look_again_at = 0.0
    world.trouble = None
    assert get(api, f"/v1/jobs/{NEW}").status_code == 404


def test_a_table_that_goes_down_while_prefect_is_asked_is_told(world: World, api: JobApi) -> None:
    world.trouble = JobTableUnavailableError("no")
    answer = get(api, f"/v1/jobs/{NEW}")
    assert (answer.status_code, code_of(answer)) == (503, "job_table_unavailable")


def test_a_prefect_that_hangs_keeps_nobody_from_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    world, hanging = World(), threading.Event()
    job = world.add("RUNNING")
    world.since_sweep = LONG_AGO

    def look(_job_id: UUID) -> Job | None:
        hanging.wait(60)
        return None

    api = JobApi(world.store, look, lambda: world.since_sweep)
    monkeypatch.setattr(reading, "LOOK_SECONDS", 0.1)

    async def work(client: httpx.AsyncClient) -> list[httpx.Response]:
        unknown = [client.get(f"/v1/jobs/{UUID(int=number)}") for number in range(50)]
        return await asyncio.gather(client.get(f"/v1/jobs/{job.job_id}"), client.get("/v1/jobs"), *unknown)

    try:
        known, listed, *unknown = with_client(api, work)
    finally:
        hanging.set()
        api.close()
    assert (known.status_code, known.headers["narrative-stale"]) == (200, "true")
    assert listed.json()["jobs"] == [record(job)]
    assert {answer.status_code for answer in unknown} == {503}


def test_who_asks_the_same_at_the_same_time_asks_prefect_once(world: World) -> None:
    asked = threading.Event()

    def look(job_id: UUID) -> Job | None:
        asked.wait(10)
        return world.look(job_id)

    async def work() -> list[Job | None]:
        callers = [asyncio.create_task(asking._looked(NEW)) for _ in range(20)]
        await asyncio.sleep(0)
        asked.set()
        return await asyncio.gather(*callers)

    world.runs[NEW] = observed(NEW, "SCHEDULED", NOON)
    asking = reading.Reading(world.store, look, lambda: 0.0)
    answers = asyncio.run(work())
    asking.close()
    assert answers == [world.store.get(JobId(NEW))] * 20
    assert world.looks == [NEW]
