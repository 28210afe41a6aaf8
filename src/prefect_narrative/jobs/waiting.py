"""Why a pending job does not run yet: one cause, and the fact that shows it.

A state tells the cause by itself where the run waits for a time, to be resumed, or for a process that starts. Of a run
that is due it tells nothing: then Prefect's work pools, queues, workers and limits are asked. Of several causes that
hold at once, the first of these is named, since mending a later one would not help:

1. the work pool is paused;
2. the work queue is paused;
3. nobody asks for the work: no healthy worker, or the run is in no queue (that was deleted);
4. a concurrency limit is full: the work pool's, the work queue's, the deployment's;
5. none of these: a worker asks for work, and takes the run soon.

A paused deployment is no cause. Prefect makes no runs by its schedules then, but the runs that there are start, and new
ones may be asked for. Two things can't be seen from here: the limit that a worker was started with (its own `--limit`),
and, for the first minute, that a worker is gone.
"""

import logging
from collections.abc import Callable, Hashable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateName,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import (
    ConcurrencyLimitStrategy,
    FlowRun,
    State,
    StateType,
    Worker,
    WorkerStatus,
    WorkPool,
    WorkQueue,
)
from prefect.client.schemas.responses import DeploymentResponse, WorkPoolConcurrencyStatus
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import PrefectException

from prefect_narrative.jobs.record import WaitingCause, WaitingFor

logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")

SOON = timedelta(seconds=1)
"""What is due within this is due: the server's clock is read to the second."""
PRESENT = timedelta(seconds=60)
"""Who asked for work or gave a sign of life within this is there: workers do so every 10 and every 30 seconds."""
_NO_SLOT = "AwaitingConcurrencySlot"
_HOLDING = FlowRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING, StateType.CANCELLING])
_RETRYING = FlowRunFilterStateName(any_=["AwaitingRetry"])


def of_state(seen: FlowRun | State[Any]) -> WaitingFor | None:
    """Return what a pending run waits for as far as its state alone tells; None where it is not pending."""
    state = seen.state if isinstance(seen, FlowRun) else seen
    if state is None:
        return None
    if state.type is StateType.SCHEDULED:
        return _of_scheduled(state)
    if state.type is StateType.PENDING:
        return WaitingFor(
            cause=WaitingCause.STARTING, fact="a worker has taken it and starts it", since=state.timestamp
        )
    if state.type is StateType.PAUSED and state.state_details.pause_reschedule:
        until = state.state_details.pause_timeout
        fact = "waits to be resumed" if until is None else f"waits to be resumed, which is possible until {_at(until)}"
        return WaitingFor(cause=WaitingCause.SUSPENDED, fact=fact, since=state.timestamp)
    return None


def _of_scheduled(state: State[Any]) -> WaitingFor:
    at = _start(state)
    if state.name == _NO_SLOT:
        fact = "waits for a slot of its deployment's concurrency limit"
        return WaitingFor(cause=WaitingCause.LIMIT, fact=fact, since=state.timestamp)
    if state.name == "AwaitingRetry":
        return WaitingFor(cause=WaitingCause.BACKOFF, fact=f"next attempt at {_at(at)}", since=state.timestamp)
    if at - state.timestamp > SOON:
        return WaitingFor(cause=WaitingCause.SCHEDULE, fact=f"scheduled for {_at(at)}", since=state.timestamp)
    return _due(state, "no worker has taken it yet")


class Waiting:
    """Tells why pending runs wait; each pool, queue and deployment is asked for once, until `forget` is called.

    Args:
        client: A synchronous Prefect client; its owner closes it. One thread at a time.
    """

    def __init__(self, client: SyncPrefectClient) -> None:
        self._client = client
        self._answers: dict[Hashable, Any] = {}
        self._flow_names: dict[UUID, str] = {}

    def forget(self) -> None:
        """Ask anew from now on, as at the beginning of a sweep."""
        self._answers.clear()

    def reason(self, run: FlowRun, now: datetime) -> WaitingFor | None:
        """Return what a pending run waits for; None where it is not pending.

        Where Prefect refuses a question or its answer can't be understood, it is what the state alone tells.

        Args:
            run: The run, with its state.
            now: The time by the server's clock.

        Raises:
            httpx.TransportError: Prefect can't be reached.
        """
        told, state = of_state(run), run.state
        if told is None or state is None or state.type is not StateType.SCHEDULED:
            return told
        if run.empirical_policy.retry_type == "in_process":
            return told  # its own process waits, and no worker would take it
        if state.name == _NO_SLOT:
            return self._kept(run, state, now) or told
        at = _start(state)
        if at - now <= SOON:
            return self._kept(run, state, now) or _due(state, "no worker has taken it yet")
        if told.cause is WaitingCause.BACKOFF:
            return told
        return WaitingFor(cause=WaitingCause.SCHEDULE, fact=f"scheduled for {_at(at)}", since=state.timestamp)

    def _kept(self, run: FlowRun, state: State[Any], now: datetime) -> WaitingFor | None:
        """Return what keeps a run that is due from starting; None where Prefect does not tell."""
        if run.work_pool_name is None or run.work_queue_id is None:
            return self._kept_without_pool(run, state, now)
        name, queue_id = run.work_pool_name, run.work_queue_id
        pool = self._ask(("pool", name), lambda: self._client.read_work_pool(name))
        queue = self._ask(("queue", queue_id), lambda: self._client.read_work_queue(queue_id))
        if pool is None or queue is None:
            return None
        return (
            _paused(pool, queue)
            or self._no_worker(pool, queue, now)
            or self._pool_limit(run, pool, queue)
            or self._deployment_limit(run, state)
            or _due(state, self._who_asks(pool, now))
        )

    def _kept_without_pool(self, run: FlowRun, state: State[Any], now: datetime) -> WaitingFor | None:
        """Return what keeps a run that no work pool has: one of a deployment that a process serves, or a stray."""
        deployment = self._deployment(run)
        if deployment is None:
            return None
        name = self._name_of(deployment)
        if deployment.work_pool_name is not None:
            fact = f"it is in no work queue, so that no worker of {_pool(deployment.work_pool_name)} can take it"
            return WaitingFor(cause=WaitingCause.NO_WORKER, fact=fact)
        asked = deployment.last_polled
        if asked is None:
            fact = f"{name} has no work pool, and no process has ever served it"
            return WaitingFor(cause=WaitingCause.NO_WORKER, fact=fact)
        if now - asked > PRESENT:
            fact = f"{name} has no work pool, and no process has served it since {_at(asked)}"
            return WaitingFor(cause=WaitingCause.NO_WORKER, fact=fact, since=asked)
        return self._deployment_limit(run, state) or _due(
            state, f"the process that serves {name} asks for work every few seconds"
        )

    def _no_worker(self, pool: WorkPool, queue: WorkQueue, now: datetime) -> WaitingFor | None:
        workers = None if _starts_by_itself(pool) else self._workers(pool)
        if workers is None:
            return None
        newest = max((one.last_heartbeat_time for one in workers if one.last_heartbeat_time), default=None)
        healthy, asked = any(_healthy(one, now) for one in workers), queue.last_polled
        if newest is not None and not healthy and (asked is None or asked <= newest + PRESENT):
            fact, since = f"{_pool(pool.name)} has had no healthy worker since {_at(newest)}", newest
        elif asked is not None and now - asked <= PRESENT:
            return None  # also where no worker's sign of life has come yet: the server was down for a while
        elif asked is not None:
            fact, since = f"no worker has asked {_queue(pool, queue)} for work since {_at(asked)}", asked
        elif healthy:
            fact, since = f"no worker has ever asked {_queue(pool, queue)} for work", None
        else:
            fact, since = f"{_pool(pool.name)} has never had a worker", None
        return WaitingFor(cause=WaitingCause.NO_WORKER, fact=fact, since=since)

    def _who_asks(self, pool: WorkPool, now: datetime) -> str:
        if _starts_by_itself(pool):
            return f"{_pool(pool.name)} starts its runs by itself"
        healthy = sorted(one.name for one in self._workers(pool) or () if _healthy(one, now))
        if not healthy:
            return f"a worker of {_pool(pool.name)} asks for work every few seconds"
        who = f"worker {healthy[0]!r} of {_pool(pool.name)}"
        return (
            f"{_and_others(who, len(healthy) - 1)} {'asks' if len(healthy) == 1 else 'ask'} for work every few seconds"
        )

    def _pool_limit(self, run: FlowRun, pool: WorkPool, queue: WorkQueue) -> WaitingFor | None:
        """Return the limit of the work pool or of the work queue that is full."""
        if pool.concurrency_limit is None and queue.concurrency_limit is None:
            return None
        taken = self._ask(("slots", pool.name), lambda: self._client.read_work_pool_concurrency_status(pool.name))
        if taken is None or any(one.id == run.id for queue_ in taken.queues for one in queue_.flow_runs):
            return None  # it has a slot itself by now
        in_queue = [one for one in taken.queues if one.queue_id == queue.id]
        in_use = sum(one.active_slots for one in in_queue)
        if pool.concurrency_limit is not None and taken.active_slots >= pool.concurrency_limit:
            holder, since = _oldest(taken)
            return _full(pool.concurrency_limit, _pool(pool.name), taken.active_slots, holder, since)
        if queue.concurrency_limit is not None and in_use >= queue.concurrency_limit:
            holder, since = _oldest(taken.model_copy(update={"queues": in_queue}))
            return _full(queue.concurrency_limit, _queue(pool, queue), in_use, holder, since)
        return None

    def _deployment_limit(self, run: FlowRun, state: State[Any]) -> WaitingFor | None:
        deployment = self._deployment(run)
        if deployment is None:
            return None
        name, limit = self._name_of(deployment), deployment.global_concurrency_limit
        if limit is not None and not limit.active:
            fact = f"limit {limit.limit} of {name} is switched off, and so lets no run start"
            return WaitingFor(cause=WaitingCause.LIMIT, fact=fact)
        full = limit is not None and limit.active_slots >= limit.limit
        holder, since = self._holder(deployment.id) if full else (None, None)
        if limit is not None and full and holder != run.id:  # else it has a slot itself by now
            options = deployment.concurrency_options
            refuses = options is not None and options.collision_strategy is ConcurrencyLimitStrategy.CANCEL_NEW
            more = "; a job that meets it is cancelled" if refuses else ""
            return _full(limit.limit, name, limit.active_slots, holder, since, more)
        if state.name == _NO_SLOT:
            at = _start(state)
            fact = f"the concurrency limit of {name} was full, the next try is at {_at(at)}"
            return WaitingFor(cause=WaitingCause.LIMIT, fact=fact, since=state.timestamp)
        return None

    def _holder(self, deployment_id: UUID) -> tuple[UUID | None, datetime | None]:
        """Return the run of a deployment that holds a slot for longest, and since when; None where there is none."""
        for run in self._runs_of(deployment_id, FlowRunFilterState(type=_HOLDING), limit=1):
            return run.id, run.start_time or (run.state.timestamp if run.state else None)
        # A process that waits for its next attempt keeps its slot.
        for run in self._runs_of(deployment_id, FlowRunFilterState(name=_RETRYING), limit=200):
            if run.empirical_policy.retry_type == "in_process":
                return run.id, run.start_time
        return None, None

    def _runs_of(self, deployment_id: UUID, state: FlowRunFilterState, limit: int) -> list[FlowRun]:
        """Return runs of a deployment that are in a state, the oldest first."""
        narrowed = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment_id]), state=state)
        first = FlowRunSort.START_TIME_ASC
        runs = self._ask(
            ("runs", deployment_id, state.model_dump_json()),
            lambda: self._client.read_flow_runs(flow_run_filter=narrowed, sort=first, limit=limit),
        )
        return runs or []

    def _deployment(self, run: FlowRun) -> DeploymentResponse | None:
        if (id_ := run.deployment_id) is None:
            return None
        return self._ask(("deployment", id_), lambda: self._client.read_deployment(id_))

    def _name_of(self, deployment: DeploymentResponse) -> str:
        flow = deployment.flow_id
        if flow not in self._flow_names:
            read = self._ask(("flow", flow), lambda: self._client.read_flow(flow))
            if read is None:
                return f"deployment {deployment.name!r}"
            self._flow_names[flow] = read.name
        return f"deployment {f'{self._flow_names[flow]}/{deployment.name}'!r}"

    def _workers(self, pool: WorkPool) -> list[Worker] | None:
        return self._ask(("workers", pool.name), lambda: self._client.read_workers_for_work_pool(pool.name))

    def _ask(self, what: Hashable, ask: Callable[[], Answer]) -> Answer | None:
        """Return Prefect's answer, asked for once; None where it refuses or its answer can't be understood."""
        if what not in self._answers:
            self._answers[what] = None
            try:
                self._answers[what] = ask()
            except httpx.TransportError:
                del self._answers[what]
                raise
            except (httpx.HTTPError, PrefectException, ValueError) as exc:
                logger.debug("Prefect does not say what it knows of %s: %s", what, exc)
        answer: Answer | None = self._answers[what]
        return answer


def _due(state: State[Any], who: str) -> WaitingFor:
    at = _start(state)
    return WaitingFor(cause=WaitingCause.WORKER, fact=f"due since {_at(at)}, {who}", since=at)


def _start(state: State[Any]) -> datetime:
    """Return when a scheduled run may start; Prefect gives each such state a time."""
    return state.state_details.scheduled_time or state.timestamp


def _paused(pool: WorkPool, queue: WorkQueue) -> WaitingFor | None:
    # Prefect keeps no time at which they were paused.
    if pool.is_paused:
        return WaitingFor(cause=WaitingCause.POOL_PAUSED, fact=f"{_pool(pool.name)} is paused")
    if queue.is_paused:
        return WaitingFor(cause=WaitingCause.QUEUE_PAUSED, fact=f"{_queue(pool, queue)} is paused")
    return None


def _full(limit: int, of: str, taken: int, holder: UUID | None, since: datetime | None, more: str = "") -> WaitingFor:
    if limit == 0:
        fact, since = f"limit 0 of {of} lets no run start", None
    elif holder is None:
        fact = f"limit {limit} of {of} is full, and none of its runs is seen to hold it{more}"
    else:
        fact = f"limit {limit} of {of} is held by {_and_others(f'job {holder}', taken - 1)}{more}"
    return WaitingFor(cause=WaitingCause.LIMIT, fact=fact, since=since)


def _oldest(taken: WorkPoolConcurrencyStatus) -> tuple[UUID | None, datetime | None]:
    runs = [run for queue in taken.queues for run in queue.flow_runs]
    held = [(since, run.id) for run in runs if (since := run.start_time or run.state_timestamp) is not None]
    since, holder = min(held, default=(None, None))
    return holder, since


def _and_others(first: str, others: int) -> str:
    if others < 1:
        return first
    return f"{first} and {others} other{'s' if others > 1 else ''}"


def _starts_by_itself(pool: WorkPool) -> bool:
    return pool.is_push_pool or pool.is_managed_pool


def _healthy(worker: Worker, now: datetime) -> bool:
    at = worker.last_heartbeat_time
    longest = max(PRESENT, 2 * timedelta(seconds=worker.heartbeat_interval_seconds or 0))
    return worker.status is WorkerStatus.ONLINE and at is not None and now - at <= longest


def _pool(name: str) -> str:
    return f"work pool {name!r}"


def _queue(pool: WorkPool, queue: WorkQueue) -> str:
    return f"work queue {queue.name!r} of {_pool(pool.name)}"


def _at(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
