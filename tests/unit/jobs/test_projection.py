from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_narrative.errors import FailureKind, SupersededError
from prefect_narrative.jobs import work
from prefect_narrative.jobs.projection import is_due, project
from prefect_narrative.jobs.record import (
    Executor,
    Failure,
    JobEvent,
    JobId,
    Observation,
    Progress,
    RequestSource,
    Usage,
    WaitingCause,
    WaitingFor,
    order_of,
)
from prefect_narrative.jobs.row import Row
from prefect_narrative.jobs.states import MOVES, STATE_OF_PREFECT_TYPE, JobState, Move, state_of
from prefect_narrative.testing import MemoryJobStore, observed

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW = NOON + timedelta(hours=1)
JOB_ID = JobId(UUID(int=7))
EXECUTOR = Executor(host="here", pid=1)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def seen(prefect_type: str, second: float, **known: Any) -> Observation:
    return observed(JOB_ID, prefect_type, at(second), **known)


def row_after(*observations: Observation, row: Row | None = None) -> Row:
    for one in observations:
        row, _ = project(row, one, NOW, cause="test")
    assert row is not None
    return row


def failure(attempt: int = 1, **known: Any) -> Failure:
    common = {"kind": FailureKind.DATA, "code": "bad_cast", "message": "no", "remedy": "mend", "retryable": False}
    return Failure(**{"attempt": attempt, "at": at(5), **common, **known})


def guesses(row: Row) -> list[tuple[int, str, str, bool]]:
    return [(one.attempt, one.kind.value, one.code, one.detail.get("guessed", False)) for one in row.failures]


def test_a_first_observation_makes_the_row_and_its_event() -> None:
    one = seen(
        "SCHEDULED",
        0,
        type="sample-dataset",
        input={"dataset": "flights"},
        tags=("b", "a", "b"),
        request_source=RequestSource(type="schedule", name="nightly"),
        idempotency_key="k",
        parent_job_id=UUID(int=1),
        data_plane="default",
        dataset="flights",
        created_at=at(-1),
        scheduled_for=at(60),
        waiting_for=WaitingFor(cause=WaitingCause.SCHEDULE, fact="due at noon"),
    )
    row, event = project(None, one, NOW, cause="cli")
    assert row == Row(
        job_id=JOB_ID,
        type="sample-dataset",
        idempotency_key="k",
        parent_job_id=UUID(int=1),
        request_source=RequestSource(type="schedule", name="nightly"),
        tags=("a", "b"),
        state=JobState.PENDING,
        waiting_for=WaitingFor(cause=WaitingCause.SCHEDULE, fact="due at noon"),
        input={"dataset": "flights"},
        data_plane="default",
        dataset="flights",
        created_at=at(-1),
        scheduled_for=at(60),
        updated_at=NOW,
        prefect=one.prefect,
        last_event=1,
    )
    assert event == JobEvent(
        job_id=JOB_ID,
        number=1,
        from_state=None,
        to_state=JobState.PENDING,
        move=Move.NORMAL,
        at=NOON,
        cause="cli",
        attempt=1,
    )


def test_what_nobody_knew_has_a_default() -> None:
    row = row_after(seen("RUNNING", 3))
    assert (row.request_source, row.created_at, row.started_at) == (RequestSource(type="api"), at(3), at(3))


def test_none_leaves_what_the_row_has() -> None:
    first = seen("SCHEDULED", 0, input={"a": 1}, tags=("t",), dataset="d", data_plane="p", created_at=at(-9))
    row = row_after(first, seen("RUNNING", 1))
    assert (row.input, row.tags, row.dataset, row.data_plane, row.created_at) == ({"a": 1}, ("t",), "d", "p", at(-9))


def test_the_same_news_changes_nothing() -> None:
    row = row_after(seen("RUNNING", 1))
    again, event = project(row, seen("RUNNING", 1), NOW + timedelta(hours=1), cause="sweep")
    assert again is row
    assert event is None


def test_another_state_of_the_same_kind_is_a_write_without_an_event() -> None:
    row = row_after(seen("SCHEDULED", 0))
    after, event = project(row, seen("PENDING", 1), NOW, cause="hook")
    assert event is None
    assert (after.version, after.last_event, after.prefect.type) == (2, 1, "PENDING")


@pytest.mark.parametrize(("before", "after"), list(product(STATE_OF_PREFECT_TYPE, STATE_OF_PREFECT_TYPE)))
def test_every_pair_of_prefects_states_keeps_the_rules(before: str, after: str) -> None:
    row = row_after(seen(before, 1))
    row = row.model_copy(update={"staged_result": {"rows": 1}})
    moved, event = project(row, seen(after, 2), NOW, cause="test")
    assert moved.state is state_of(after)
    if moved.state is row.state:
        assert event is None
    else:
        assert event is not None
        assert (event.from_state, event.to_state) == (row.state, moved.state)
        assert event.move is MOVES[row.state, moved.state]
        assert event.number == row.last_event + 1
        assert event.attempt == moved.attempt
    assert (moved.ended_at is not None) == moved.state.terminal
    assert (moved.result is not None) == (moved.state is JobState.COMPLETED)
    assert moved.attempt == (2 if row.state.terminal and not moved.state.terminal else 1)
    if moved.state.terminal:
        assert any(one.attempt == moved.attempt for one in moved.failures) == (moved.state is JobState.FAILED)
    assert moved.version == row.version + 1


def test_an_end_is_when_prefect_says_or_when_the_state_came() -> None:
    assert row_after(seen("CANCELLED", 4)).ended_at == at(4)
    assert row_after(seen("CANCELLED", 4, ended_at=at(3))).ended_at == at(3)
    assert row_after(seen("FAILED", 4), seen("CANCELLED", 5)).ended_at == at(5)


def test_the_first_start_stays() -> None:
    row = row_after(seen("RUNNING", 1), seen("FAILED", 2), seen("SCHEDULED", 3, name="AwaitingRetry"))
    assert row_after(seen("RUNNING", 9), row=row).started_at == at(1)
    assert row_after(seen("RUNNING", 9, started_at=at(0.5)), row=row).started_at == at(0.5)


def test_an_end_before_the_start_is_kept_as_it_is() -> None:
    row = row_after(seen("RUNNING", 10), seen("CANCELLED", 3))
    assert (row.started_at, row.ended_at, row.run_seconds) == (at(10), at(3), 0)


@pytest.mark.parametrize(
    ("observations", "expected"),
    [
        ([seen("RUNNING", 1), seen("CRASHED", 2)], ("infrastructure", "process_died")),
        ([seen("CRASHED", 2)], ("infrastructure", "process_died")),
        ([seen("RUNNING", 1), seen("FAILED", 2, name="TimedOut")], ("resource", "timed_out")),
        ([seen("PENDING", 1), seen("FAILED", 2)], ("input", "invalid_parameters")),
        ([seen("PENDING", 1), seen("FAILED", 2, started_at=at(1))], ("internal", "failed_without_report")),
        ([seen("RUNNING", 1), seen("FAILED", 2)], ("internal", "failed_without_report")),
        ([seen("RUNNING", 1), seen("COMPLETED", 2)], ("operator", "no_result")),
    ],
)
def test_a_failure_that_nobody_reported_is_guessed(observations: list[Observation], expected: tuple[str, str]) -> None:
    row = row_after(*observations)
    assert row.state is JobState.FAILED
    assert guesses(row) == [(1, *expected, True)]
    assert row.failures[0].retryable == FailureKind(expected[0]).retryable


def test_a_guess_says_what_prefect_said() -> None:
    row = row_after(seen("FAILED", 2, message="rows: must be at most 1000"))
    assert row.failures[0].message == "rows: must be at most 1000"


def test_a_reported_failure_is_not_guessed_over() -> None:
    row = work.fail(row_after(seen("RUNNING", 1)), failure(), NOW)
    assert row_after(seen("FAILED", 6), seen("CRASHED", 7), row=row).failures == (failure(),)


def test_a_reported_failure_replaces_a_guess_and_the_first_stands() -> None:
    row = work.fail(row_after(seen("RUNNING", 1), seen("FAILED", 6)), failure(), NOW)
    assert row.failures == (failure(),)
    assert work.fail(row, failure(code="other", detail={"guessed": True}), NOW) is row
    assert work.fail(row, failure(code="cancelled_while_running"), NOW) is row


def test_two_attempts_that_took_the_same_number_both_keep_their_failure() -> None:
    row = work.fail(work.fail(row_after(seen("RUNNING", 1)), failure(1), NOW), failure(3), NOW)
    other = failure(1, message="not either")
    both = work.fail(row, other, NOW)
    assert both.failures == (failure(1), other.model_copy(update={"attempt": 2}), failure(3))
    assert work.fail(both, other, NOW) is both  # its letter comes again
    third = work.fail(both, failure(2, message="neither"), NOW)
    assert (third.attempt, [one.attempt for one in third.failures]) == (4, [1, 2, 3, 4])


def test_a_failure_of_an_attempt_that_the_table_did_not_see_begin_says_that_there_was_one() -> None:
    row = work.fail(row_after(seen("RUNNING", 1)), failure(3), NOW)
    assert (row.attempt, row.failures) == (3, (failure(3),))
    assert row_after(seen("FAILED", 6), seen("RUNNING", 7), row=row).attempt == 4


def test_a_newer_guess_replaces_an_older() -> None:
    assert guesses(row_after(seen("RUNNING", 1), seen("FAILED", 2), seen("CRASHED", 3))) == [
        (1, "infrastructure", "process_died", True)
    ]


def test_a_guess_goes_when_the_job_did_not_fail_after_all() -> None:
    row = row_after(seen("RUNNING", 1), seen("CRASHED", 2), seen("CANCELLED", 3))
    assert row.failures == ()


def test_a_staged_result_becomes_the_result() -> None:
    staged, _ = work.stage(row_after(seen("RUNNING", 1)), 0, {"rows": 3}, NOW)
    assert (staged.result, staged.staged_result) == (None, {"rows": 3})
    row = row_after(seen("COMPLETED", 2), row=staged)
    assert (row.state, row.result, row.staged_result, row.failures) == ("completed", {"rows": 3}, None, ())


def test_an_empty_result_is_a_result() -> None:
    staged, _ = work.stage(row_after(seen("RUNNING", 1)), 0, {}, NOW)
    assert row_after(seen("COMPLETED", 2), row=staged).result == {}


def test_a_result_that_comes_late_completes_the_job() -> None:
    row = row_after(seen("RUNNING", 1), seen("COMPLETED", 2))
    restored, event = work.stage(row, 0, {"rows": 3}, NOW)
    assert event == JobEvent(
        job_id=JOB_ID,
        number=3,
        from_state=JobState.FAILED,
        to_state=JobState.COMPLETED,
        move=Move.CORRECTION,
        at=at(2),
        cause="result: staged after the run had completed",
        attempt=1,
    )
    assert (restored.state, restored.result, restored.failures) == ("completed", {"rows": 3}, ())
    assert (restored.ended_at, restored.version, restored.last_event) == (at(2), 3, 3)
    assert work.stage(restored, 0, {"rows": 3}, NOW) == (restored, None)


def test_a_result_that_comes_late_does_not_complete_a_run_that_failed() -> None:
    row = row_after(seen("RUNNING", 1), seen("FAILED", 2))
    staged, event = work.stage(row, 0, {"rows": 3}, NOW)
    assert event is None
    assert (staged.state, staged.staged_result) == ("failed", {"rows": 3})
    assert row_after(seen("COMPLETED", 3), row=staged).result == {"rows": 3}


def test_reopening_empties_the_end_and_keeps_the_failures() -> None:
    row = row_after(seen("RUNNING", 1))
    row = work.advance(work.fail(row, failure(), NOW), Progress(message="half", fraction=0.5, at=at(2)))
    row = row_after(seen("FAILED", 6), row=row)
    assert row.progress is not None
    after, event = project(row, seen("SCHEDULED", 7, name="AwaitingRetry"), NOW, cause="event")
    assert event is not None
    assert event.move is Move.REOPENING
    assert (after.ended_at, after.result, after.progress) == (None, None, None)
    assert (after.failures, after.attempt) == ((failure(),), 2)


def test_reopening_a_completed_job_hides_its_result() -> None:
    staged, _ = work.stage(row_after(seen("RUNNING", 1)), 0, {"rows": 3}, NOW)
    row = row_after(seen("COMPLETED", 2), seen("SCHEDULED", 3, name="AwaitingRetry"), row=staged)
    assert (row.state, row.result, row.attempt) == ("pending", None, 2)
    row = row_after(seen("RUNNING", 4), row=work.begin(row, EXECUTOR, NOW))
    assert row.result is None
    assert row_after(seen("COMPLETED", 5), row=row).result == {"rows": 3}
    row, _ = work.stage(row, row.token, {"rows": 4}, NOW)
    assert row_after(seen("COMPLETED", 5), row=row).result == {"rows": 4}


def test_a_result_survives_news_that_was_old() -> None:
    staged, _ = work.stage(row_after(seen("RUNNING", 1)), 0, {"rows": 3}, NOW)
    # The server's clock was set back, so that a message of before looks new.
    row = row_after(seen("COMPLETED", 0.5), seen("RUNNING", 1), seen("COMPLETED", 0.5), row=staged)
    assert (row.state, row.result, row.failures) == ("completed", {"rows": 3}, ())


def test_a_result_survives_being_forced_away_and_back() -> None:
    staged, _ = work.stage(row_after(seen("RUNNING", 1)), 0, {"rows": 3}, NOW)
    row = row_after(seen("COMPLETED", 2), seen("CANCELLED", 3), row=staged)
    assert row.result is None
    assert row_after(seen("COMPLETED", 4), row=row).result == {"rows": 3}


def test_what_a_job_waits_for_goes_with_the_state_that_made_it_wait() -> None:
    waiting = WaitingFor(cause=WaitingCause.LIMIT, fact="2 of 2 slots taken", since=at(1))
    row = row_after(seen("SCHEDULED", 1, name="AwaitingConcurrencySlot", waiting_for=waiting))
    assert row.waiting_for == waiting
    again = row_after(seen("SCHEDULED", 1, name="AwaitingConcurrencySlot", tags=("x",)), row=row)
    assert (again.waiting_for, again.tags) == (waiting, ("x",))
    assert row_after(seen("PENDING", 2), row=row).waiting_for is None
    assert row_after(seen("RUNNING", 2, waiting_for=waiting), row=row).waiting_for is None


def retry(second: float) -> Observation:
    return seen("SCHEDULED", second, name="AwaitingRetry")


@pytest.mark.parametrize(
    ("course", "attempt"),
    [
        (["run"], 1),
        (["run", "fail", "retry"], 2),
        (["run", "fail", "retry", "begin", "run", "begin"], 2),
        (["run", "fail", "begin"], 2),
        (["run", "fail", "run", "begin"], 2),  # the AwaitingRetry between them was missed
        (["run", "retry", "run"], 1),  # nothing says that the first try failed
        (["run", "suspend", "run", "begin"], 1),
        (["run", "suspend", "fail", "run"], 2),
        (["run", "pause", "run"], 1),
        (["run", "crash", "retry", "wait", "run", "begin"], 2),
        (["run", "crash", "begin", "run"], 2),  # the process was quicker than the news of its start
        (["run", "crash", "begin", "retry", "run", "begin"], 2),
        (["run", "crash", "begin", "fail 2", "retry", "run"], 3),
        (["run", "crash", "begin", "fail 2", "asked to cancel"], 2),
        (["run", "crash", "fail 2", "asked to cancel", "cancel", "retry"], 3),  # it began while the table was down
        (["run", "cancel", "run"], 2),
        (["wait", "cancel", "retry", "run", "crash", "retry", "run"], 3),
    ],
)
def test_a_number_is_used_up_by_a_failure_or_an_end(course: list[str], attempt: int) -> None:
    row = row_after(seen("SCHEDULED", 0))
    types = {"run": "RUNNING", "crash": "CRASHED", "cancel": "CANCELLED", "wait": "PENDING", "pause": "PAUSED"}
    types["asked to cancel"] = "CANCELLING"
    for second, step in enumerate(course, start=1):
        if step == "begin":
            row = work.begin(row, EXECUTOR, NOW)
        elif step.startswith("fail"):
            row = work.fail(row, failure(int(step[4:] or 1)), NOW)
        elif step == "retry":
            row = row_after(retry(second), row=row)
        elif step == "suspend":
            row = row_after(seen("PAUSED", second, name="Suspended"), row=row)
            assert row.state is JobState.PENDING
        else:
            row = row_after(seen(types[step], second), row=row)
    assert row.attempt == attempt


def test_each_start_of_a_process_gets_a_higher_token() -> None:
    row = row_after(seen("RUNNING", 1))
    tokens = [(row := work.begin(row, EXECUTOR, NOW, token=token)).token for token in (None, None, 9, 9, 3, None)]
    assert tokens == [1, 2, 9, 10, 11, 12]


def test_a_superseded_attempt_may_not_leave_a_result() -> None:
    row = work.fence(work.begin(row_after(seen("RUNNING", 1)), EXECUTOR, NOW), 0, NOW)
    with pytest.raises(SupersededError, match="token 1 may not leave a result, since token 2"):
        work.stage(row, 1, {}, NOW)
    assert work.stage(row, 5, {}, NOW)[0].token == 5


def test_usage_adds_up_but_for_the_peak() -> None:
    row = work.use(
        row_after(seen("RUNNING", 1)), 1, Usage(cpu_seconds=1.5, peak_memory_bytes=10, read_rows=0), None, NOW
    )
    row = work.use(
        row, 2, Usage(cpu_seconds=float("nan"), peak_memory_bytes=7, read_rows=2, written_bytes=3), None, NOW
    )
    assert row.usage == Usage(cpu_seconds=1.5, peak_memory_bytes=10, read_rows=2, written_bytes=3)


def test_progress_does_not_count_as_a_write() -> None:
    row = row_after(seen("RUNNING", 1))
    after = work.advance(row, Progress(message="x", at=at(2)))
    assert (after.version, after.updated_at) == (row.version, row.updated_at)


def test_what_is_newer_is_due() -> None:
    row = row_after(seen("RUNNING", 5))
    assert is_due(None, seen("RUNNING", 5))
    assert is_due(row, seen("COMPLETED", 6))
    assert not is_due(row, seen("RUNNING", 5))
    assert not is_due(row, seen("COMPLETED", 4))
    twin = seen("COMPLETED", 5)
    assert is_due(row, twin) == (str(twin.prefect.state_id) > str(row.prefect.state_id))


def test_a_made_up_id_is_ordered_by_time_alone() -> None:
    row = row_after(seen("CANCELLING", 5))
    assert not is_due(row, seen("CANCELLED", 5, trusted=False))
    assert is_due(row, seen("CANCELLED", 6, trusted=False))
    made_up = row_after(seen("CANCELLED", 6, name="Made up", trusted=False), row=row)
    assert is_due(made_up, seen("CANCELLED", 6))
    real = row_after(seen("CANCELLED", 6), row=made_up)
    assert real.prefect == seen("CANCELLED", 6).prefect
    assert not is_due(real, seen("CANCELLED", 6, name="Made up", trusted=False))


def test_a_reader_writes_over_the_version_that_it_read() -> None:
    row = row_after(seen("RUNNING", 5), seen("COMPLETED", 6))
    assert is_due(row, seen("RUNNING", 1), if_version=2)
    assert not is_due(row, seen("CANCELLED", 9), if_version=1)
    assert is_due(None, seen("RUNNING", 1), if_version=0)
    assert not is_due(row, seen("CANCELLED", 9), if_version=0)
    assert not is_due(None, seen("CANCELLED", 9), if_version=3)


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[Observation], list[Observation]]:
    """Return the observations of one run in order, and the same in any order, some of them doubled."""
    types = draw(st.lists(st.sampled_from(sorted(STATE_OF_PREFECT_TYPE)), min_size=1, max_size=8))
    steps = draw(st.lists(st.sampled_from([0.0, 0.001, 1.0]), min_size=len(types), max_size=len(types)))
    times = [sum(steps[: number + 1]) for number in range(len(steps))]
    in_order = [
        seen(prefect_type, second, created_at=NOON, name=f"{prefect_type.title()} {number}")
        for number, (prefect_type, second) in enumerate(zip(types, times, strict=True))
    ]
    in_order.sort(key=lambda one: order_of(one.prefect))
    starts = [one.prefect.timestamp for one in in_order if one.state is JobState.RUNNING]
    in_order = [
        # As Prefect does it: once a run has started, every later look at it tells when.
        one.model_copy(update={"started_at": starts[0]}) if starts and one.prefect.timestamp >= starts[0] else one
        for one in in_order
    ]
    doubled = in_order + draw(st.lists(st.sampled_from(in_order), max_size=5))
    return in_order, draw(st.permutations(doubled))


@given(deliveries())
def test_any_order_of_delivery_ends_alike(given_deliveries: tuple[list[Observation], list[Observation]]) -> None:
    in_order, delivered = given_deliveries
    jobs = []
    for course in (in_order, delivered):
        store = MemoryJobStore(clock=lambda: NOW)
        for one in course:
            job = store.apply(one, cause="test")
        events = store.events(JOB_ID)
        assert [event.number for event in events] == list(range(1, len(events) + 1))
        assert [event.from_state for event in events] == [None, *(event.to_state for event in events[:-1])]
        assert events[-1].to_state is job.state
        jobs.append(job)
    # What was dropped as late can't have counted attempts or writes; all else is the same.
    expected, found = (job.model_dump(exclude={"attempt", "failures", "version"}) for job in jobs)
    assert found == expected
    expected_codes, found_codes = ([one.code for one in job.failures if one.attempt == job.attempt] for job in jobs)
    if jobs[0].state is JobState.FAILED:
        assert found_codes == expected_codes
