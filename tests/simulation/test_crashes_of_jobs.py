"""A job's process, or the worker that looks after it, may crash anywhere: the table becomes right all the same."""

from pathlib import Path

import pytest

from tests.simulation.crashing import crash_at, points_of


@pytest.mark.parametrize("point", points_of("process", "worker"))
def test_a_crash_leaves_the_table_right(point: str, tmp_path: Path) -> None:
    """In each state of the row that there can be, and after each event, which are counted."""
    crash_at(point, tmp_path)
