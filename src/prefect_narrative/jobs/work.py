"""What an attempt's own reports mean for the job's row: pure functions, shared by every store."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from prefect_narrative.costs import Cost
from prefect_narrative.errors import SupersededError
from prefect_narrative.jobs.charging import charges_of
from prefect_narrative.jobs.projection import event_of
from prefect_narrative.jobs.record import Executor, Failure, JobEvent, Progress, Usage
from prefect_narrative.jobs.row import Row, is_guess, is_report, storable
from prefect_narrative.jobs.states import JobState

_RESULT_CAUSE = "result: staged after the run had completed"


def begin(
    row: Row,
    executor: Executor,
    now: datetime,
    *,
    dataset: str | None = None,
    data_plane: str | None = None,
    code_version: str | None = None,
    token: int | None = None,
    as_given: bool = False,
    heard: int = 0,
) -> Row:
    """Return the row once a process has begun to work: its number is a fresh one, its token the highest.

    Args:
        row: The row.
        executor: Where the process runs.
        now: The time of the write.
        dataset: As in `JobStore.begin_attempt`, and so the others.
        data_plane: As there.
        code_version: As there.
        token: As there.
        as_given: As there.
        heard: The token of the last sign of life, which is higher than the row's where that process began without the
            table: then a clock that was set back since must not make this one the older.

    Raises:
        SupersededError: `token` is not the highest, and no other may be taken, since it is to be `as_given`.
    """
    newest = max(row.token, heard)
    if as_given and (token is None or token <= newest):
        raise SupersededError(
            f"Job {row.job_id}: token {token} may not begin an attempt, since token {newest} has taken over.",
            detail={"token": token, "newest_token": newest},
        )
    known = {"dataset": dataset, "data_plane": data_plane, "code_version": code_version}
    again = row.used_up
    return row.model_copy(
        update={
            **{name: storable(value) for name, value in known.items() if value is not None},
            "executor": storable(executor),
            "attempt": row.attempt + again,
            "progress": None if again else row.progress,
            "token": token if token is not None and token > newest else newest + 1,
            "updated_at": now,
        }
    )


def stage(row: Row, token: int, result: Mapping[str, Any], now: datetime) -> tuple[Row, JobEvent | None]:
    """Return the row with a result kept for its completion, and the event where this completes it.

    It does where Prefect's run had completed before the result came, so that the job stood as failed for want of it.

    Raises:
        SupersededError: `token` is not the highest any more.
    """
    if token < row.token:
        raise SupersededError(
            f"Job {row.job_id}: token {token} may not leave a result, since token {row.token} has taken over.",
            detail={"token": token, "newest_token": row.token},
        )
    kept = storable(dict(result))
    if row.state is JobState.COMPLETED and kept == row.result:
        return row, None
    staged = row.model_copy(update={"staged_result": kept, "token": token, "updated_at": now})
    if row.state is not JobState.FAILED or row.prefect.type != "COMPLETED":
        return staged, None
    restored = staged.model_copy(
        update={
            "state": JobState.COMPLETED,
            "result": kept,
            "staged_result": None,
            "failures": tuple(one for one in row.failures if one.attempt != row.attempt or not is_guess(one)),
            "version": row.version + 1,
            "last_event": row.last_event + 1,
        }
    )
    return restored, event_of(row, restored, from_state=row.state, cause=_RESULT_CAUSE)


def fail(row: Row, failure: Failure, now: datetime) -> Row:
    """Return the row with a failure; the first of an attempt stands, unless it was only guessed.

    Another report with the same number is another attempt's: both began under it, or one took it while the table was
    down. It gets the next number that has none.
    """
    failure = storable(failure)
    known = {one.attempt: one for one in row.failures}
    while (standing := known.get(failure.attempt)) is not None and is_report(standing) and is_report(failure):
        if _is_same(standing, failure):
            return row  # it is delivered again
        failure = failure.model_copy(update={"attempt": failure.attempt + 1})
    if standing is not None and (not is_guess(standing) or is_guess(failure)):
        return row
    known[failure.attempt] = failure
    failures = tuple(known[number] for number in sorted(known))
    # An attempt that began while the table was down has its number from Prefect, which knows of more starts.
    attempt = max(row.attempt, failure.attempt)
    return row.model_copy(update={"failures": failures, "attempt": attempt, "updated_at": now})


def _is_same(one: Failure, other: Failure) -> bool:
    return (one.at, one.code, one.message) == (other.at, other.code, other.message)


def describe(row: Row, now: datetime, *, dataset: str | None, sources: Sequence[str] | None) -> Row:
    """Return the row that says what the job writes and reads; None leaves what is there."""
    after = row.model_copy(
        update={
            "dataset": row.dataset if dataset is None else storable(dataset),
            "sources": row.sources if sources is None else storable(tuple(sources)),
        }
    )
    return row if after == row else after.model_copy(update={"updated_at": now})


def use(row: Row, token: int, usage: Usage, cost: Cost | None, now: datetime) -> Row:
    """Return the row with what the holder of a token used, in the place of what it said before, and with the total.

    What the job costs is known only where it is known of all attempts: a part of it would look like the whole.
    """
    usages = {**row.usages, str(token): storable(usage)}
    others = [charge for charge in row.charges if charge.token != token]
    charges = (*others, *(() if cost is None else charges_of(token, cost)))
    is_known = {str(charge.token) for charge in charges} >= usages.keys()
    after = row.model_copy(
        update={
            "usages": usages,
            "usage": _total(usages.values()),
            "charges": charges,
            "cost_micro_cents_usd": sum(charge.amount for charge in charges) if is_known else None,
        }
    )
    return row if after == row else after.model_copy(update={"updated_at": now})


def _total(usages: Collection[Usage]) -> Usage:
    """Return the sums, but the largest for the peak memory."""
    total: dict[str, Any] = {}
    for name in Usage.model_fields:
        parts = [part for one in usages if (part := getattr(one, name)) is not None]
        if parts:
            total[name] = max(parts) if name == "peak_memory_bytes" else sum(parts)
    return Usage(**total)


def advance(row: Row, progress: Progress) -> Row:
    """Return the row with progress; `updated_at` stays, since progress carries its own time."""
    return row.model_copy(update={"progress": storable(progress)})


def fence(row: Row, token: int, now: datetime) -> Row:
    """Return the row with a token that nobody holds: the given one, or one above the row's."""
    return row.model_copy(update={"token": max(token, row.token + 1), "updated_at": now})
