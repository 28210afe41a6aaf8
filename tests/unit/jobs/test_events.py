"""What an event of Prefect's says about a job."""

from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from prefect.events.schemas.events import Event, Resource

from prefect_narrative.jobs.events import EventFeed, _run_of, observed_in
from prefect_narrative.jobs.prefect_runs import PrefectRuns
from prefect_narrative.jobs.record import Job, JobId, Observation, PrefectState
from prefect_narrative.jobs.states import JobState
from prefect_narrative.testing import MemoryJobStore, observed

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RUN = JobId(uuid4())


def event(type: str, name: str | None = None, *, run: object = RUN, **told: str) -> Event:
    name = name or type.title()
    return Event(
        occurred=NOW + timedelta(seconds=1),
        event=f"prefect.flow-run.{name}",
        resource=Resource(
            {"prefect.resource.id": f"prefect.flow-run.{run}", "prefect.state-type": type, "prefect.state-name": name}
        ),
        payload={"validated_state": {"type": type, "name": name, **told}},
        id=uuid4(),
    )


@pytest.fixture
def row() -> Job:
    return MemoryJobStore().apply(observed(RUN, "SCHEDULED", NOW, type="create-dataset"), cause="test")


@pytest.mark.parametrize(
    ("heard", "state", "times"),
    [
        (event("RUNNING"), JobState.RUNNING, {"started_at"}),
        (event("PAUSED", pause_reschedule="false"), JobState.RUNNING, {"started_at"}),
        (event("CANCELLING"), JobState.PENDING_CANCELLATION, set()),
        (event("CRASHED", message="it died"), JobState.FAILED, {"ended_at"}),
        (event("FAILED", "TimedOut"), JobState.FAILED, {"ended_at"}),
        (event("CANCELLED"), JobState.CANCELLED, {"ended_at"}),
        (event("COMPLETED"), JobState.COMPLETED, {"ended_at"}),
    ],
    ids=lambda value: value.event if isinstance(value, Event) else "",
)
def test_a_move_is_seen_with_the_servers_own_id_and_time(
    heard: Event, state: JobState, times: set[str], row: Job
) -> None:
    told: dict[str, Any] = heard.payload["validated_state"]
    assert observed_in(heard, row) == Observation(
        job_id=RUN,
        type="create-dataset",
        state=state,
        prefect=PrefectState(state_id=heard.id, type=told["type"], name=told["name"], timestamp=heard.occurred),
        message=told.get("message"),
        **dict.fromkeys(times, heard.occurred),
    )


@pytest.mark.parametrize(
    "heard",
    [
        event("SCHEDULED", "AwaitingRetry"),
        event("PENDING", "Submitting"),
        event("PAUSED", "Suspended", pause_reschedule="true"),
        Event(occurred=NOW, event="prefect.flow-run.heartbeat", resource=event("RUNNING").resource, id=uuid4()),
    ],
    ids=lambda heard: heard.event,
)
def test_what_a_job_waits_for_only_its_run_can_tell(heard: Event, row: Job) -> None:
    assert observed_in(heard, row) is None


class Runs:
    """Prefect's runs, of which there is one."""

    def __init__(self, found: Observation) -> None:
        self.found = found
        self.asked = 0

    def read(self, _job_id: UUID) -> Observation:
        self.asked += 1
        return self.found

    def is_ours(self, _seen: Observation) -> bool:
        return True


@pytest.fixture
def feed() -> Iterator[EventFeed]:
    made = EventFeed(MemoryJobStore(), lambda: nullcontext(cast("Any", None)), lambda: None)
    yield made
    made._loop.close()


def test_whether_a_job_that_ends_has_ever_run_only_its_run_can_tell(feed: EventFeed) -> None:
    heard = event("FAILED")
    feed._store.apply(observed(RUN, "PENDING", NOW), cause="test")
    failed = observed(RUN, "FAILED", heard.occurred, started_at=NOW)
    run = failed.model_copy(update={"prefect": failed.prefect.model_copy(update={"state_id": heard.id})})
    feed._bring(cast("PrefectRuns", Runs(run)), heard)
    row = feed._store.get(RUN)
    assert row is not None
    assert (row.state, row.started_at, row.failures[0].code) == (JobState.FAILED, NOW, "failed_without_report")


def test_an_event_that_is_out_before_its_state_is_told_all_the_same(feed: EventFeed) -> None:
    heard = event("CANCELLED")
    before = feed._store.apply(observed(RUN, "PENDING", NOW), cause="test")
    runs = Runs(observed(RUN, "PENDING", NOW))
    feed._bring(cast("PrefectRuns", runs), heard)
    row = feed._store.get(RUN)
    assert row is not None
    assert (runs.asked, row.state, row.prefect.state_id) == (1, JobState.CANCELLED, heard.id)
    assert before.version + 1 == row.version


def test_events_about_something_else_are_about_no_run() -> None:
    odd = Resource({"prefect.resource.id": "prefect.flow-run.' OR 1=1", "prefect.state-type": "RUNNING"})
    for resource in (odd, Resource({"prefect.resource.id": f"prefect.flow-run.{RUN}"})):
        assert _run_of(event("RUNNING").model_copy(update={"resource": resource})) is None
    other = Resource({"prefect.resource.id": f"prefect.task-run.{RUN}", "prefect.state-type": "RUNNING"})
    assert _run_of(event("RUNNING").model_copy(update={"resource": other})) is None
    assert _run_of(event("RUNNING")) == RUN
