"""When a job whose process died is tried again."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from prefect_narrative.errors import FailureKind
from prefect_narrative.jobs.record import Failure, Job, PrefectState, RequestSource
from prefect_narrative.jobs.retries import BACKOFF, RETRY_GRACE, WORKER_DONE_AFTER, backoff, has_ended, retry_due
from prefect_narrative.jobs.states import JobState

AT = datetime(2026, 1, 1, tzinfo=UTC)


def failed(*kinds: FailureKind, **changes: object) -> Job:
    failures = tuple(
        Failure(attempt=number, at=AT, kind=kind, code="c", message="m", remedy="r", retryable=kind.retryable)
        for number, kind in enumerate(kinds, 1)
    )
    whole = Job(
        job_id=UUID(int=1),
        type="t",
        request_source=RequestSource(type="api"),
        state=JobState.FAILED,
        attempt=max(1, len(kinds)),
        failures=failures,
        created_at=AT,
        started_at=AT,
        updated_at=AT,
        ended_at=AT,
        prefect=PrefectState(state_id=UUID(int=2), type="CRASHED", name="Crashed", timestamp=AT),
    )
    return whole.model_copy(update=changes)


DIED = FailureKind.INFRASTRUCTURE


def test_two_retries_with_growing_waits() -> None:
    assert retry_due(failed(DIED)) == AT + WORKER_DONE_AFTER
    assert retry_due(failed(DIED, DIED)) == AT + BACKOFF[1]
    assert retry_due(failed(DIED, DIED, DIED)) is None
    assert [backoff(used) for used in range(5)] == [*BACKOFF, BACKOFF[-1], BACKOFF[-1]]


@pytest.mark.parametrize(("most", "died", "again"), [(0, 1, False), (1, 1, True), (1, 2, False), (5, 4, True)])
def test_the_run_may_say_how_often(most: int, died: int, again: bool) -> None:
    job = failed(*[DIED] * died, input={"max_retries": most})
    assert (retry_due(job) is not None) == again


@pytest.mark.parametrize(
    "job",
    [
        failed(),
        failed(FailureKind.INPUT),
        failed(FailureKind.CONFLICT),  # a living process tries again by itself
        failed(DIED, started_at=None),
        failed(DIED, attempt=2),  # the failure of this attempt is not known yet
        failed(DIED, state=JobState.CANCELLED),
        failed(DIED, state=JobState.RUNNING, ended_at=None),
    ],
)
def test_everything_else_stays_as_it_is(job: Job) -> None:
    assert retry_due(job) is None


def test_a_nonsensical_number_means_the_usual_one() -> None:
    assert retry_due(failed(DIED, input={"max_retries": "many"})) == AT + WORKER_DONE_AFTER


def test_a_job_has_ended_when_nobody_is_about_to_try_it_again() -> None:
    assert not has_ended(failed(DIED), AT)
    assert not has_ended(failed(DIED), AT + WORKER_DONE_AFTER + RETRY_GRACE - timedelta(microseconds=1))
    assert has_ended(failed(DIED), AT + WORKER_DONE_AFTER + RETRY_GRACE)
    assert has_ended(failed(FailureKind.INPUT), AT)
    assert has_ended(failed(DIED, input={"max_retries": 0}), AT)
    assert has_ended(failed(state=JobState.CANCELLED), AT)
    assert not has_ended(failed(ended_at=None, state=JobState.RUNNING), AT)
