"""A reconciler, or somebody who reads a job, may crash anywhere: the table becomes right all the same."""

from pathlib import Path

import pytest

from tests.simulation.crashing import crash_at, points_of
from tests.simulation.scripts import EVENTS, POINTS, STATES, impossible, possible


@pytest.mark.parametrize("point", points_of("sweep", "listener", "reader"))
def test_a_crash_leaves_the_table_right(point: str, tmp_path: Path) -> None:
    """In each state of the row that there can be, and after each event, which are counted."""
    crash_at(point, tmp_path)


def test_all_points_are_played() -> None:
    """Each point is somebody's whose crashes are played, and what is left out has a reason."""
    assert set(points_of("sweep", "listener", "reader", "process", "worker")) == set(POINTS)
    combinations = {(state, event, point) for state in STATES for event in EVENTS for point in POINTS}
    left_out = combinations - set(possible())
    assert all(impossible(*one) for one in left_out)
    assert len(left_out) < len(combinations) / 7
