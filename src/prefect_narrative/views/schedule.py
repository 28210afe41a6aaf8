"""When a view is refreshed: presets and five-field cron, in a time zone."""

import re
from dataclasses import dataclass
from typing import ClassVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from prefect_narrative.errors import FailureKind, NarrativeError

_FIELD = re.compile(r"[0-9A-Za-z*/,#-]+")
ONCE = "@once"
PRESETS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
}


class InvalidScheduleError(NarrativeError, ValueError):
    """A refresh schedule can't be read."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "invalid_schedule"
    remedy = "Give @once, @hourly, @daily, @weekly, @monthly or five-field cron such as '30 6 * * 1-5'."


class InvalidTimeZoneError(NarrativeError, ValueError):
    """A time zone is not known."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "invalid_time_zone"
    remedy = "Give a name of the IANA time zone database, such as UTC or Europe/Berlin."


@dataclass(frozen=True)
class RefreshSchedule:
    """A cron expression in a time zone."""

    cron: str
    timezone: str

    def __str__(self) -> str:
        """Return it for people."""
        return f"{self.cron} in {self.timezone}"


def parse_schedule(text: str, timezone: str = "UTC") -> RefreshSchedule | None:
    """Return the schedule that a user's words mean, or None for `@once`.

    The fields' ranges are Prefect's to check when the schedule is made; it would take other numbers of fields too.

    Raises:
        InvalidScheduleError: neither a preset nor five fields.
        InvalidTimeZoneError: no such zone.
    """
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise InvalidTimeZoneError(f"{timezone!r} is not a time zone.") from exc
    words = text.strip()
    if words == ONCE:
        return None
    cron = PRESETS.get(words, words)
    fields = cron.split()
    if len(fields) != 5 or not all(_FIELD.fullmatch(field) for field in fields):
        raise InvalidScheduleError(f"{text!r} is neither a preset nor cron with five fields.")
    return RefreshSchedule(" ".join(fields), timezone)
