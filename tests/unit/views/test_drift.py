"""Where a view's definition and its schedule in Prefect differ, and what is said about it."""

from typing import Any
from uuid import UUID

import pytest

from prefect_narrative.views.drift import StandingSchedule, of_view, orphans
from prefect_narrative.views.schedule import RefreshSchedule

DAILY = RefreshSchedule("0 0 * * *", "Europe/Berlin")


def standing(**values: Any) -> StandingSchedule:
    usual = {
        "schedule_id": UUID(int=1),
        "slug": "totals",
        "view": "totals",
        "data_plane": "default",
        "cron": "0 0 * * *",
        "timezone": "Europe/Berlin",
        "told": "0 0 * * * in Europe/Berlin",
        "active": True,
    }
    return StandingSchedule(**{**usual, **values})


@pytest.mark.parametrize(
    ("wanted", "found", "kinds"),
    [
        (DAILY, [standing()], []),
        (None, [], []),
        (DAILY, [], ["missing"]),
        (DAILY, [standing(cron="1 0 * * *")], ["edited"]),
        (DAILY, [standing(timezone="UTC")], ["edited"]),
        (DAILY, [standing(cron=None, told="every 1:00:00")], ["edited"]),
        (DAILY, [standing(view="others")], ["edited"]),
        (DAILY, [standing(active=False)], ["paused"]),
        (DAILY, [standing(active=False, cron="1 0 * * *")], ["edited", "paused"]),
        (DAILY, [standing(), standing(slug=None)], ["added"]),
        (DAILY, [standing(slug="nightly", active=False)], ["missing", "added"]),
        (None, [standing()], ["added"]),
        (DAILY, [standing(), standing(slug="others", view="others")], []),
    ],
    ids=["same", "once", "missing", "cron", "zone", "interval", "another-view", "paused", "edited-and-paused", "added",
         "added-only", "unknown-to-definition", "of-another-view"],
)  # fmt: skip
def test_differences(wanted: RefreshSchedule | None, found: list[StandingSchedule], kinds: list[str]) -> None:
    seen = of_view("totals", "totals", wanted, found)
    assert [one.kind for one in seen] == kinds
    for one in seen:
        assert one.view == "totals"
        assert one.message.endswith(".")
        assert "totals" in one.remedy or "Prefect's UI" in one.remedy


def test_a_difference_names_both_sides() -> None:
    (edited,) = of_view("totals", "totals", DAILY, [standing(cron="1 0 * * *", told="1 0 * * * in Europe/Berlin")])
    assert "0 0 * * * in Europe/Berlin" in edited.message
    assert "1 0 * * * in Europe/Berlin" in edited.message


def test_schedules_of_views_that_are_not_there() -> None:
    found = [standing(), standing(slug="gone", view="gone", told="@x"), standing(slug=None, view=None)]
    (orphan,) = orphans({"totals"}, found)
    assert (orphan.kind, orphan.view) == ("orphan", "gone")
    assert "narrative views drop gone" in orphan.remedy
