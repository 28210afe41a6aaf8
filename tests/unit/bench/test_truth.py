"""The fault suite's arithmetic: what a table ought to have said, and for how long it said otherwise."""

from typing import Any

from bench.fault_suite.truth import Glimpse, Span, Truth, agrees, delays, truths, wrong_spans
from prefect_narrative.jobs.states import JobState

PENDING, RUNNING, COMPLETED, FAILED, CANCELLED = (
    JobState.PENDING,
    JobState.RUNNING,
    JobState.COMPLETED,
    JobState.FAILED,
    JobState.CANCELLED,
)
CANCELLING = JobState.PENDING_CANCELLATION


def state(type: str, name: str | None = None, **details: Any) -> dict[str, Any]:
    return {"type": type, "name": name or type.title(), "state_details": details}


def said(*entries: tuple[float, JobState | None]) -> list[Glimpse]:
    return [Glimpse(at, state) for at, state in entries]


RUN = [(0.0, state("SCHEDULED")), (2.0, state("PENDING")), (3.0, state("RUNNING")), (9.0, state("COMPLETED"))]


def test_prefects_states_in_our_words() -> None:
    assert truths(RUN) == [
        Truth(0.0, PENDING, "SCHEDULED Scheduled"),
        Truth(2.0, PENDING, "PENDING Pending"),
        Truth(3.0, RUNNING, "RUNNING Running"),
        Truth(9.0, COMPLETED, "COMPLETED Completed"),
    ]


def test_a_suspended_run_is_pending_and_a_paused_one_runs() -> None:
    paused = [
        (0.0, state("PAUSED", "Suspended", pause_reschedule=True)),
        (1.0, state("PAUSED", pause_reschedule=False)),
    ]
    assert [one.state for one in truths(paused)] == [PENDING, RUNNING]


def test_a_schedules_run_need_not_be_there_before_it_is_due() -> None:
    assert truths(RUN[:1], due=1.0) == [
        Truth(0.0, None, "SCHEDULED Scheduled"),
        Truth(1.0, PENDING, "due"),
    ]


def test_a_death_that_prefect_was_not_told_of_counts_from_when_it_happened() -> None:
    run = [*RUN[:3], (20.0, state("CRASHED"))]
    assert truths(run, died=[5.0])[-2:] == [
        Truth(5.0, FAILED, "its process died", told=False),
        Truth(20.0, FAILED, "CRASHED Crashed"),
    ]
    cancelling = [*RUN[:3], (4.0, state("CANCELLING"))]
    assert truths(cancelling, died=[5.0])[-1] == Truth(5.0, CANCELLED, "its process ended", told=False)


def test_the_end_of_a_process_that_had_said_how_it_ends_means_nothing() -> None:
    assert truths(RUN, died=[9.5]) == truths(RUN)
    suspended = [*RUN[:3], (4.0, state("PAUSED", "Suspended", pause_reschedule=True))]
    assert truths(suspended, died=[5.0]) == truths(suspended)


def test_a_deleted_run_is_cancelled_unless_it_had_ended() -> None:
    assert truths(RUN[:3], deleted=5.0)[-1] == Truth(5.0, CANCELLED, "deleted")
    assert truths(RUN, deleted=12.0) == truths(RUN)
    assert truths(RUN[:1], due=100.0, deleted=5.0) == [Truth(0.0, None, "SCHEDULED Scheduled")]


def test_a_run_that_was_deleted_before_anybody_told_of_its_process_is_cancelled() -> None:
    *before, death, deletion = truths(RUN[:3], died=[4.9], deleted=5.0)
    assert before == truths(RUN[:3])
    assert death == Truth(4.9, FAILED, "its process died", told=False)
    assert deletion == Truth(5.0, CANCELLED, "deleted")


def test_a_row_must_agree_with_itself() -> None:
    assert not agrees(Truth(0.0, RUNNING, ""), Glimpse(0.0, RUNNING, whole=False))
    assert not agrees(None, Glimpse(0.0, RUNNING, whole=False))
    assert agrees(Truth(0.0, RUNNING, ""), Glimpse(0.0, RUNNING))


def test_a_run_without_a_result_counts_as_failed_only_where_that_is_expected() -> None:
    seen = Glimpse(0.0, FAILED, resultless=True)
    assert not agrees(Truth(0.0, COMPLETED, ""), seen)
    assert agrees(Truth(0.0, COMPLETED, ""), seen, resultless=True)
    assert not agrees(Truth(0.0, COMPLETED, ""), Glimpse(0.0, FAILED), resultless=True)


def test_how_long_the_table_was_wrong() -> None:
    seen = said((0.0, None), (0.5, PENDING), (3.25, RUNNING), (9.0, RUNNING), (11.0, COMPLETED))
    assert wrong_spans(truths(RUN), seen, until=15.0) == [
        Span(0.0, 0.5, "no row while SCHEDULED Scheduled"),
        Span(3.0, 3.25, "pending while RUNNING Running"),
        Span(9.0, 11.0, "running while COMPLETED Completed"),
    ]


def test_a_table_that_stays_wrong_is_wrong_to_the_end() -> None:
    seen = said((0.0, PENDING), (3.0, RUNNING))
    assert wrong_spans(truths(RUN), seen, until=60.0) == [Span(9.0, 60.0, "running while COMPLETED Completed")]


def test_too_early_is_wrong_as_well() -> None:
    seen = said((0.0, PENDING), (3.0, RUNNING), (7.0, COMPLETED))
    assert wrong_spans(truths(RUN), seen, until=15.0) == [Span(7.0, 9.0, "completed while RUNNING Running")]


def test_a_table_that_nobody_could_write_or_read_is_excused() -> None:
    seen = [*said((0.0, PENDING), (3.0, RUNNING)), Glimpse(10.0, legible=False), Glimpse(12.0, RUNNING)]
    seen += said((14.0, COMPLETED))
    assert [(one.begin, one.end) for one in wrong_spans(truths(RUN), seen, 20.0)] == [(9.0, 10.0), (12.0, 14.0)]
    assert [(one.begin, one.end) for one in wrong_spans(truths(RUN), seen, 20.0, excused=[(8.0, 13.0)])] == [
        (13.0, 14.0)
    ]


def test_how_long_each_move_took_to_be_seen() -> None:
    seen = said((0.0, None), (0.5, PENDING), (3.25, RUNNING), (11.0, COMPLETED))
    assert delays(truths(RUN), seen) == [0.5, 0.25, 2.0]


def test_a_move_is_also_seen_by_what_came_after_it() -> None:
    seen = said((0.0, PENDING), (9.5, COMPLETED))
    assert delays(truths(RUN), seen) == [0.0, 6.5, 0.5]


def test_a_move_that_was_never_seen_is_no_figure() -> None:
    assert delays(truths(RUN), said((0.0, PENDING), (4.0, RUNNING))) == [0.0, 1.0]


def test_a_death_is_no_move_of_prefects() -> None:
    run = [*RUN[:3], (20.0, state("CRASHED"))]
    seen = said((0.0, PENDING), (3.0, RUNNING), (20.5, FAILED))
    assert delays(truths(run, died=[5.0]), seen) == [0.0, 0.0, 0.5]
