from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from pydantic import ValidationError

from prefect_narrative.jobs.record import Job, PrefectState, RequestSource, order_of
from prefect_narrative.jobs.row import Row, storable
from prefect_narrative.jobs.states import JobState

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
STATE = PrefectState(state_id=UUID(int=1), type="SCHEDULED", name="Scheduled", timestamp=NOON)
JOB = Job(
    job_id=UUID(int=7),
    type="sample-dataset",
    request_source=RequestSource(type="api"),
    state=JobState.PENDING,
    created_at=NOON,
    updated_at=NOON,
    prefect=STATE,
)


def after(**changes: object) -> Job:
    return Job(**{**dict(JOB), **changes})


def test_a_job_waits_from_when_it_could_start() -> None:
    assert JOB.queue_seconds is None
    assert after(started_at=NOON + timedelta(seconds=3)).queue_seconds == 3
    later = after(scheduled_for=NOON + timedelta(seconds=2), started_at=NOON + timedelta(seconds=3))
    assert later.queue_seconds == 1
    early = after(scheduled_for=NOON - timedelta(hours=1), started_at=NOON + timedelta(seconds=3))
    assert early.queue_seconds == 3


def test_a_job_runs_from_first_start_to_end() -> None:
    assert after(started_at=NOON).run_seconds is None
    assert after(ended_at=NOON, state=JobState.CANCELLED).run_seconds is None
    assert after(started_at=NOON, ended_at=NOON + timedelta(seconds=5), state=JobState.CANCELLED).run_seconds == 5


def test_a_clock_that_was_set_back_gives_no_negative_time() -> None:
    back = after(started_at=NOON - timedelta(hours=1), ended_at=NOON - timedelta(hours=2), state=JobState.CANCELLED)
    assert (back.queue_seconds, back.run_seconds) == (0, 0)


def test_a_record_needs_time_zones() -> None:
    with pytest.raises(ValidationError):
        after(created_at=datetime(2026, 3, 1))  # noqa: DTZ001 - that is what is refused


def test_states_are_ordered_by_the_servers_time_then_by_id() -> None:
    later = STATE.model_copy(update={"timestamp": NOON + timedelta(microseconds=1), "state_id": UUID(int=0)})
    twin = STATE.model_copy(update={"state_id": UUID(int=2)})
    assert order_of(STATE) < order_of(twin) < order_of(later)


def test_readers_do_not_see_a_stores_bookkeeping() -> None:
    row = Row(**dict(JOB), staged_result={"rows": 1}, rested_attempt=1, last_event=4, trusted=False)
    assert row.job() == JOB
    assert type(row.job()) is Job


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("plain", "plain"),
        ("naïve 🦆", "naïve 🦆"),
        ("a\0b", "a\ufffdb"),
        ("half \ud83e duck", "half \ufffd\ufffd\ufffd duck"),
        (float("nan"), None),
        (float("-inf"), None),
        (1.5, 1.5),
        ({"a\0": [1, ("x\0",), None, True]}, {"a\ufffd": [1, ("x\ufffd",), None, True]}),
        ({3: "three"}, {"3": "three"}),
        (STATE, STATE),
        (STATE.model_copy(update={"name": "\0"}), STATE.model_copy(update={"name": "\ufffd"})),
    ],
)
def test_values_are_kept_as_every_database_can(given: object, kept: object) -> None:
    assert storable(given) == kept
