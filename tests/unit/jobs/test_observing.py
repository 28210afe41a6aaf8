"""When a job started and ended, as Prefect's run tells it."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, State, StateType

from prefect_narrative.jobs.prefect_runs import observe

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(minutes=1)


def times_of(type: StateType, **known: Any) -> tuple[datetime | None, datetime | None]:
    state: State[Any] = State(type=type, timestamp=LATER)
    seen = observe(FlowRun(id=uuid4(), flow_id=uuid4(), name="a run", state=state, **known), type="test")
    return seen.started_at, seen.ended_at


def test_a_run_that_runs_started_when_prefect_says_or_when_it_came_to_run() -> None:
    assert times_of(StateType.RUNNING, start_time=NOON, run_count=1) == (NOON, None)
    assert times_of(StateType.RUNNING) == (LATER, None)


@pytest.mark.parametrize("type", [StateType.FAILED, StateType.CRASHED, StateType.CANCELLED])
def test_a_run_that_ended_before_it_ran_has_not_started(type: StateType) -> None:
    assert times_of(type, start_time=LATER, end_time=LATER) == (None, LATER)
    assert times_of(type, start_time=NOON, end_time=LATER, run_count=1) == (NOON, LATER)


def test_an_end_that_follows_another_is_the_later_one() -> None:
    # What events and hooks say, too: the time of the state.
    assert times_of(StateType.COMPLETED, start_time=NOON, end_time=NOON, run_count=1) == (NOON, LATER)
