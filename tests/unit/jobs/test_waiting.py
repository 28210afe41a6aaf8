"""Why a pending job waits: one cause for each situation, the first to mend of several, and few questions to Prefect."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, cast
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import (
    ConcurrencyLimitStrategy,
    ConcurrencyOptions,
    Flow,
    FlowRun,
    FlowRunPolicy,
    State,
    StateDetails,
    StateType,
    Worker,
    WorkerStatus,
    WorkPool,
    WorkQueue,
)
from prefect.client.schemas.responses import (
    DeploymentResponse,
    FlowRunSlotSummary,
    GlobalConcurrencyLimitResponse,
    WorkPoolConcurrencyStatus,
    WorkQueueConcurrencyStatusDetail,
)
from prefect.exceptions import ObjectNotFound

from prefect_narrative.jobs.record import WaitingCause, WaitingFor
from prefect_narrative.jobs.waiting import Waiting, of_state

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
AN_HOUR = timedelta(hours=1)
A_MINUTE = timedelta(minutes=1)
POOL, QUEUE, DEPLOYMENT, FLOW = (UUID(int=number) for number in range(1, 5))
JOB, HOLDER = UUID(int=10), UUID(int=11)


def waits(cause: WaitingCause, fact: str, since: datetime | None = None) -> WaitingFor:
    return WaitingFor(cause=cause, fact=fact, since=since)


def state(
    name: str = "Scheduled", type: StateType = StateType.SCHEDULED, at: datetime = NOON, **details: Any
) -> State[Any]:
    return State(type=type, name=name, timestamp=at, state_details=StateDetails(**details))


def run(what: State[Any] | None, id: UUID = JOB, **known: Any) -> FlowRun:
    in_pool = {"work_pool_name": "narrative", "work_queue_id": QUEUE, "work_queue_name": "default"}
    return FlowRun(**{"id": id, "flow_id": FLOW, "deployment_id": DEPLOYMENT, "state": what, **in_pool, **known})


def due(name: str = "Scheduled", **known: Any) -> FlowRun:
    return run(state(name, scheduled_time=NOON), **known)


NO_SLOT = state("AwaitingConcurrencySlot", at=NOON + A_MINUTE, scheduled_time=NOON + A_MINUTE + timedelta(seconds=30))
NOW = NOON + A_MINUTE


def worker(
    name: str, ago: timedelta = timedelta(), status: WorkerStatus = WorkerStatus.ONLINE, every: int = 30
) -> Worker:
    return Worker(
        name=name,
        work_pool_id=POOL,
        status=status,
        last_heartbeat_time=NOW - ago,
        heartbeat_interval_seconds=every,
    )


def limit(most: int, taken: int, *, active: bool = True) -> GlobalConcurrencyLimitResponse:
    return GlobalConcurrencyLimitResponse(name="x", limit=most, active_slots=taken, active=active)


def slot(id: UUID, since: datetime, *, started: bool = True) -> FlowRunSlotSummary:
    return FlowRunSlotSummary(
        id=id,
        name="x",
        state_type=StateType.RUNNING if started else StateType.PENDING,
        start_time=since if started else None,
        state_timestamp=since + (A_MINUTE if started else timedelta()),
    )


@dataclass
class Prefect:
    """What a server knows; every question is counted, and may be answered with an exception."""

    pool: dict[str, Any] = field(default_factory=dict)
    queue: dict[str, Any] = field(default_factory=dict)
    workers: list[Worker] = field(default_factory=lambda: [worker("up-host")])
    slots: list[FlowRunSlotSummary] = field(default_factory=list)
    other_slots: list[FlowRunSlotSummary] = field(default_factory=list)
    """Those of another queue of the pool."""
    deployment: dict[str, Any] = field(default_factory=dict)
    runs: list[FlowRun] = field(default_factory=list)
    refusals: dict[str, Exception] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)

    def _asked(self, what: str) -> None:
        self.asked[what] += 1
        if what in self.refusals:
            raise self.refusals[what]

    def read_work_pool(self, name: str) -> WorkPool:
        self._asked("pool")
        return WorkPool(**{"id": POOL, "name": name, "type": "process", "default_queue_id": QUEUE, **self.pool})

    def read_work_queue(self, id: UUID) -> WorkQueue:
        self._asked("queue")
        known = {"id": id, "name": "default", "work_pool_id": POOL, "last_polled": NOW - timedelta(seconds=5)}
        return WorkQueue(**{**known, **self.queue})

    def read_workers_for_work_pool(self, name: str) -> list[Worker]:
        self._asked("workers")
        return self.workers

    def read_work_pool_concurrency_status(self, name: str) -> WorkPoolConcurrencyStatus:
        self._asked("slots")
        queues = [
            WorkQueueConcurrencyStatusDetail(
                queue_id=queue, queue_name="x", active_slots=len(slots), flow_runs=slots[:10]
            )
            for queue, slots in ((uuid4(), self.other_slots), (QUEUE, self.slots))
        ]
        in_all = len(self.slots) + len(self.other_slots)
        return WorkPoolConcurrencyStatus(active_slots=in_all, queues=queues, count=2, limit=200, pages=1, page=1)

    def read_deployment(self, id: UUID) -> DeploymentResponse:
        self._asked("deployment")
        known = {"id": id, "name": "narrative", "flow_id": FLOW, "work_pool_name": "narrative"}
        return DeploymentResponse(**{**known, **self.deployment})

    def read_flow(self, id: UUID) -> Flow:
        self._asked("flow")
        return Flow(id=id, name="sample-dataset")

    def read_flow_runs(self, *, flow_run_filter: Any, sort: Any, limit: int) -> list[FlowRun]:
        self._asked("runs")
        wanted = flow_run_filter.state
        of_type = wanted.type.any_ if wanted.type else list(StateType)
        of_name = wanted.name.any_ if wanted.name else None
        found = [one for one in self.runs if one.state and one.state.type in of_type]
        return [one for one in found if of_name is None or (one.state and one.state.name in of_name)][:limit]

    def waiting(self) -> Waiting:
        return Waiting(cast(SyncPrefectClient, self))

    def reason(self, one: FlowRun, now: datetime = NOW) -> WaitingFor | None:
        return self.waiting().reason(one, now)


LIMIT, NO_WORKER = WaitingCause.LIMIT, WaitingCause.NO_WORKER
STARTING = "a worker has taken it and starts it"

BY_ITSELF: list[tuple[State[Any], WaitingFor | None]] = [
    (
        state(scheduled_time=NOON + AN_HOUR),
        waits(WaitingCause.SCHEDULE, "scheduled for 2026-03-01 13:00:00 UTC", NOON),
    ),
    (
        state("AwaitingRetry", scheduled_time=NOON + AN_HOUR),
        waits(WaitingCause.BACKOFF, "next attempt at 2026-03-01 13:00:00 UTC", NOON),
    ),
    (
        state("Suspended", StateType.PAUSED, pause_reschedule=True),
        waits(WaitingCause.SUSPENDED, "waits to be resumed", NOON),
    ),
    (
        state("Suspended", StateType.PAUSED, pause_reschedule=True, pause_timeout=NOON + AN_HOUR),
        waits(WaitingCause.SUSPENDED, "waits to be resumed, which is possible until 2026-03-01 13:00:00 UTC", NOON),
    ),
    *(
        (state(name, StateType.PENDING, scheduled_time=NOON), waits(WaitingCause.STARTING, STARTING, NOON))
        for name in ("Pending", "Submitting", "InfrastructurePending")
    ),
    (state("Paused", StateType.PAUSED), None),
    (state("Running", StateType.RUNNING), None),
    (state("Cancelling", StateType.CANCELLING), None),
    (state("Completed", StateType.COMPLETED), None),
]


@pytest.mark.parametrize(("what", "why"), BY_ITSELF, ids=lambda value: getattr(value, "name", ""))
def test_states_that_explain_themselves_ask_nothing(what: State[Any], why: WaitingFor | None) -> None:
    prefect = Prefect()
    assert (of_state(what), of_state(run(what)), prefect.reason(run(what))) == (why, why, why)
    assert not prefect.asked


def test_a_run_without_a_state_waits_for_nothing() -> None:
    assert (of_state(run(None)), Prefect().reason(run(None), NOW)) == (None, None)


@pytest.mark.parametrize(
    "what",
    [
        state(scheduled_time=NOON),
        state("Late", at=NOON + A_MINUTE, scheduled_time=NOON),
        state("Resuming", scheduled_time=NOON),
        state("A name that somebody gave it", scheduled_time=NOON),
    ],
    ids=lambda value: value.name,
)
def test_the_state_alone_of_a_run_that_is_due(what: State[Any]) -> None:
    since = "due since 2026-03-01 12:00:00 UTC"
    assert of_state(what) == waits(WaitingCause.WORKER, f"{since}, no worker has taken it yet", NOON)
    told = f"{since}, worker 'up-host' of work pool 'narrative' asks for work every few seconds"
    assert Prefect().reason(run(what)) == waits(WaitingCause.WORKER, told, NOON)


def test_the_state_alone_of_a_run_that_found_no_slot() -> None:
    fact = "waits for a slot of its deployment's concurrency limit"
    assert of_state(NO_SLOT) == waits(LIMIT, fact, NO_SLOT.timestamp)


def test_a_time_is_waited_for_until_it_has_come() -> None:
    later = run(state(scheduled_time=NOON + AN_HOUR))
    again = run(state("AwaitingRetry", scheduled_time=NOON + AN_HOUR))
    by_itself = run(again.state, empirical_policy=FlowRunPolicy(retry_type="in_process"))
    prefect = Prefect(queue={"last_polled": NOON + AN_HOUR})
    told = waits(
        WaitingCause.WORKER,
        "due since 2026-03-01 13:00:00 UTC, a worker of work pool 'narrative' asks for work every few seconds",
        NOON + AN_HOUR,
    )
    assert prefect.reason(later, NOON + AN_HOUR - timedelta(seconds=2)) == of_state(later)
    assert prefect.reason(again, NOON + AN_HOUR - timedelta(seconds=2)) == of_state(again)
    assert not prefect.asked
    assert prefect.reason(later, NOON + AN_HOUR) == told
    assert prefect.reason(again, NOON + AN_HOUR - timedelta(seconds=1)) == told, "the clock is read to the second"
    assert prefect.reason(by_itself, NOON + 2 * AN_HOUR) == of_state(again), "no worker would take it"


def test_a_run_moved_to_a_later_time_by_a_clock_set_back() -> None:
    told = waits(WaitingCause.SCHEDULE, "scheduled for 2026-03-01 12:00:00 UTC", NOON)
    assert Prefect().reason(due(), NOON - AN_HOUR) == told


RUNNING = run(state("Running", StateType.RUNNING, at=NOON), HOLDER, start_time=NOON - AN_HOUR)
QUIET = {"last_polled": NOON - AN_HOUR}

SITUATIONS: list[tuple[str, Prefect, FlowRun, WaitingFor]] = [
    (
        "pool paused",
        Prefect(pool={"is_paused": True}),
        due(),
        waits(WaitingCause.POOL_PAUSED, "work pool 'narrative' is paused"),
    ),
    (
        "queue paused",
        Prefect(queue={"is_paused": True}),
        due(),
        waits(WaitingCause.QUEUE_PAUSED, "work queue 'default' of work pool 'narrative' is paused"),
    ),
    (
        "no worker ever",
        Prefect(queue={"last_polled": None}, workers=[]),
        due("Late"),
        waits(NO_WORKER, "work pool 'narrative' has never had a worker"),
    ),
    (
        "workers gone",
        Prefect(queue=QUIET, workers=[worker("b", AN_HOUR), worker("a", AN_HOUR / 2, WorkerStatus.OFFLINE)]),
        due("Late"),
        waits(
            NO_WORKER,
            "work pool 'narrative' has had no healthy worker since 2026-03-01 11:31:00 UTC",
            NOW - AN_HOUR / 2,
        ),
    ),
    (
        "worker gone, and not marked so yet",
        Prefect(queue=QUIET, workers=[worker("a", timedelta(seconds=61))]),
        due(),
        waits(
            NO_WORKER,
            "work pool 'narrative' has had no healthy worker since 2026-03-01 11:59:59 UTC",
            NOON - timedelta(seconds=1),
        ),
    ),
    (
        "worker gone, soon after it asked",
        Prefect(queue={"last_polled": NOW - timedelta(seconds=59)}, workers=[worker("a", timedelta(seconds=61))]),
        due(),
        waits(
            NO_WORKER,
            "work pool 'narrative' has had no healthy worker since 2026-03-01 11:59:59 UTC",
            NOON - timedelta(seconds=1),
        ),
    ),
    (
        "server down for an hour, worker asks again",
        Prefect(queue={"last_polled": NOW}, workers=[worker("a", AN_HOUR)]),
        due(),
        waits(
            WaitingCause.WORKER,
            "due since 2026-03-01 12:00:00 UTC, a worker of work pool 'narrative' asks for work every few seconds",
            NOON,
        ),
    ),
    (
        "workers deleted",
        Prefect(queue=QUIET, workers=[]),
        due(),
        waits(
            NO_WORKER,
            "no worker has asked work queue 'default' of work pool 'narrative' for work since 2026-03-01 11:00:00 UTC",
            NOON - AN_HOUR,
        ),
    ),
    (
        "worker of slow heart, but of other queues",
        Prefect(queue=QUIET, workers=[worker("a", AN_HOUR, every=3600)]),
        due(),
        waits(
            NO_WORKER,
            "no worker has asked work queue 'default' of work pool 'narrative' for work since 2026-03-01 11:00:00 UTC",
            NOON - AN_HOUR,
        ),
    ),
    (
        "worker of other queues",
        Prefect(queue={"last_polled": None}),
        due(),
        waits(NO_WORKER, "no worker has ever asked work queue 'default' of work pool 'narrative' for work"),
    ),
    (
        "queue deleted",
        Prefect(),
        due(work_pool_name=None, work_queue_id=None),
        waits(NO_WORKER, "it is in no work queue, so that no worker of work pool 'narrative' can take it"),
    ),
    (
        "never served",
        Prefect(deployment={"work_pool_name": None}),
        due(work_pool_name=None, work_queue_id=None),
        waits(
            NO_WORKER,
            "deployment 'sample-dataset/narrative' has no work pool, and no process has ever served it",
        ),
    ),
    (
        "served no more",
        Prefect(deployment={"work_pool_name": None, "last_polled": NOON - AN_HOUR}),
        due(work_pool_name=None, work_queue_id=None),
        waits(
            NO_WORKER,
            "deployment 'sample-dataset/narrative' has no work pool, and no process has served it since "
            "2026-03-01 11:00:00 UTC",
            NOON - AN_HOUR,
        ),
    ),
    (
        "served",
        Prefect(deployment={"work_pool_name": None, "last_polled": NOON}),
        due(work_pool_name=None, work_queue_id=None),
        waits(
            WaitingCause.WORKER,
            "due since 2026-03-01 12:00:00 UTC, the process that serves deployment 'sample-dataset/narrative' "
            "asks for work every few seconds",
            NOON,
        ),
    ),
    (
        "served, limit held",
        Prefect(
            deployment={"work_pool_name": None, "last_polled": NOON, "global_concurrency_limit": limit(1, 1)},
            runs=[RUNNING],
        ),
        due(work_pool_name=None, work_queue_id=None),
        waits(LIMIT, f"limit 1 of deployment 'sample-dataset/narrative' is held by job {HOLDER}", NOON - AN_HOUR),
    ),
    (
        "pool limit",
        Prefect(
            pool={"concurrency_limit": 2},
            slots=[slot(uuid4(), NOON, started=False)],
            other_slots=[slot(HOLDER, NOON - A_MINUTE)],
        ),
        due(),
        waits(LIMIT, f"limit 2 of work pool 'narrative' is held by job {HOLDER} and 1 other", NOON - A_MINUTE),
    ),
    (
        "pool limit of many",
        Prefect(
            pool={"concurrency_limit": 4},
            slots=[
                slot(uuid4(), NOON),
                slot(uuid4(), NOON),
                slot(uuid4(), NOON),
                slot(HOLDER, NOON - AN_HOUR, started=False),
            ],
        ),
        due(),
        waits(LIMIT, f"limit 4 of work pool 'narrative' is held by job {HOLDER} and 3 others", NOON - AN_HOUR),
    ),
    (
        "pool limit of none",
        Prefect(pool={"concurrency_limit": 0}),
        due(),
        waits(LIMIT, "limit 0 of work pool 'narrative' lets no run start"),
    ),
    (
        "queue limit",
        Prefect(
            pool={"concurrency_limit": 9},
            queue={"concurrency_limit": 1},
            slots=[slot(HOLDER, NOON)],
            other_slots=[slot(uuid4(), NOON - AN_HOUR)],
        ),
        due(),
        waits(LIMIT, f"limit 1 of work queue 'default' of work pool 'narrative' is held by job {HOLDER}", NOON),
    ),
    (
        "limits with room",
        Prefect(
            pool={"concurrency_limit": 2},
            queue={"concurrency_limit": 1},
            other_slots=[slot(HOLDER, NOON)],
            deployment={"global_concurrency_limit": limit(2, 1)},
        ),
        due(),
        waits(
            WaitingCause.WORKER,
            "due since 2026-03-01 12:00:00 UTC, worker 'up-host' of work pool 'narrative' asks for work "
            "every few seconds",
            NOON,
        ),
    ),
    (
        "deployment limit, before a worker has tried",
        Prefect(deployment={"global_concurrency_limit": limit(1, 1)}, runs=[RUNNING]),
        due("Late"),
        waits(LIMIT, f"limit 1 of deployment 'sample-dataset/narrative' is held by job {HOLDER}", NOON - AN_HOUR),
    ),
    (
        "deployment limit, after a worker has tried",
        Prefect(deployment={"global_concurrency_limit": limit(4, 4)}, runs=[RUNNING]),
        run(NO_SLOT),
        waits(
            LIMIT,
            f"limit 4 of deployment 'sample-dataset/narrative' is held by job {HOLDER} and 3 others",
            NOON - AN_HOUR,
        ),
    ),
    (
        "deployment limit, CANCEL_NEW",
        Prefect(
            deployment={
                "global_concurrency_limit": limit(1, 1),
                "concurrency_options": ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
            },
            runs=[RUNNING],
        ),
        due(),
        waits(
            LIMIT,
            f"limit 1 of deployment 'sample-dataset/narrative' is held by job {HOLDER}; "
            "a job that meets it is cancelled",
            NOON - AN_HOUR,
        ),
    ),
    (
        "deployment limit held by a process between two attempts",
        Prefect(
            deployment={"global_concurrency_limit": limit(1, 1)},
            runs=[
                run(state("AwaitingRetry"), empirical_policy=FlowRunPolicy(retry_type="reschedule")),
                run(
                    state("AwaitingRetry"),
                    HOLDER,
                    start_time=NOON,
                    empirical_policy=FlowRunPolicy(retry_type="in_process"),
                ),
            ],
        ),
        due(),
        waits(LIMIT, f"limit 1 of deployment 'sample-dataset/narrative' is held by job {HOLDER}", NOON),
    ),
    (
        "deployment limit held by a slot without a run",
        Prefect(deployment={"global_concurrency_limit": limit(1, 1)}),
        run(NO_SLOT),
        waits(
            LIMIT,
            "limit 1 of deployment 'sample-dataset/narrative' is full, and none of its runs is seen to hold it",
        ),
    ),
    (
        "deployment limit free again",
        Prefect(deployment={"global_concurrency_limit": limit(1, 0)}),
        run(NO_SLOT),
        waits(
            LIMIT,
            "the concurrency limit of deployment 'sample-dataset/narrative' was full, "
            "the next try is at 2026-03-01 12:01:30 UTC",
            NO_SLOT.timestamp,
        ),
    ),
    (
        "limits held by the run itself, which has moved on since it was read",
        Prefect(
            pool={"concurrency_limit": 1},
            slots=[slot(JOB, NOON, started=False)],
            deployment={"global_concurrency_limit": limit(1, 1)},
            runs=[run(state("Pending", StateType.PENDING))],
        ),
        due(),
        waits(
            WaitingCause.WORKER,
            "due since 2026-03-01 12:00:00 UTC, worker 'up-host' of work pool 'narrative' asks for work "
            "every few seconds",
            NOON,
        ),
    ),
    (
        "deployment limit of none",
        Prefect(deployment={"global_concurrency_limit": limit(0, 0)}, runs=[RUNNING]),
        due("Late"),
        waits(LIMIT, "limit 0 of deployment 'sample-dataset/narrative' lets no run start"),
    ),
    (
        "deployment limit switched off",
        Prefect(deployment={"global_concurrency_limit": limit(5, 0, active=False)}),
        run(NO_SLOT),
        waits(LIMIT, "limit 5 of deployment 'sample-dataset/narrative' is switched off, and so lets no run start"),
    ),
    (
        "paused deployment",
        Prefect(deployment={"paused": True}, workers=[worker("b"), worker("a"), worker("c", AN_HOUR)]),
        due(),
        waits(
            WaitingCause.WORKER,
            "due since 2026-03-01 12:00:00 UTC, worker 'a' of work pool 'narrative' and 1 other ask for work "
            "every few seconds",
            NOON,
        ),
    ),
    (
        "push pool",
        Prefect(pool={"type": "ecs:push"}, queue={"last_polled": None}, workers=[]),
        due(),
        waits(
            WaitingCause.WORKER,
            "due since 2026-03-01 12:00:00 UTC, work pool 'narrative' starts its runs by itself",
            NOON,
        ),
    ),
]


@pytest.mark.parametrize(
    ("prefect", "one", "why"), [situation[1:] for situation in SITUATIONS], ids=[s[0] for s in SITUATIONS]
)
def test_each_situation_has_one_cause(prefect: Prefect, one: FlowRun, why: WaitingFor) -> None:
    assert prefect.reason(one) == why


def test_every_cause_is_told_in_some_situation() -> None:
    told = {why.cause for _, why in BY_ITSELF if why} | {why.cause for *_, why in SITUATIONS}
    assert told == set(WaitingCause)


MENDINGS: list[Callable[[Prefect], None]] = [
    lambda prefect: prefect.pool.update(is_paused=False),
    lambda prefect: prefect.queue.update(is_paused=False),
    lambda prefect: prefect.queue.update(last_polled=NOW),
    lambda prefect: prefect.pool.update(concurrency_limit=3),
    lambda prefect: prefect.queue.update(concurrency_limit=3),
    lambda prefect: prefect.deployment.update(global_concurrency_limit=limit(3, 1)),
]


def test_what_must_be_mended_first_is_named() -> None:
    prefect = Prefect(
        pool={"is_paused": True, "concurrency_limit": 1},
        queue={"is_paused": True, "last_polled": None, "concurrency_limit": 1},
        workers=[],
        slots=[slot(HOLDER, NOON)],
        deployment={"global_concurrency_limit": limit(1, 1)},
        runs=[RUNNING],
    )
    told = [prefect.reason(due())]
    for mend in MENDINGS:
        mend(prefect)
        told.append(prefect.reason(due()))
    assert [one.cause for one in told if one] == [
        WaitingCause.POOL_PAUSED,
        WaitingCause.QUEUE_PAUSED,
        NO_WORKER,
        LIMIT,
        LIMIT,
        LIMIT,
        WaitingCause.WORKER,
    ]
    assert all(one != other for one, other in pairwise(told)), "each mending shows"
    assert "of work pool" in str(told[3])
    assert "of work queue" in str(told[4])
    assert "of deployment" in str(told[5])


def test_many_runs_cost_no_more_questions_than_one() -> None:
    prefect = Prefect(
        pool={"concurrency_limit": 9},
        deployment={"global_concurrency_limit": limit(1, 1)},
        runs=[RUNNING],
    )
    waiting = prefect.waiting()
    told = {waiting.reason(due(id=uuid4()), NOW) for _ in range(300)}
    assert len(told) == 1
    once = Counter(dict.fromkeys(("pool", "queue", "workers", "slots", "deployment", "flow", "runs"), 1))
    assert prefect.asked == once
    waiting.forget()
    waiting.reason(due(), NOW)
    assert prefect.asked == Counter({**dict.fromkeys(once, 2), "flow": 1}), "a flow's name is for ever"


def test_a_mending_shows_after_forgetting() -> None:
    prefect = Prefect(pool={"is_paused": True})
    waiting = prefect.waiting()
    before = waiting.reason(due(), NOW)
    prefect.pool["is_paused"] = False
    assert waiting.reason(due(), NOW) == before
    waiting.forget()
    after = waiting.reason(due(), NOW)
    assert after is not None
    assert after.cause is WaitingCause.WORKER


REFUSED = httpx.HTTPStatusError(
    "403", request=httpx.Request("GET", "http://prefect"), response=httpx.Response(403, text="no")
)


@pytest.mark.parametrize(
    "exc", [REFUSED, ObjectNotFound(REFUSED), ValueError("no JSON")], ids=lambda exc: type(exc).__name__
)
@pytest.mark.parametrize(
    ("what", "as_the_state_tells"),
    [("pool", True), ("queue", True), ("workers", False), ("slots", False), ("deployment", False)],
)
def test_what_prefect_does_not_tell_is_left_out(what: str, as_the_state_tells: bool, exc: Exception) -> None:
    prefect = Prefect(
        pool={"concurrency_limit": 0},
        queue={"last_polled": None},
        workers=[],
        deployment={"global_concurrency_limit": limit(0, 0)},
        refusals={what: exc},
    )
    if what in {"slots", "deployment"}:
        prefect.queue["last_polled"] = NOW
    if what == "deployment":
        prefect.pool.clear()
    waiting = prefect.waiting()
    told = waiting.reason(due(), NOW)
    assert told is not None
    if as_the_state_tells:
        assert told == of_state(due())
    else:
        assert told.cause in {LIMIT, WaitingCause.WORKER}
    waiting.reason(due(), NOW)
    assert prefect.asked[what] == 1, "nor is it asked again"


def test_holders_and_names_that_prefect_does_not_tell() -> None:
    prefect = Prefect(
        deployment={"global_concurrency_limit": limit(1, 1)},
        refusals={"runs": REFUSED, "flow": ObjectNotFound(REFUSED)},
    )
    fact = "limit 1 of deployment 'narrative' is full, and none of its runs is seen to hold it"
    assert prefect.reason(due()) == waits(LIMIT, fact)


def test_a_run_of_no_deployment_is_told_by_its_state() -> None:
    stray = due(deployment_id=None, work_pool_name=None, work_queue_id=None)
    assert Prefect().reason(stray) == of_state(stray)
    no_slot = run(NO_SLOT, deployment_id=None, work_pool_name=None, work_queue_id=None)
    assert Prefect().reason(no_slot) == of_state(NO_SLOT)


def test_a_server_out_of_reach_is_not_taken_for_an_answer() -> None:
    prefect = Prefect(refusals={"workers": httpx.ConnectError("down")}, queue={"last_polled": None})
    waiting = prefect.waiting()
    for _ in range(2):
        with pytest.raises(httpx.ConnectError):
            waiting.reason(due(), NOW)
    prefect.refusals.clear()
    told = waiting.reason(due(), NOW)
    assert told is not None
    assert told.cause is NO_WORKER
