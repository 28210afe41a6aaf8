"""What an observation of a Prefect run means for the job's row: pure functions, shared by every store."""

from datetime import datetime

from prefect_narrative.errors import FailureKind
from prefect_narrative.jobs.record import Failure, JobEvent, Observation, RequestSource, order_of
from prefect_narrative.jobs.row import Row, is_guess, storable
from prefect_narrative.jobs.states import MOVES, JobState, Move

_LEFT_WHERE_NONE = (
    "input",
    "request_source",
    "idempotency_key",
    "parent_job_id",
    "data_plane",
    "dataset",
    "created_at",
    "scheduled_for",
)
"""Fields of an observation that go into the row as they are; None leaves what the row has."""


def is_due(row: Row | None, seen: Observation, if_version: int | None = None) -> bool:
    """Return whether what was seen is to be written over the row.

    Args:
        row: The row as it is; None where there is none.
        seen: The observation.
        if_version: None: only if `seen` is newer, by the server's (timestamp, state id); where one of the two ids was
            made up, by the timestamp alone. A number: only if that is the row's version (0: if there is no row).
    """
    if if_version is not None:
        return if_version == (0 if row is None else row.version)
    if row is None:
        return True
    if not seen.trusted:
        return seen.prefect.timestamp > row.prefect.timestamp
    if not row.trusted and seen.prefect.timestamp == row.prefect.timestamp:
        return True  # the same news again, now with the state's real id
    return order_of(seen.prefect) > order_of(row.prefect)


def project(row: Row | None, seen: Observation, now: datetime, *, cause: str) -> tuple[Row, JobEvent | None]:
    """Return the row after an observation, and the event where the job moved.

    The very same row comes back where the observation says nothing new.

    Args:
        row: The row as it is; None where there is none.
        seen: The observation; whether it may be written is `is_due`'s question.
        now: The time of the write.
        cause: Who observed it, for the event.
    """
    seen = storable(seen)
    before = _first(seen, now) if row is None else row
    after = _after(before, seen)
    if row is not None and after == row:
        return row, None
    event = None
    if row is None or after.state is not row.state:
        event = event_of(before, after, from_state=None if row is None else row.state, cause=cause)
    return after.model_copy(
        update={
            "updated_at": now,
            "version": 1 if row is None else row.version + 1,
            "last_event": event.number if event else before.last_event,
        }
    ), event


def event_of(before: Row, after: Row, *, from_state: JobState | None, cause: str) -> JobEvent:
    """Return the event of the move from one row to the next, as the next in the job's chain."""
    return JobEvent(
        job_id=after.job_id,
        number=before.last_event + 1,
        from_state=from_state,
        to_state=after.state,
        move=Move.NORMAL if from_state is None else MOVES[from_state, after.state],
        at=after.prefect.timestamp,
        cause=storable(cause),
        attempt=after.attempt,
    )


def _first(seen: Observation, now: datetime) -> Row:
    """Return the row that an observation without a row is projected onto: nothing has happened yet."""
    return Row(
        job_id=seen.job_id,
        type=seen.type,
        request_source=RequestSource(type="api"),
        state=JobState.PENDING,
        created_at=seen.created_at or seen.prefect.timestamp,
        updated_at=now,
        prefect=seen.prefect,
        trusted=seen.trusted,
    )


def _after(row: Row, seen: Observation) -> Row:
    known = {name: value for name in _LEFT_WHERE_NONE if (value := getattr(seen, name)) is not None}
    if seen.tags is not None:
        known["tags"] = tuple(sorted(set(seen.tags)))
    result = row.result if row.staged_result is None else row.staged_result
    state, no_result = seen.state, False
    if state is JobState.COMPLETED and result is None:
        state, no_result = JobState.FAILED, True
    reopened = row.state.terminal and not state.terminal
    attempt = row.attempt + _begins_another(row, seen, state)
    starts = [one for one in (row.started_at, seen.started_at) if one is not None]
    if not starts and state is JobState.RUNNING:
        starts = [seen.prefect.timestamp]
    after = row.model_copy(
        update={
            **known,
            "type": seen.type,
            "prefect": _prefect(row, seen),
            "trusted": seen.trusted,
            "state": state,
            "attempt": attempt,
            "started_at": min(starts, default=None),
            "ended_at": _ended_at(row, seen, state),
            "waiting_for": _waiting_for(row, seen, state),
            "executor": None if state is JobState.PENDING and not seen.held else row.executor,
            "progress": None if reopened or attempt != row.attempt else row.progress,
            "rested_attempt": attempt if state.terminal else row.rested_attempt,
            **_results(row, state, result),
        }
    )
    return after.model_copy(update={"failures": _failures(after, seen, no_result=no_result)})


def _prefect(row: Row, seen: Observation) -> object:
    """Return the state seen; what is known of the deployment is kept where the observer did not know it."""
    return seen.prefect.model_copy(
        update={
            "deployment_id": seen.prefect.deployment_id or row.prefect.deployment_id,
            "deployment": seen.prefect.deployment or row.prefect.deployment,
        }
    )


def _is_other_state(row: Row, seen: Observation) -> bool:
    return seen.prefect.state_id != row.prefect.state_id


def _begins_another(row: Row, seen: Observation, state: JobState) -> bool:
    """Return whether the observation begins a further attempt than the row's; resuming does not."""
    if row.state.terminal and not state.terminal:
        # Also where it is asked to cancel by now: it was opened again before. That is the attempt which the row is at
        # where its process began, or failed, before the news.
        return row.rested_attempt >= row.attempt
    return row.used_up and _starts(row, seen, state)


def _starts(row: Row, seen: Observation, state: JobState) -> bool:
    if state is JobState.PENDING:
        return seen.prefect.name == "AwaitingRetry" and _is_other_state(row, seen)
    if state is JobState.RUNNING:
        # A second Running state in a row: the AwaitingRetry between them was missed.
        return row.state is not state or (seen.prefect.type == "RUNNING" and _is_other_state(row, seen))
    return False


def _ended_at(row: Row, seen: Observation, state: JobState) -> datetime | None:
    if not state.terminal:
        return None
    if seen.ended_at is not None:
        return seen.ended_at
    if row.ended_at is not None and not _is_other_state(row, seen):
        return row.ended_at
    return seen.prefect.timestamp


def _waiting_for(row: Row, seen: Observation, state: JobState) -> object:
    if state is not JobState.PENDING:
        return None
    if seen.waiting_for is None and not _is_other_state(row, seen):
        return row.waiting_for
    return seen.waiting_for


def _results(row: Row, state: JobState, result: dict[str, object] | None) -> dict[str, object]:
    if state is JobState.COMPLETED:
        return {"result": result, "staged_result": None}
    if row.state is JobState.COMPLETED:
        # The result is still there if Prefect goes back, or never went: old news may look new.
        return {"result": None, "staged_result": row.result if row.staged_result is None else row.staged_result}
    return {"result": None}


def _failures(after: Row, seen: Observation, *, no_result: bool) -> tuple[Failure, ...]:
    """Return the failures; a guess at this attempt's end is replaced by the newer one, or goes if it did not fail."""
    if not after.state.terminal:
        return after.failures
    kept = tuple(one for one in after.failures if one.attempt != after.attempt or not is_guess(one))
    if after.state is JobState.FAILED and all(one.attempt != after.attempt for one in kept):
        return (*kept, _guess(after, seen, no_result=no_result))
    return kept


def _guess(after: Row, seen: Observation, *, no_result: bool) -> Failure:
    """Return what Prefect's state alone says about why the attempt failed."""
    kind, code, message, remedy = (
        FailureKind.INTERNAL,
        "failed_without_report",
        seen.message or "The run failed and its process reported nothing.",
        "Read the run's log in Prefect.",
    )
    if no_result:
        kind, code, message, remedy = (
            FailureKind.OPERATOR,
            "no_result",
            "The run was set to Completed with no result to be found.",
            "Retry the run, so that the job does its work.",
        )
    elif seen.prefect.type == "CRASHED":
        kind, code, message, remedy = (
            FailureKind.INFRASTRUCTURE,
            "process_died",
            seen.message or "The process of the run died.",
            "Retry the run; if it dies again, read the worker's log and look at the machine's memory.",
        )
    elif seen.prefect.name == "TimedOut":
        kind, code, message, remedy = (
            FailureKind.RESOURCE,
            "timed_out",
            seen.message or "The run took longer than its timeout.",
            "Give the job a longer timeout, or less to do.",
        )
    elif after.started_at is None:
        kind, code, message, remedy = (
            FailureKind.INPUT,
            "invalid_parameters",
            seen.message or "The run failed before it started.",
            "Correct the parameters that the message names and submit the job again.",
        )
    return Failure(
        attempt=after.attempt,
        at=after.ended_at or seen.prefect.timestamp,
        kind=kind,
        code=code,
        message=message,
        remedy=remedy,
        retryable=kind.retryable,
        detail={"guessed": True},
    )
