"""What every store does, whatever it lies in."""

import base64
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import pytest

from prefect_narrative.errors import FailureKind, SupersededError
from prefect_narrative.jobs.record import (
    Executor,
    Failure,
    Heartbeat,
    Job,
    JobEvent,
    JobFilter,
    JobId,
    Observation,
    Progress,
    RequestSource,
    Usage,
    WaitingCause,
    WaitingFor,
)
from prefect_narrative.jobs.states import JobState, Move
from prefect_narrative.jobs.store import Attempt, InvalidCursorError, JobStore, UnknownJobError
from prefect_narrative.testing import observed

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
JOB_ID = JobId(UUID(int=7))
EXECUTOR = Executor(host="here", pid=1, worker="w", pool="p", queue="q")


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def seen(prefect_type: str, second: float, job_id: UUID = JOB_ID, **known: Any) -> Observation:
    return observed(job_id, prefect_type, at(second), **known)


FAILURE = Failure(
    attempt=1,
    at=at(5),
    kind=FailureKind.DATA,
    code="bad_cast",
    message="row 3: 'x' is no number",
    remedy="mend the file",
    retryable=False,
    detail={"row": 3, "nested": [{"a": None}]},
)
HEARTBEAT = Heartbeat(
    job_id=JOB_ID,
    token=2,
    at=at(1),
    host="here",
    machine_id="m",
    boot_id="b",
    pid_namespace="4026531836",
    pid=2**31,
    start_ticks=73853,
)


def test_a_whole_life_is_told_by_the_record_and_its_events(store: JobStore, clock: Any) -> None:
    created = seen(
        "SCHEDULED",
        0,
        type="create-dataset",
        input={"name": "flights", "nested": {"z": [1, 2.5, None, True], "a": "ü🦆"}},
        tags=("nightly", "big", "big"),
        request_source=RequestSource(type="job", name="refresh-materialized-view"),
        idempotency_key="key",
        parent_job_id=UUID(int=3),
        created_at=at(0.000001),
        scheduled_for=at(1),
        waiting_for=WaitingFor(cause=WaitingCause.SCHEDULE, fact="due at noon", since=at(0)),
    )
    first = store.apply(created, cause="cli")
    assert first == store.get(JOB_ID)
    assert first.waiting_for == created.waiting_for
    store.apply(seen("RUNNING", 2), cause="hook")
    clock.now = at(3)
    attempt = store.begin_attempt(
        JOB_ID, EXECUTOR, dataset="flights", data_plane="default", code_version="0.1.0", token=4
    )
    assert attempt == Attempt(number=1, token=4, follows=False)
    store.describe(JOB_ID, sources=["raw", "more"])
    store.set_progress(JOB_ID, Progress(fraction=0.5, message="halfway", at=at(3)))
    store.add_usage(JOB_ID, 4, Usage(cpu_seconds=0.25, peak_memory_bytes=2**40, read_rows=3))
    store.add_failure(JOB_ID, FAILURE)
    store.apply(seen("SCHEDULED", 5, name="AwaitingRetry"), cause="event")
    store.apply(seen("RUNNING", 6), cause="hook")
    attempt = store.begin_attempt(JOB_ID, EXECUTOR)
    assert attempt == Attempt(number=2, token=5, follows=True)
    store.add_usage(JOB_ID, 5, Usage(cpu_seconds=0.5, peak_memory_bytes=1, written_bytes=9))
    store.stage_result(JOB_ID, attempt.token, {"rows": 3, "bounds": [1.5, None]})
    staged = store.get(JOB_ID)
    assert staged is not None
    assert staged.result is None
    clock.now = at(8)
    end = seen("COMPLETED", 7, ended_at=at(6.5))
    done = store.apply(end, cause="hook")
    assert done == Job(
        job_id=JOB_ID,
        type="test",
        idempotency_key="key",
        parent_job_id=UUID(int=3),
        request_source=RequestSource(type="job", name="refresh-materialized-view"),
        tags=("big", "nightly"),
        state=JobState.COMPLETED,
        attempt=2,
        failures=(FAILURE,),
        input={"name": "flights", "nested": {"z": [1, 2.5, None, True], "a": "ü🦆"}},
        result={"rows": 3, "bounds": [1.5, None]},
        data_plane="default",
        dataset="flights",
        sources=("raw", "more"),
        executor=EXECUTOR,
        code_version="0.1.0",
        usage=Usage(cpu_seconds=0.75, peak_memory_bytes=2**40, read_rows=3, written_bytes=9),
        created_at=at(0.000001),
        scheduled_for=at(1),
        started_at=at(2),
        updated_at=at(8),
        ended_at=at(6.5),
        prefect=end.prefect,
        version=5,
        token=5,
    )
    assert store.get(JOB_ID) == done
    assert type(done) is type(store.get(JOB_ID)) is Job
    chain = [
        (None, "pending", 0, "cli", 1),
        ("pending", "running", 2, "hook", 1),
        ("running", "pending", 5, "event", 2),
        ("pending", "running", 6, "hook", 2),
        ("running", "completed", 7, "hook", 2),
    ]
    assert list(store.events(JOB_ID)) == [
        JobEvent(
            job_id=JOB_ID,
            number=number,
            from_state=None if before is None else JobState(before),
            to_state=JobState(after),
            move=Move.NORMAL,
            at=at(second),
            cause=cause,
            attempt=attempt_number,
        )
        for number, (before, after, second, cause, attempt_number) in enumerate(chain, start=1)
    ]


def test_an_unknown_job_is_none_or_an_error(store: JobStore) -> None:
    assert store.get(JOB_ID) is None
    assert list(store.events(JOB_ID)) == []
    assert store.heartbeat(JOB_ID) is None
    store.beat(HEARTBEAT)
    assert store.heartbeat(JOB_ID) is None
    for call in (
        lambda: store.begin_attempt(JOB_ID, EXECUTOR),
        lambda: store.raise_fence(JOB_ID),
        lambda: store.stage_result(JOB_ID, 1, {}),
        lambda: store.add_failure(JOB_ID, FAILURE),
        lambda: store.describe(JOB_ID, dataset="d"),
        lambda: store.add_usage(JOB_ID, 1, Usage()),
        lambda: store.set_progress(JOB_ID, Progress(message="m", at=NOON)),
        lambda: store.apply(seen("RUNNING", 1), cause="read", if_version=3),
    ):
        with pytest.raises(KeyError) as caught:
            call()
        assert isinstance(caught.value, UnknownJobError)
        assert str(JOB_ID) in str(caught.value)
    assert store.page().jobs == ()


def test_late_and_doubled_news_change_nothing(store: JobStore, clock: Any) -> None:
    store.apply(seen("RUNNING", 2), cause="hook")
    done = store.apply(seen("CANCELLED", 4), cause="event")
    events = store.events(JOB_ID)
    clock.now = at(99)
    for late in (seen("RUNNING", 2), seen("SCHEDULED", 1), seen("CANCELLED", 4), seen("RUNNING", 4, trusted=False)):
        assert store.apply(late, cause="hook") == done
    assert store.get(JOB_ID) == done
    assert store.events(JOB_ID) == events


def test_a_made_up_state_id_gives_way_to_the_real_one(store: JobStore) -> None:
    store.apply(seen("CANCELLED", 4, name="made up", trusted=False), cause="hook")
    real = store.apply(seen("CANCELLED", 4), cause="event")
    assert real.prefect == seen("CANCELLED", 4).prefect
    assert store.apply(seen("CANCELLED", 4, name="made up", trusted=False), cause="hook") == real


def test_a_reader_writes_over_what_it_read_only(store: JobStore) -> None:
    first = store.apply(seen("RUNNING", 2), cause="sweep", if_version=0)
    assert store.apply(seen("CANCELLED", 9), cause="sweep", if_version=0) == first
    back = store.apply(seen("SCHEDULED", -50), cause="sweep", if_version=first.version)
    assert (back.state, back.version) == ("pending", 2)
    assert store.apply(seen("CANCELLED", 9), cause="sweep", if_version=first.version) == back
    assert [event.cause for event in store.events(JOB_ID)] == ["sweep", "sweep"]


def test_bookkeeping_of_an_attempt_does_not_count_as_a_version(store: JobStore) -> None:
    before = store.apply(seen("RUNNING", 2), cause="hook")
    attempt = store.begin_attempt(JOB_ID, EXECUTOR)
    store.stage_result(JOB_ID, attempt.token, {})
    store.set_progress(JOB_ID, Progress(message="m", at=NOON))
    after = store.get(JOB_ID)
    assert after is not None
    assert after.version == before.version
    assert store.apply(seen("RUNNING", 2), cause="sweep", if_version=before.version) == after


def test_a_late_result_mends_a_job_that_failed_for_want_of_it(store: JobStore) -> None:
    store.apply(seen("RUNNING", 2), cause="hook")
    token = store.begin_attempt(JOB_ID, EXECUTOR).token
    failed = store.apply(seen("COMPLETED", 3), cause="event")
    assert (failed.state, failed.failures[0].code, failed.failures[0].kind) == ("failed", "no_result", "operator")
    store.stage_result(JOB_ID, token, {"rows": 3})
    mended = store.get(JOB_ID)
    assert mended is not None
    assert mended == failed.model_copy(
        update={"state": JobState.COMPLETED, "result": {"rows": 3}, "failures": (), "version": failed.version + 1}
    )
    assert [(event.to_state, event.move) for event in store.events(JOB_ID)] == [
        ("running", "normal"),
        ("failed", "normal"),
        ("completed", "correction"),
    ]


def test_a_superseded_attempt_is_refused(store: JobStore) -> None:
    store.apply(seen("RUNNING", 2), cause="hook")
    old = store.begin_attempt(JOB_ID, EXECUTOR)
    assert store.raise_fence(JOB_ID) == 2
    with pytest.raises(SupersededError):
        store.stage_result(JOB_ID, old.token, {"rows": 3})
    new = store.begin_attempt(JOB_ID, EXECUTOR)
    assert new == Attempt(number=1, token=3, follows=True)
    store.stage_result(JOB_ID, new.token, {"rows": 4})
    assert store.apply(seen("COMPLETED", 4), cause="hook").result == {"rows": 4}


def test_a_token_as_given_takes_over_from_older_attempts_only(store: JobStore) -> None:
    store.apply(seen("RUNNING", 2), cause="hook")
    assert store.begin_attempt(JOB_ID, EXECUTOR, token=5, as_given=True) == Attempt(number=1, token=5, follows=False)
    before = store.get(JOB_ID)
    for token in (None, 4, 5):
        with pytest.raises(SupersededError) as caught:
            store.begin_attempt(JOB_ID, Executor(host="other", pid=2), dataset="d", token=token, as_given=True)
        assert caught.value.detail["newest_token"] == 5
    assert store.get(JOB_ID) == before
    assert store.begin_attempt(JOB_ID, EXECUTOR, token=6, as_given=True) == Attempt(number=1, token=6, follows=True)


def test_an_attempt_follows_one_that_began_without_the_table_and_has_given_a_sign_of_life(store: JobStore) -> None:
    """Its token is higher also where the clock, of which tokens are made, was set back since."""
    store.apply(seen("RUNNING", 2), cause="hook")
    store.beat(HEARTBEAT.model_copy(update={"token": 50}))
    with pytest.raises(SupersededError) as caught:
        store.begin_attempt(JOB_ID, EXECUTOR, token=9, as_given=True)
    assert caught.value.detail["newest_token"] == 50
    assert store.begin_attempt(JOB_ID, EXECUTOR, token=9) == Attempt(number=1, token=51, follows=True)


def test_a_reported_failure_takes_the_place_of_a_guess(store: JobStore) -> None:
    guessed = store.apply(seen("CRASHED", 2), cause="event")
    assert guessed.failures[0].detail == {"guessed": True}
    store.add_failure(JOB_ID, FAILURE)
    store.add_failure(JOB_ID, FAILURE)
    job = store.get(JOB_ID)
    assert job is not None
    assert job.failures == (FAILURE,)


def test_a_second_report_with_the_same_number_gets_the_next(store: JobStore) -> None:
    store.apply(seen("RUNNING", 2), cause="hook")
    later = FAILURE.model_copy(update={"code": "later"})
    store.add_failure(JOB_ID, FAILURE)
    store.add_failure(JOB_ID, later)
    job = store.get(JOB_ID)
    assert job is not None
    assert (job.attempt, job.failures) == (2, (FAILURE, later.model_copy(update={"attempt": 2})))


def test_a_sign_of_life_gives_way_to_a_newer_attempts_only(store: JobStore) -> None:
    store.apply(seen("RUNNING", 2), cause="hook")
    store.beat(HEARTBEAT)
    assert store.heartbeat(JOB_ID) == HEARTBEAT
    store.beat(HEARTBEAT.model_copy(update={"token": 1, "at": at(9)}))
    assert store.heartbeat(JOB_ID) == HEARTBEAT
    for newer in ({"at": at(5)}, {"token": 3, "pid": 5}):
        store.beat(HEARTBEAT.model_copy(update=newer))
        assert store.heartbeat(JOB_ID) == HEARTBEAT.model_copy(update=newer)


def test_signs_of_life_of_all_jobs_that_may_still_have_a_process(store: JobStore) -> None:
    def beat(number: int, *states: tuple[str, float]) -> Heartbeat:
        for prefect_type, second in states:
            store.apply(seen(prefect_type, second, UUID(int=number)), cause="event")
        heartbeat = HEARTBEAT.model_copy(update={"job_id": UUID(int=number), "pid": number})
        store.beat(heartbeat)
        return heartbeat

    running = beat(1, ("RUNNING", 0))
    cancelling = beat(2, ("RUNNING", 0), ("CANCELLING", 1))
    retrying = beat(3, ("FAILED", 0), ("SCHEDULED", 1))
    early = beat(4, ("CANCELLED", 10))
    late = beat(5, ("CANCELLED", 20))
    beat(6, ("FAILED", 20))
    beat(7, ("CANCELLED", 20), ("CRASHED", 21))
    store.apply(seen("RUNNING", 0, UUID(int=8)), cause="event")
    active = [running, cancelling, retrying]
    for expected, ended_from in (
        (active, None),
        ([*active, early, late], NOON),
        ([*active, late], at(10.000001)),
        ([*active, late], at(20)),
        (active, at(20.000001)),
    ):
        assert dict(store.heartbeats(ended_from=ended_from)) == {one.job_id: one for one in expected}
    assert dict(store.heartbeats()) == {one.job_id: one for one in active}


def test_what_a_token_used_counts_once(store: JobStore, clock: Any) -> None:
    before = store.apply(seen("RUNNING", 2), cause="hook")
    store.add_usage(JOB_ID, 1, Usage(cpu_seconds=1.5, peak_memory_bytes=7, read_rows=3))
    clock.now = at(5)
    store.add_usage(JOB_ID, 2, Usage(cpu_seconds=0.25, peak_memory_bytes=9, written_rows=1))
    total = Usage(cpu_seconds=1.75, peak_memory_bytes=9, read_rows=3, written_rows=1)
    both = before.model_copy(update={"usage": total, "updated_at": at(5)})
    assert store.get(JOB_ID) == both
    clock.now = at(6)
    store.add_usage(JOB_ID, 1, Usage(cpu_seconds=1.5, peak_memory_bytes=7, read_rows=3))
    assert store.get(JOB_ID) == both
    store.add_usage(JOB_ID, 2, Usage(cpu_seconds=float("nan"), peak_memory_bytes=1))
    replaced = Usage(cpu_seconds=1.5, peak_memory_bytes=7, read_rows=3)
    assert store.get(JOB_ID) == both.model_copy(update={"usage": replaced, "updated_at": at(6)})


def test_tags_and_creation_can_become_known_later(store: JobStore) -> None:
    store.apply(seen("RUNNING", 2, tags=("a", "b")), cause="event")
    job = store.apply(seen("RUNNING", 3, tags=("b", "c"), created_at=at(-5)), cause="sweep")
    assert [store.page(JobFilter(tag=tag)).jobs for tag in "abc"] == [(), (job,), (job,)]


def test_text_that_a_database_refuses_is_kept_as_far_as_possible(store: JobStore) -> None:
    strange = "a\0b\ud83e"
    job = store.apply(
        seen("FAILED", 2, input={strange: [strange, float("nan")]}, tags=(strange,), dataset=strange, message=strange),
        cause=strange,
    )
    assert job == store.get(JOB_ID)
    assert job.dataset == "a\ufffdb\ufffd\ufffd\ufffd"
    assert store.page(JobFilter(tag=strange, dataset=strange)).jobs == (job,)
    store.begin_attempt(JOB_ID, Executor(host=strange, pid=1), code_version=strange)
    store.stage_result(JOB_ID, 1, {"nan": float("nan"), "text": strange})
    store.set_progress(JOB_ID, Progress(message=strange, at=NOON))
    store.add_failure(JOB_ID, FAILURE.model_copy(update={"message": strange, "detail": {strange: strange}}))
    done = store.apply(seen("COMPLETED", 3), cause="hook")
    assert done == store.get(JOB_ID)
    assert done.result == {"nan": None, "text": job.dataset}


def test_times_keep_microseconds_and_come_back_in_utc(store: JobStore) -> None:
    moment = datetime(1999, 12, 31, 23, 59, 59, 999999, tzinfo=timezone(timedelta(hours=5, minutes=45)))
    store.apply(observed(JOB_ID, "RUNNING", moment), cause="hook")
    job = store.get(JOB_ID)
    assert job is not None
    assert job.started_at == moment
    assert job.started_at.utcoffset() in (timedelta(0), moment.utcoffset())


def fill(store: JobStore, number: int, **known: Any) -> list[Job]:
    """Make jobs, a second apart, two of a kind at the same time; return them newest first."""
    jobs = [
        store.apply(seen("SCHEDULED", 0, UUID(int=one + 100), created_at=at(one // 2), **known), cause="cli")
        for one in range(number)
    ]
    return jobs[::-1]


def test_pages_go_from_the_newest_to_the_oldest(store: JobStore) -> None:
    expected = fill(store, 11)
    found, cursor, pages = [], None, 0
    while True:
        page = store.page(cursor=cursor, limit=4)
        found += page.jobs
        cursor, pages = page.cursor, pages + 1
        if cursor is None:
            break
    assert found == expected
    assert pages == 3
    assert store.page(limit=11).cursor is None


def test_paging_is_not_disturbed_by_new_jobs(store: JobStore) -> None:
    expected = fill(store, 10)
    page = store.page(limit=3)
    found = list(page.jobs)
    while page.cursor is not None:
        store.apply(seen("SCHEDULED", 0, uuid4(), created_at=at(1000 + len(found))), cause="cli")
        page = store.page(cursor=page.cursor, limit=3)
        found += page.jobs
    assert found == expected


@pytest.mark.parametrize("limit", [0, -1, 501])
def test_a_page_has_a_size(store: JobStore, limit: int) -> None:
    with pytest.raises(ValueError, match="1 to 500"):
        store.page(limit=limit)


def encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "garbage",
        "=",
        "ü",
        "\0",
        "'; DROP TABLE jobs; --",
        "A" * 1_000_000,
        encoded(None),
        encoded([]),
        encoded(["2026-03-01T12:00:00.000000+00:00"]),
        encoded(["2026-03-01T12:00:00.000000+00:00", 7]),
        encoded(["2026-03-01T12:00:00.000000+00:00", "'; DROP TABLE jobs; --"]),
        encoded(["2026-03-01T12:00:00.000000", str(JOB_ID)]),
        encoded(["2026-03-01T12:00:00.000000+01:00", str(JOB_ID)]),
        encoded(["0001-01-01T00:00:00.000000+23:59", str(JOB_ID)]),
        encoded(["yesterday", str(JOB_ID)]),
        encoded({"created_at": 1}),
        "WyIyMDI2LTAzLTAxVDEyOjAwOjAwLjAwMDAwMCswMDowMCJd\n",
    ],
)
def test_a_cursor_of_somebody_elses_making_is_refused(store: JobStore, cursor: str) -> None:
    fill(store, 2)
    with pytest.raises(InvalidCursorError):
        store.page(cursor=cursor)
    assert len(store.page().jobs) == 2


def test_lists_are_narrowed(store: JobStore) -> None:
    def make(number: int, prefect_type: str, **known: Any) -> Job:
        job_id = UUID(int=number)
        end = {"ended_at": at(number * 10)} if prefect_type in ("CANCELLED", "FAILED") else {}
        return store.apply(
            observed(job_id, prefect_type, at(number), created_at=at(number), **end, **known), cause="cli"
        )

    one = make(1, "SCHEDULED", type="a", dataset="x", data_plane="p", tags=("t", "u"))
    two = make(2, "RUNNING", type="a", dataset="y", request_source=RequestSource(type="cli"))
    three = make(3, "CANCELLED", type="b", dataset="x", data_plane="q", tags=("t",))
    four = make(4, "FAILED", type="b", request_source=RequestSource(type="schedule", name="nightly"))
    for expected, narrowed in (
        ([four, three, two, one], None),
        ([four, three, two, one], JobFilter()),
        ([one], JobFilter(state=frozenset({JobState.PENDING}))),
        ([four, two], JobFilter(state=frozenset({JobState.RUNNING, JobState.FAILED}))),
        ([], JobFilter(state=frozenset())),
        ([two, one], JobFilter(type="a")),
        ([three, one], JobFilter(dataset="x")),
        ([three], JobFilter(data_plane="q")),
        ([three, one], JobFilter(tag="t")),
        ([one], JobFilter(tag="t", data_plane="p")),
        ([], JobFilter(tag="T")),
        ([four], JobFilter(request_source="schedule")),
        ([four, three], JobFilter(created_from=at(3))),
        ([two, one], JobFilter(created_before=at(3))),
        ([two], JobFilter(created_from=at(2), created_before=at(3))),
        ([four], JobFilter(ended_from=at(40))),
        ([three], JobFilter(ended_before=at(40))),
        ([], JobFilter(type="'; DROP TABLE jobs; --")),
        ([], JobFilter(type="%")),
    ):
        assert list(store.page(narrowed).jobs) == expected, narrowed
    page = store.page(JobFilter(tag="t"), limit=1)
    assert store.page(JobFilter(tag="t"), limit=1, cursor=page.cursor).jobs == (one,)


def test_active_jobs_come_oldest_first(store: JobStore) -> None:
    for number, prefect_type in enumerate(("RUNNING", "CANCELLED", "SCHEDULED", "CANCELLING", "CRASHED")):
        store.apply(seen(prefect_type, 0, UUID(int=number + 1), created_at=at(-number)), cause="sweep")
    assert [job.state for job in store.active()] == ["pending_cancellation", "pending", "running"]


def test_a_store_can_be_used_again_after_close(store: JobStore) -> None:
    store.apply(seen("RUNNING", 1), cause="hook")
    store.close()
    assert store.get(JOB_ID) is not None
