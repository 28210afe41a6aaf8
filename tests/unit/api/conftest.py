import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid4

import httpx
import pytest

from prefect_narrative.api.app import JobApi
from prefect_narrative.jobs.record import Job, JobId, Observation
from prefect_narrative.testing import MemoryJobStore, observed

Answer = TypeVar("Answer")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class World:
    """A job table, and a Prefect that knows runs of which the table need not know."""

    store: MemoryJobStore = field(default_factory=MemoryJobStore)
    runs: dict[UUID, Observation] = field(default_factory=dict)
    trouble: Exception | None = None
    """What asking Prefect raises."""
    since_sweep: float = 0.0
    looks: list[UUID] = field(default_factory=list)
    """The runs that Prefect was asked about."""

    def look(self, job_id: UUID) -> Job | None:
        self.looks.append(job_id)
        if self.trouble is not None:
            raise self.trouble
        if job_id not in self.runs:
            return None
        return self.store.apply(self.runs[job_id], cause="read")

    def api(self, **options: Any) -> JobApi:
        return JobApi(self.store, self.look, lambda: self.since_sweep, **options)

    def add(self, prefect_type: str = "SCHEDULED", minute: int = 0, **known: Any) -> Job:
        """Put a job into the table."""
        at = NOON + timedelta(minutes=minute)
        job_id = known.pop("job_id", None) or uuid4()
        return self.store.apply(observed(job_id, prefect_type, at, **{"created_at": at, **known}), cause="hook")

    def end(self, job: Job, prefect_type: str = "CANCELLED") -> Job:
        return self.store.apply(observed(job.job_id, prefect_type, datetime.now(UTC)), cause="hook")

    def now(self, job: Job) -> Job:
        row = self.store.get(JobId(job.job_id))
        assert row is not None
        return row


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def api(world: World) -> Iterator[JobApi]:
    made = world.api()
    yield made
    made.close()


def client_of(api: JobApi) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app=api.app, raise_app_exceptions=False), base_url="http://127.0.0.1:4711"
    )


def with_client(api: JobApi, work: Callable[[httpx.AsyncClient], Coroutine[Any, Any, Answer]]) -> Answer:
    """What `work` returns, which calls the API in an event loop of its own."""

    async def run() -> Answer:
        async with client_of(api) as client:
            return await work(client)

    return asyncio.run(run())


def get(api: JobApi, path: str, **options: Any) -> httpx.Response:
    return with_client(api, lambda client: client.get(path, **options))


def code_of(answer: httpx.Response) -> str:
    """The code of an error, which has a message and a remedy and nothing else."""
    told = answer.json()
    assert set(told) == {"error"}
    assert set(told["error"]) == {"code", "message", "remedy"}
    assert all(told["error"].values())
    return str(told["error"]["code"])
