"""The period that somebody means."""

from datetime import UTC, datetime, timedelta

import pytest
from prefect_narrative.flows.period import InvalidPeriodError, parse_period

NOW = datetime(2026, 3, 31, 12, 30, tzinfo=UTC)
DAY_2 = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("since", "until", "first", "end"),
    [
        ("2026-03-01", None, datetime(2026, 3, 1, tzinfo=UTC), NOW),
        ("2026-03-01T12:00+01:00", "2026-03-02 00:00", datetime(2026, 3, 1, 11, tzinfo=UTC), DAY_2),
        ("P7D", "PT30M", NOW - timedelta(days=7), NOW - timedelta(minutes=30)),
        ("P1M", None, datetime(2026, 2, 28, 12, 30, tzinfo=UTC), NOW),
    ],
    ids=["a day", "zones", "durations", "a month"],
)  # fmt: skip
def test_a_period_is_two_times_or_so_far_back(since: str, until: str | None, first: datetime, end: datetime) -> None:
    assert parse_period(since, until, NOW) == (first, end)


@pytest.mark.parametrize(
    ("since", "until", "told"),
    [
        ("yesterday", None, "since = 'yesterday' is neither a time nor a duration"),
        ("2026-02-30", None, "since = '2026-02-30' is neither"),
        ("P1X", None, "since = 'P1X' is no ISO 8601 duration"),
        ("P999Y", "P9999Y", "until = 'P9999Y' is no ISO 8601 duration"),
        ("P", None, "since = 'P' is no ISO 8601 duration"),
        ("2026-04-01", None, "since = '2026-04-01' lies in the future: it is 2026-03-31T12:30:00Z"),
        ("P1D", "2026-03-31T12:30:01", "until = '2026-03-31T12:30:01' lies in the future"),
        ("P1D", "P2D", "backwards or is empty: since 2026-03-30T12:30:00Z, until 2026-03-29T12:30:00Z"),
        ("P1D", "P1D", "backwards or is empty"),
        ("0001-01-01T00:00:00+14:00", None, "is neither a time"),
    ],
)
def test_what_is_no_period_is_refused(since: str, until: str | None, told: str) -> None:
    with pytest.raises(InvalidPeriodError, match=told) as caught:
        parse_period(since, until, NOW)
    assert "P7D" in caught.value.remedy
