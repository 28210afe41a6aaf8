"""How far sweeps look."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from prefect_narrative.jobs.horizon import (
    AHEAD_EVERY,
    FAR_BACK,
    FAR_BACK_EVERY,
    FIRST_LOOK_BACK,
    NOTE_EVERY,
    OVERLAP,
    Horizon,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class Ticking:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_each_sweep_begins_where_the_last_whole_one_began() -> None:
    ticks = Ticking()
    horizon = Horizon(ticks=ticks)
    assert horizon.begin(NOON) == (NOON - FIRST_LOOK_BACK, True)
    assert horizon.begin(NOON + SECOND) == (NOON + SECOND - FIRST_LOOK_BACK, True), "the sweep before broke off"
    horizon.end(NOON + SECOND)
    assert horizon.begin(NOON + 3 * SECOND) == (NOON + SECOND - OVERLAP, False)
    assert horizon.swept_at == NOON + SECOND


def test_now_and_then_it_looks_far_back_and_ahead() -> None:
    ticks = Ticking()
    horizon = Horizon(ticks=ticks)
    horizon.begin(NOON)
    horizon.end(NOON)
    ticks.now += AHEAD_EVERY.total_seconds()
    assert horizon.begin(NOON) == (NOON - OVERLAP, True)
    horizon.end(NOON)
    ticks.now += FAR_BACK_EVERY.total_seconds() - AHEAD_EVERY.total_seconds()
    assert horizon.begin(NOON) == (NOON - FAR_BACK, True)
    horizon.end(NOON)
    assert horizon.begin(NOON) == (NOON - OVERLAP, False)


def test_a_clock_that_was_set_back_hides_nothing() -> None:
    horizon = Horizon()
    horizon.begin(NOON)
    horizon.end(NOON)
    earlier = NOON - timedelta(hours=5)
    assert horizon.begin(earlier)[0] == earlier - OVERLAP
    horizon.end(earlier)
    assert horizon.begin(NOON)[0] == earlier - OVERLAP


@pytest.mark.parametrize("away", [timedelta(minutes=5), timedelta(days=3), timedelta(days=300)], ids=str)
def test_the_next_reconciler_looks_back_to_where_this_one_ended(away: timedelta, tmp_path: Path) -> None:
    note = tmp_path / "swept_until"
    horizon = Horizon(note)
    horizon.begin(NOON)
    horizon.end(NOON)
    back = NOON + away
    assert Horizon(note).begin(back)[0] == min(NOON - OVERLAP, back - FAR_BACK)
    assert [path.name for path in tmp_path.iterdir()] == ["swept_until"]


def test_the_note_is_not_written_at_each_sweep(tmp_path: Path) -> None:
    note, ticks = tmp_path / "swept_until", Ticking()
    horizon = Horizon(note, ticks=ticks)
    for seconds in (0, 1):
        horizon.begin(NOON + seconds * SECOND)
        horizon.end(NOON + seconds * SECOND)
    assert note.read_text() == NOON.isoformat()
    ticks.now += NOTE_EVERY.total_seconds()
    horizon.end(NOON + 2 * SECOND)
    assert note.read_text() == (NOON + 2 * SECOND).isoformat()


@pytest.mark.parametrize("text", ["", "yesterday", "\x00" * 1000, "9999-99-99"])
def test_a_note_that_says_nothing_is_as_none(text: str, tmp_path: Path) -> None:
    note = tmp_path / "swept_until"
    note.write_text(text)
    assert Horizon(note).begin(NOON)[0] == NOON - FIRST_LOOK_BACK


def test_a_note_that_can_not_be_written_stops_no_sweep(tmp_path: Path) -> None:
    horizon = Horizon(tmp_path / "missing" / "swept_until")
    horizon.begin(NOON)
    horizon.end(NOON)
    assert horizon.swept_at == NOON
