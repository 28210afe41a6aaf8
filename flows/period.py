"""The period that somebody means: two times, or times that lie so far back."""

from datetime import UTC, datetime
from typing import ClassVar

from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.views.expiry import InvalidExpiryError, Period, parse_expiry


class InvalidPeriodError(NarrativeError, ValueError):
    """A period can't be understood, or is none."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "invalid_period"
    remedy = (
        "Give since, and until where it does not go up to now: 2026-03-01, 2026-03-01T12:00:00Z, or P7D for 7 days ago."
    )


def parse_period(since: str, until: str | None, now: datetime) -> tuple[datetime, datetime]:
    """Return the first moment of a period and the first one after it, in UTC.

    Args:
        since: A date or a time in ISO 8601, in UTC where it names no zone; or an ISO 8601 duration, which is meant back
            from now.
        until: The same; None: now.
        now: The present time.

    Raises:
        InvalidPeriodError: a text is neither, a time lies in the future, or the period does not go forward.
    """
    first, end = parse_moment("since", since, now), now if until is None else parse_moment("until", until, now)
    if first >= end:
        raise InvalidPeriodError(f"The period goes backwards or is empty: since {_iso(first)}, until {_iso(end)}.")
    return first, end


def parse_moment(name: str, text: str, now: datetime) -> datetime:
    """Return the moment that a text means, in UTC.

    Raises:
        InvalidPeriodError: the text is neither a time nor a duration, or the time lies in the future.
    """
    shown = f"{name} = {text[:60]!r}"
    if text.startswith("P"):
        try:
            period = parse_expiry(text)
            if isinstance(period, Period):
                return period.before(now)
        except (InvalidExpiryError, ValueError, OverflowError):
            pass
        raise InvalidPeriodError(f"{shown} is no ISO 8601 duration.")
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise InvalidPeriodError(f"{shown} is neither a time nor a duration in ISO 8601.") from exc
    if moment > now:
        raise InvalidPeriodError(f"{shown} lies in the future: it is {_iso(now)}.")
    return moment


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
