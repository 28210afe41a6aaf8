"""How long a view keeps its rows: an ISO-8601 period since they were ingested, everything, or nothing."""

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, Literal

from prefect_narrative.errors import FailureKind, NarrativeError

RETAIN_EVERYTHING: Literal["retain_everything"] = "retain_everything"
EXPIRE_EVERYTHING: Literal["expire_everything"] = "expire_everything"
MAX_YEARS = 1000

_PERIOD = re.compile(
    r"P(?:(?P<weeks>[0-9]{1,6})W"
    r"|(?:(?P<years>[0-9]{1,6})Y)?(?:(?P<months>[0-9]{1,6})M)?(?:(?P<days>[0-9]{1,6})D)?"
    r"(?:T(?=[0-9])(?:(?P<hours>[0-9]{1,9})H)?(?:(?P<minutes>[0-9]{1,9})M)?(?:(?P<seconds>[0-9]{1,9})S)?)?)"
)


class InvalidExpiryError(NarrativeError, ValueError):
    """An expiry policy can't be read."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "invalid_expiry"
    remedy = "Give retain_everything, expire_everything, or an ISO-8601 period such as P90D, P1Y6M, P2W or PT12H."


@dataclass(frozen=True)
class Period:
    """A span of time on the calendar: months and days count as long as they are."""

    months: int
    days: int
    seconds: int

    def before(self, moment: datetime) -> datetime:
        """Return the moment that lies this period earlier; the last day of a month where it has no such day."""
        month = moment.year * 12 + moment.month - 1 - self.months
        year, month = month // 12, month % 12 + 1
        earlier = moment.replace(year=year, month=month, day=min(moment.day, monthrange(year, month)[1]))
        return earlier - timedelta(days=self.days, seconds=self.seconds)


def parse_expiry(text: str) -> Period | Literal["retain_everything", "expire_everything"]:
    """Return what an expiry policy means.

    Raises:
        InvalidExpiryError: neither of the two words, nor a period of whole numbers longer than nothing.
    """
    if text == RETAIN_EVERYTHING:
        return RETAIN_EVERYTHING
    if text == EXPIRE_EVERYTHING:
        return EXPIRE_EVERYTHING
    found = _PERIOD.fullmatch(text)
    if found is None:
        raise InvalidExpiryError(f"{text!r} is no expiry policy.")
    number = {unit: int(digits or 0) for unit, digits in found.groupdict().items()}
    period = Period(
        months=number["years"] * 12 + number["months"],
        days=number["weeks"] * 7 + number["days"],
        seconds=number["hours"] * 3600 + number["minutes"] * 60 + number["seconds"],
    )
    if not (period.months or period.days or period.seconds):
        raise InvalidExpiryError(f"{text!r} is a period of no length.", remedy="Give expire_everything, or a period.")
    if period.months / 12 + period.days / 365 + period.seconds / 31_536_000 > MAX_YEARS:
        raise InvalidExpiryError(f"{text!r} is longer than {MAX_YEARS} years.", remedy="Give retain_everything.")
    return period
