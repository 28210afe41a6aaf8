"""The cursor of a list: where a page ended, as text that survives a URL."""

import base64
import json
from datetime import UTC, datetime
from uuid import UUID

from prefect_narrative.jobs.record import Job
from prefect_narrative.jobs.store import MAX_PAGE, InvalidCursorError

_LONGEST = 200


def cursor_after(job: Job) -> str:
    """Return the cursor of the page that begins after `job`."""
    return _text_of(job.created_at, job.job_id)


def position_of(cursor: str) -> tuple[datetime, UUID]:
    """Return (created_at, job_id) of the job that a page ended with.

    Raises:
        InvalidCursorError: the cursor was not made by `cursor_after`.
    """
    try:
        padded = cursor[:_LONGEST] + "=" * (-len(cursor) % 4)
        created_at, job_id = json.loads(base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True))
        place = datetime.fromisoformat(created_at).astimezone(UTC), UUID(job_id)
    except (ValueError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise _invalid(cursor) from error
    if cursor != _text_of(*place):
        raise _invalid(cursor)
    return place


def _text_of(created_at: datetime, job_id: UUID) -> str:
    place = json.dumps([created_at.astimezone(UTC).isoformat(timespec="microseconds"), str(job_id)])
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def _invalid(cursor: str) -> InvalidCursorError:
    return InvalidCursorError(f"{cursor[:40]!r} is not a cursor of a list of jobs.")


def checked_limit(limit: int) -> int:
    """Return `limit`.

    Raises:
        ValueError: it is not 1 to 500.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise ValueError(f"A page holds 1 to {MAX_PAGE} jobs, not {limit}.")
    return limit
