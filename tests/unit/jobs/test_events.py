"""What an event of Prefect's says about a job."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from prefect.events.schemas.events import Event, Resource

from prefect_narrative.jobs.events import _run_of, observed_in
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


def test_events_about_something_else_are_about_no_run() -> None:
    odd = Resource({"prefect.resource.id": "prefect.flow-run.' OR 1=1", "prefect.state-type": "RUNNING"})
    for resource in (odd, Resource({"prefect.resource.id": f"prefect.flow-run.{RUN}"})):
        assert _run_of(event("RUNNING").model_copy(update={"resource": resource})) is None
    other = Resource({"prefect.resource.id": f"prefect.task-run.{RUN}", "prefect.state-type": "RUNNING"})
    assert _run_of(event("RUNNING").model_copy(update={"resource": other})) is None
    assert _run_of(event("RUNNING")) == RUN
