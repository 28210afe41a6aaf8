import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest

from prefect_narrative.api.app import JobApi
from prefect_narrative.api.reading import LOOKING_THREADS, READING_THREADS
from prefect_narrative.jobs.document import record
from prefect_narrative.jobs.record import Executor, Job, JobId
from prefect_narrative.jobs.states import JobState
from prefect_narrative.jobs.store import JobTableUnavailableError
from prefect_narrative.testing import observed
from tests.unit.api.conftest import World, code_of, get, with_client


def waited(api: JobApi, job: Job, then: Callable[[], Any], *, callers: int = 1) -> list[httpx.Response]:
    """What callers are answered who wait for the job's end, when something happens while they wait."""

    async def work(client: httpx.AsyncClient) -> list[httpx.Response]:
        asked = [asyncio.create_task(client.get(f"/v1/jobs/{job.job_id}?wait=60")) for _ in range(callers)]
        while api._long_poll._count < callers and not asked[0].done():
            await asyncio.sleep(0.01)
        then()
        return await asyncio.wait_for(asyncio.gather(*asked), 30)

    return with_client(api, work)


def test_the_answer_comes_when_the_job_ends(world: World, api: JobApi) -> None:
    job = world.add("RUNNING")
    (answer,) = waited(api, job, lambda: world.end(job))
    assert (answer.status_code, answer.json()) == (200, record(world.now(job)))
    assert answer.json()["state"] == "cancelled"


def test_a_job_at_rest_is_told_at_once(world: World, api: JobApi) -> None:
    job = world.add("CANCELLED")
    assert get(api, f"/v1/jobs/{job.job_id}?wait=60").json() == record(job)


def test_when_the_time_is_over_the_job_is_told_as_it_is(world: World, api: JobApi) -> None:
    job = world.add("RUNNING")
    answer = get(api, f"/v1/jobs/{job.job_id}?wait=0.01")
    assert (answer.status_code, answer.json()) == (200, record(job))
    assert api._long_poll._waiting == {}


def test_prefect_is_asked_at_the_end_of_the_time_where_no_sweep_was_lately(world: World, api: JobApi) -> None:
    job = world.add("RUNNING")
    world.since_sweep = 60.0
    world.runs[job.job_id] = observed(job.job_id, "RUNNING", job.prefect.timestamp)

    async def work(client: httpx.AsyncClient) -> httpx.Response:
        asked = asyncio.create_task(client.get(f"/v1/jobs/{job.job_id}?wait=1"))
        while not api._long_poll._count and not asked.done():
            await asyncio.sleep(0.01)
        world.runs[job.job_id] = observed(job.job_id, "CANCELLED", datetime.now(UTC))
        return await asked

    assert with_client(api, work).json()["state"] == "cancelled"


def test_a_job_whose_process_died_is_waited_for_until_its_next_attempt_ends(world: World, api: JobApi) -> None:
    job = world.add("RUNNING")
    job_id = JobId(job.job_id)
    died = world.end(job, "CRASHED")
    assert died.state is JobState.FAILED
    assert get(api, f"/v1/jobs/{job_id}").headers["narrative-ended"] == "false"

    def try_again() -> None:
        world.end(job, "RUNNING")
        token = world.store.begin_attempt(job_id, Executor(host="h", pid=1)).token
        world.store.stage_result(job_id, token, {"rows": 3})
        world.end(job, "COMPLETED")

    (answer,) = waited(api, job, try_again)
    told = answer.json()
    assert (told["state"], told["result"], told["attempt"]) == ("completed", {"rows": 3}, 2)


def test_many_callers_need_few_threads(world: World, api: JobApi) -> None:
    job = world.add("RUNNING")
    most: list[int] = []

    def end() -> None:
        most.append(threading.active_count())
        world.end(job)

    before = threading.active_count()
    answers = waited(api, job, end, callers=400)
    assert {answer.json()["state"] for answer in answers} == {"cancelled"}
    assert most[0] <= before + READING_THREADS + LOOKING_THREADS
    assert api._long_poll._waiting == {}


def test_each_caller_is_told_of_its_own_job(world: World, api: JobApi) -> None:
    jobs = [world.add("RUNNING", minute) for minute in range(30)]

    async def work(client: httpx.AsyncClient) -> list[httpx.Response]:
        asked = [asyncio.create_task(client.get(f"/v1/jobs/{job.job_id}?wait=60")) for job in jobs]
        while api._long_poll._count < len(jobs):
            await asyncio.sleep(0.01)
        for job in reversed(jobs):
            world.end(job)
        return await asyncio.wait_for(asyncio.gather(*asked), 30)

    assert [answer.json() for answer in with_client(api, work)] == [record(world.now(job)) for job in jobs]


def test_too_many_are_sent_away_and_come_back(world: World) -> None:
    api, job = world.api(most_waiting=3), world.add("RUNNING")

    async def work(client: httpx.AsyncClient) -> tuple[httpx.Response, list[httpx.Response], httpx.Response]:
        path = f"/v1/jobs/{job.job_id}"
        asked = [asyncio.create_task(client.get(f"{path}?wait=60")) for _ in range(3)]
        while api._long_poll._count < 3:
            await asyncio.sleep(0.01)
        refused = await client.get(f"{path}?wait=60")
        assert (await client.get(path)).status_code == 200
        world.end(job)
        return refused, list(await asyncio.gather(*asked)), await client.get(f"{path}?wait=60")

    refused, answers, later = with_client(api, work)
    api.close()
    assert (refused.status_code, code_of(refused)) == (503, "too_many_waiting")
    assert int(refused.headers["retry-after"]) > 0
    assert [answer.status_code for answer in [*answers, later]] == [200] * 4


def test_at_the_end_everybody_is_let_go(world: World, api: JobApi) -> None:
    job = world.add("RUNNING")
    answers = waited(api, job, api.let_go, callers=20)
    assert [answer.json() for answer in answers] == [record(job)] * 20
    assert get(api, f"/v1/jobs/{job.job_id}?wait=60").json() == record(job)


def test_a_table_that_is_down_for_a_while_ends_no_wait(
    world: World, api: JobApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, failures = world.add("RUNNING"), []
    get_job = world.store.get

    def down_at_first(job_id: JobId) -> Job | None:
        if len(failures) < 2:
            failures.append(job_id)
            raise (JobTableUnavailableError if len(failures) == 1 else ZeroDivisionError)
        return get_job(job_id)

    def trouble() -> None:
        monkeypatch.setattr(world.store, "get", down_at_first)
        world.end(job)

    (answer,) = waited(api, job, trouble)
    assert answer.json()["state"] == "cancelled"
    assert len(failures) == 2


def test_a_row_that_cannot_be_read_keeps_nobody_from_the_others(
    world: World, api: JobApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd, job = world.add("RUNNING", job_id=uuid4()), world.add("RUNNING")
    get_job = world.store.get

    def odd_row(job_id: JobId) -> Job | None:
        if job_id == odd.job_id:
            raise ValueError("an odd row")
        return get_job(job_id)

    async def work(client: httpx.AsyncClient) -> httpx.Response:
        first = asyncio.create_task(client.get(f"/v1/jobs/{odd.job_id}?wait=60"))
        second = asyncio.create_task(client.get(f"/v1/jobs/{job.job_id}?wait=60"))
        while api._long_poll._count < 2:
            await asyncio.sleep(0.01)
        monkeypatch.setattr(world.store, "get", odd_row)
        world.end(job)
        answer = await asyncio.wait_for(second, 30)
        first.cancel()
        return answer

    assert with_client(api, work).json()["state"] == "cancelled"
