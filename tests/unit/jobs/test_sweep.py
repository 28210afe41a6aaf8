"""One odd run or row must not keep the reconciler from all the others."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from typing_extensions import override

from prefect_narrative.jobs.outbox import Outbox
from prefect_narrative.jobs.prefect_runs import PrefectRuns, observe
from prefect_narrative.jobs.reconciler import Reconciler, look
from prefect_narrative.jobs.record import Job, Observation, RequestSource
from prefect_narrative.testing import MemoryJobStore, observed

NOW = datetime.now(UTC)


class PickyStore(MemoryJobStore):
    """A job table that fails on one job."""

    def __init__(self, refused: UUID) -> None:
        super().__init__()
        self.refused = refused

    @override
    def apply(self, seen: Observation, *, cause: str, if_version: int | None = None) -> Job:
        if seen.job_id == self.refused:
            raise ValueError("an odd run")
        return super().apply(seen, cause=cause, if_version=if_version)


class Runs:
    """Prefect's runs, as a sweep asks for them."""

    def __init__(self, *found: Observation, refusal: int = 0) -> None:
        self.found = found
        self.refusal = refusal

    def now(self) -> datetime:
        return NOW

    def known(self, job_ids: Iterable[UUID]) -> dict[UUID, Observation]:
        return {}

    def due(self, at: datetime) -> Iterator[Observation]:
        yield from self.found

    def ended(self, since: datetime) -> Iterator[Observation]:
        yield from ()

    def asked_for(self, at: datetime) -> Iterator[Observation]:
        yield from ()

    def read(self, job_id: UUID) -> Observation | None:
        if self.refusal:
            request = httpx.Request("GET", "http://prefect")
            response = httpx.Response(self.refusal, request=request)
            raise httpx.HTTPStatusError("refused", request=request, response=response)
        return observed(job_id, "RUNNING", NOW)


def sweep(store: MemoryJobStore, runs: Runs, folder: Path) -> int:
    return Reconciler(store, Outbox(folder)).sweep(cast("PrefectRuns", runs))


def test_a_run_that_can_not_be_stored_does_not_stop_the_sweep(tmp_path: Path) -> None:
    odd, other = uuid4(), uuid4()
    store = PickyStore(odd)
    assert sweep(store, Runs(*(observed(one, "RUNNING", NOW) for one in (odd, other))), tmp_path) == 1
    assert store.get(other) is not None  # type: ignore[arg-type]


def test_an_answer_about_one_job_is_not_taken_for_an_outage(tmp_path: Path) -> None:
    store, job = MemoryJobStore(), uuid4()
    store.apply(observed(job, "PENDING", NOW - timedelta(minutes=1)), cause="test")
    assert sweep(store, Runs(refusal=422), tmp_path) == 0
    with pytest.raises(httpx.HTTPStatusError):
        sweep(store, Runs(refusal=503), tmp_path)
    assert sweep(store, Runs(), tmp_path) == 1


def test_an_older_state_that_a_young_row_keeps_out_is_looked_at_again(tmp_path: Path) -> None:
    """No further sweep looks back as far as the first one: here the server's clock was set back, and not the end."""

    class SetBack(Runs):
        looked_back = False

        def ended(self, since: datetime) -> Iterator[Observation]:
            if not self.looked_back:
                self.looked_back = True
                yield self.read(job)

        def read(self, job_id: UUID) -> Observation:
            return observed(job_id, "CANCELLED", NOW - timedelta(hours=2))

    job, clock = uuid4(), [NOW]
    store, runs = MemoryJobStore(clock=lambda: NOW), cast("PrefectRuns", SetBack())
    store.apply(observed(job, "FAILED", NOW - timedelta(hours=1)), cause="test")
    reconciler = Reconciler(store, Outbox(tmp_path), clock=lambda: clock[0])
    assert reconciler.sweep(runs) == 0
    clock[0] += timedelta(seconds=2)
    assert reconciler.sweep(runs) == 1
    row = store.get(job)  # type: ignore[arg-type]
    assert row is not None
    assert row.state == "cancelled"


def test_the_time_of_the_first_start_is_put_right(tmp_path: Path) -> None:
    """A hook and an event know when a run entered a state, but not that it had run before."""
    job, first = uuid4(), NOW - timedelta(hours=1)
    store = MemoryJobStore(clock=lambda: NOW)
    running = observed(job, "RUNNING", NOW)
    store.apply(running, cause="hook")
    runs = Runs(running.model_copy(update={"started_at": first}))
    assert [sweep(store, runs, tmp_path) for _ in range(2)] == [1, 0]
    row = store.get(job)  # type: ignore[arg-type]
    assert row is not None
    assert row.started_at == first


def test_reading_a_run_that_a_schedule_keeps_ready_makes_no_job_of_it() -> None:
    class Scheduled(Runs):
        def read(self, job_id: UUID) -> Observation:
            nightly = RequestSource(type="schedule", name="nightly")
            later = NOW + timedelta(hours=1)
            return observed(job_id, "SCHEDULED", NOW, request_source=nightly, scheduled_for=later)

        def is_ours(self, seen: Observation) -> bool:
            return True

    store, job, runs = MemoryJobStore(), uuid4(), cast("PrefectRuns", Scheduled())
    assert look(store, runs, job, clock=lambda: NOW) is None
    assert store.get(job) is None  # type: ignore[arg-type]
    found = look(store, runs, job, clock=lambda: NOW + timedelta(hours=1))
    assert found is not None
    assert found.state == "pending"


def run_in(state: State[Any], **fields: Any) -> FlowRun:
    return FlowRun(id=uuid4(), flow_id=uuid4(), name="a run", state=state, **fields)


def test_a_retry_without_a_time_is_a_run_that_waits() -> None:
    seen = observe(run_in(State(type=StateType.PENDING, name="AwaitingRetry")), type="test")
    assert seen.state == "pending"


def test_a_plane_that_is_no_name_is_left_out_of_the_record() -> None:
    seen = observe(run_in(State(type=StateType.RUNNING), parameters={"data_plane": {"name": "x"}}), type="test")
    assert seen.data_plane is None
    assert seen.input == {"data_plane": {"name": "x"}}


def test_a_run_that_can_not_be_understood_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    odd, other = (run_in(State(type=StateType.RUNNING)) for _ in range(2))

    class Client:
        def read_flow_runs(self, *, offset: int, **_: object) -> list[FlowRun]:
            return [odd, other] if offset == 0 else []

    def understood(run: FlowRun, **_: object) -> Observation:
        if run.id == odd.id:
            raise KeyError("SLEEPING")
        return observed(run.id, "RUNNING", NOW)

    monkeypatch.setattr("prefect_narrative.jobs.prefect_runs.observe", understood)
    runs = PrefectRuns(cast("SyncPrefectClient", Client()))
    monkeypatch.setattr(runs, "_flow_name", lambda _: "test")
    assert [one.job_id for one in runs._runs(FlowRunFilter())] == [other.id]
