"""Expiry policies: what they mean, and which are refused."""

from datetime import UTC, datetime

import pytest

from prefect_narrative.views.expiry import InvalidExpiryError, Period, parse_expiry

NOON = datetime(2024, 3, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "period", "before"),
    [
        ("P90D", Period(0, 90, 0), datetime(2024, 1, 1, 12, tzinfo=UTC)),
        ("P2W", Period(0, 14, 0), datetime(2024, 3, 17, 12, tzinfo=UTC)),
        ("P1M", Period(1, 0, 0), datetime(2024, 2, 29, 12, tzinfo=UTC)),
        ("P1Y1M", Period(13, 0, 0), datetime(2023, 2, 28, 12, tzinfo=UTC)),
        ("PT12H", Period(0, 0, 43200), datetime(2024, 3, 31, tzinfo=UTC)),
        ("P1Y2M3DT4H5M6S", Period(14, 3, 14706), datetime(2023, 1, 28, 7, 54, 54, tzinfo=UTC)),
    ],
)
def test_periods_count_on_the_calendar(text: str, period: Period, before: datetime) -> None:
    assert parse_expiry(text) == period
    assert period.before(NOON) == before


@pytest.mark.parametrize("word", ["retain_everything", "expire_everything"])
def test_words_mean_themselves(word: str) -> None:
    assert parse_expiry(word) == word


@pytest.mark.parametrize(
    "text",
    ["", "P", "PT", "P0D", "PT0S", "P1DT", "PT5", "P1W2D", "-P1D", "p1d", "P1.5D", " P1D", "P1D\n", "90", "P\u0661D"],
)
def test_anything_else_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(InvalidExpiryError) as refused:
        parse_expiry(text)
    assert repr(text) in str(refused.value)
    assert "retain_everything" in refused.value.remedy or "expire_everything" in refused.value.remedy
