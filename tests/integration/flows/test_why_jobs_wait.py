"""Why a job waits, as a real Prefect server tells it: each situation is made there, and mended."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from live_platform import Platform
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate, WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions, FlowRun, FlowRunPolicy
from prefect.states import (
    AwaitingRetry,
    Cancelled,
    Cancelling,
    Completed,
    Failed,
    Pending,
    Running,
    Scheduled,
    State,
    Suspended,
)

from prefect_narrative.jobs.record import WaitingCause, WaitingFor
from prefect_narrative.jobs.waiting import Waiting, of_state

AN_HOUR = timedelta(hours=1)
NUMBERS = count()
LIMIT, NO_WORKER, WORKER = WaitingCause.LIMIT, WaitingCause.NO_WORKER, WaitingCause.WORKER


@flow(name="waits")
def waits() -> None:
    """A flow that is never run."""


def utc(at: datetime | None) -> str:
    assert at is not None
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


@dataclass
class Scene:
    """A work pool with one deployment."""

    client: SyncPrefectClient
    pool: str
    queue: UUID
    deployment: UUID
    deployed: str

    def submit(self, state: State[Any] | None = None) -> UUID:
        return self.client.create_flow_run_from_deployment(self.deployment, state=state).id

    def read(self, job_id: UUID) -> FlowRun:
        return self.client.read_flow_run(job_id)

    def move(self, job_id: UUID, *states: State[Any]) -> FlowRun:
        for state in states:
            self.client.set_flow_run_state(job_id, state)
        return self.read(job_id)

    def why(self, job_id: UUID, ahead: timedelta = timedelta()) -> WaitingFor | None:
        """Return why a job waits, or would wait some time ahead if nothing happened until then."""
        return Waiting(self.client).reason(self.read(job_id), datetime.now(UTC) + ahead)

    def ask_for_work(self, worker: str = "up-host") -> list[UUID]:
        """Do as a worker does, and return the runs that it gets; Prefect notes that it asked a moment later."""
        self.client.send_worker_heartbeat(self.pool, worker, 30)
        before = self.client.read_work_queue(self.queue).last_polled
        offered = self.client.get_scheduled_flow_runs_for_work_pool(self.pool)
        until = time.monotonic() + 30
        while self.client.read_work_queue(self.queue).last_polled == before:
            assert time.monotonic() < until, "Prefect never noted that the queue was asked"
            time.sleep(0.05)
        return [one.flow_run.id for one in offered]

    def due(self, job_id: UUID) -> WaitingFor:
        """Return why a job waits that nothing keeps."""
        run = self.read(job_id)
        assert run.state is not None
        at = run.state.state_details.scheduled_time
        fact = f"due since {utc(at)}, worker 'up-host' of work pool '{self.pool}' asks for work every few seconds"
        return WaitingFor(cause=WORKER, fact=fact, since=at)

    def limit(self, **values: Any) -> None:
        """Change the deployment's limit."""
        there = self.client.read_deployment(self.deployment).global_concurrency_limit
        assert there is not None
        self.client.update_global_concurrency_limit(there.name, GlobalConcurrencyLimitUpdate(**values))


@pytest.fixture(scope="module")
def client(platform: Platform) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


def scene_of(client: SyncPrefectClient, *, pool: bool = True, **deployment: Any) -> Scene:
    name = f"waiting-{next(NUMBERS)}"
    made = client.create_work_pool(WorkPoolCreate(name=name, type="process"))
    known = {"work_pool_name": name} if pool else {}
    id_ = client.create_deployment(client.create_flow(waits), name, **known, **deployment)
    return Scene(client, name, made.default_queue_id, id_, f"deployment 'waits/{name}'")


@pytest.fixture
def scene(client: SyncPrefectClient) -> Scene:
    return scene_of(client)


def test_workers_come_and_go(scene: Scene) -> None:
    job = scene.submit()
    pool = f"work pool '{scene.pool}'"
    queue = f"work queue 'default' of {pool}"
    told = [scene.why(job)]
    scene.client.send_worker_heartbeat(scene.pool, "up-host", 30)
    told.append(scene.why(job))
    assert scene.ask_for_work() == [job]
    told.append(scene.why(job))
    beat = scene.client.read_workers_for_work_pool(scene.pool)[0].last_heartbeat_time
    told.append(scene.why(job, ahead=timedelta(minutes=2)))
    assert told == [
        WaitingFor(cause=NO_WORKER, fact=f"{pool} has never had a worker"),
        WaitingFor(cause=NO_WORKER, fact=f"no worker has ever asked {queue} for work"),
        scene.due(job),
        WaitingFor(cause=NO_WORKER, fact=f"{pool} has had no healthy worker since {utc(beat)}", since=beat),
    ]


def test_pauses_of_pool_and_queue_and_deployment(scene: Scene) -> None:
    job = scene.submit()
    scene.client.update_work_pool(scene.pool, WorkPoolUpdate(is_paused=True))
    scene.client.update_work_queue(scene.queue, is_paused=True)
    assert scene.ask_for_work() == []
    paused = WaitingFor(cause=WaitingCause.POOL_PAUSED, fact=f"work pool '{scene.pool}' is paused")
    assert scene.why(job) == paused
    scene.client.update_work_pool(scene.pool, WorkPoolUpdate(is_paused=False))
    assert scene.ask_for_work() == []
    fact = f"work queue 'default' of work pool '{scene.pool}' is paused"
    assert scene.why(job) == WaitingFor(cause=WaitingCause.QUEUE_PAUSED, fact=fact)
    scene.client.update_work_queue(scene.queue, is_paused=False)
    scene.client.pause_deployment(scene.deployment)
    assert scene.ask_for_work() == [job], "a paused deployment keeps no run from starting"
    assert scene.why(job) == scene.due(job)


def test_a_deleted_queue(scene: Scene) -> None:
    queue = scene.client.create_work_queue("other", work_pool_name=scene.pool)
    job = scene.client.create_flow_run_from_deployment(scene.deployment, work_queue_name="other").id
    scene.client.delete_work_queue_by_id(queue.id)
    assert scene.ask_for_work() == []
    fact = f"it is in no work queue, so that no worker of work pool '{scene.pool}' can take it"
    assert scene.why(job) == WaitingFor(cause=NO_WORKER, fact=fact)


def test_limits_of_pool_and_queue(scene: Scene) -> None:
    first, second, job = scene.submit(), scene.submit(), scene.submit()
    scene.client.update_work_pool(scene.pool, WorkPoolUpdate(concurrency_limit=2))
    held = scene.move(first, Pending(), Running())
    scene.move(second, Pending())
    assert scene.ask_for_work() == []
    by_two = WaitingFor(
        cause=LIMIT,
        fact=f"limit 2 of work pool '{scene.pool}' is held by job {first} and 1 other",
        since=held.start_time,
    )
    assert scene.why(job) == by_two
    scene.client.update_work_queue(scene.queue, concurrency_limit=1)
    scene.move(second, Cancelled())
    by_one = WaitingFor(
        cause=LIMIT,
        fact=f"limit 1 of work queue 'default' of work pool '{scene.pool}' is held by job {first}",
        since=held.start_time,
    )
    assert (scene.ask_for_work(), scene.why(job)) == ([], by_one)
    scene.move(first, Cancelling())
    assert (scene.ask_for_work(), scene.why(job)) == ([job], scene.due(job)), "who is cancelling holds none of these"
    scene.client.update_work_pool(scene.pool, WorkPoolUpdate(concurrency_limit=0))
    none = WaitingFor(cause=LIMIT, fact=f"limit 0 of work pool '{scene.pool}' lets no run start")
    assert (scene.ask_for_work(), scene.why(job)) == ([], none)


def test_limit_of_the_deployment(client: SyncPrefectClient) -> None:
    scene = scene_of(client, concurrency_limit=1)
    first, job = scene.submit(), scene.submit()
    held = scene.move(first, Pending(), Running())
    scene.ask_for_work()
    by_first = WaitingFor(
        cause=LIMIT, fact=f"limit 1 of {scene.deployed} is held by job {first}", since=held.start_time
    )
    assert scene.why(job) == by_first, "before a worker has tried"
    tried = scene.move(job, Pending()).state
    assert tried is not None
    assert tried.name == "AwaitingConcurrencySlot"
    assert scene.why(job) == by_first
    scene.move(first, Cancelling())
    assert scene.why(job) == by_first, "who is cancelling holds it"
    scene.move(first, Cancelled())
    fact = (
        f"the concurrency limit of {scene.deployed} was full, the next try is at "
        f"{utc(tried.state_details.scheduled_time)}"
    )
    assert scene.why(job) == WaitingFor(cause=LIMIT, fact=fact, since=tried.timestamp)
    scene.limit(limit=0)
    assert scene.why(job) == WaitingFor(cause=LIMIT, fact=f"limit 0 of {scene.deployed} lets no run start")
    scene.limit(limit=5, active=False)
    assert scene.move(job, Pending()).state_name == "AwaitingConcurrencySlot", "a limit that is off lets none start"
    off = WaitingFor(cause=LIMIT, fact=f"limit 5 of {scene.deployed} is switched off, and so lets no run start")
    assert scene.why(job) == off


def test_limit_of_a_deployment_that_cancels_what_meets_it(client: SyncPrefectClient) -> None:
    strategy = ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
    scene = scene_of(client, concurrency_limit=1, concurrency_options=strategy)
    first, job = scene.submit(), scene.submit()
    scene.move(first, Pending(), Running())
    # The holder fails, and waits in its process for the next attempt: it keeps its slot.
    client.update_flow_run(first, empirical_policy=FlowRunPolicy(retries=1, retry_delay=3600))
    held = scene.move(first, Failed())
    scene.ask_for_work()
    assert (held.state_name, held.empirical_policy.retry_type) == ("AwaitingRetry", "in_process")
    assert scene.why(first, ahead=2 * AN_HOUR) == of_state(held), "no worker would take it"
    fact = f"limit 1 of {scene.deployed} is held by job {first}; a job that meets it is cancelled"
    assert scene.why(job) == WaitingFor(cause=LIMIT, fact=fact, since=held.start_time)
    assert scene.move(job, Pending()).state_name == "Cancelled"
    assert scene.why(job) is None


def test_a_deployment_that_no_pool_has(client: SyncPrefectClient) -> None:
    scene = scene_of(client, pool=False)
    job = scene.submit()
    never = f"{scene.deployed} has no work pool, and no process has ever served it"
    assert scene.why(job) == WaitingFor(cause=NO_WORKER, fact=never)
    client.get_scheduled_flow_runs_for_deployments([scene.deployment])
    until = time.monotonic() + 30
    while (asked := client.read_deployment(scene.deployment).last_polled) is None:
        assert time.monotonic() < until, "Prefect never noted that the deployment was asked"
        time.sleep(0.05)
    at = scene.read(job).next_scheduled_start_time
    fact = f"due since {utc(at)}, the process that serves {scene.deployed} asks for work every few seconds"
    assert scene.why(job) == WaitingFor(cause=WORKER, fact=fact, since=at)
    ended = f"{scene.deployed} has no work pool, and no process has served it since {utc(asked)}"
    assert scene.why(job, ahead=AN_HOUR) == WaitingFor(cause=NO_WORKER, fact=ended, since=asked)


def test_times_and_states_that_explain_themselves(scene: Scene) -> None:
    at = datetime.now(UTC) + AN_HOUR
    later = scene.submit(Scheduled(scheduled_time=at))
    backing_off = scene.submit()
    scene.move(backing_off, Pending(), Running(), Failed(), AwaitingRetry(scheduled_time=at))
    suspended = scene.submit()
    scene.move(suspended, Pending(), Running(), Suspended(timeout_seconds=3600))
    starting = scene.submit()
    scene.move(starting, Pending())
    ended = scene.submit()
    scene.move(ended, Pending(), Running(), Completed())
    told = {job: scene.why(job) for job in (later, backing_off, suspended, starting, ended)}
    states = {job: scene.read(job).state for job in told}
    since = {job: state.timestamp for job, state in states.items() if state is not None}
    paused = states[suspended]
    assert paused is not None
    possible = f"waits to be resumed, which is possible until {utc(paused.state_details.pause_timeout)}"
    assert told == {
        later: WaitingFor(cause=WaitingCause.SCHEDULE, fact=f"scheduled for {utc(at)}", since=since[later]),
        backing_off: WaitingFor(
            cause=WaitingCause.BACKOFF, fact=f"next attempt at {utc(at)}", since=since[backing_off]
        ),
        suspended: WaitingFor(cause=WaitingCause.SUSPENDED, fact=possible, since=since[suspended]),
        starting: WaitingFor(
            cause=WaitingCause.STARTING, fact="a worker has taken it and starts it", since=since[starting]
        ),
        ended: None,
    }
    scene.client.resume_flow_run(suspended)
    for job in (later, backing_off, suspended):
        why = scene.why(job, ahead=2 * AN_HOUR)
        assert why == WaitingFor(cause=NO_WORKER, fact=f"work pool '{scene.pool}' has never had a worker"), "due now"


def test_what_was_deleted_meanwhile_is_told_by_the_state(scene: Scene) -> None:
    run = scene.read(scene.submit())
    scene.client.delete_work_pool(scene.pool)
    assert Waiting(scene.client).reason(run, datetime.now(UTC)) == of_state(run)
