"""A cell of the suite: one thing that happens to one victim at one moment."""

from collections.abc import Callable
from dataclasses import dataclass

from fault_suite.scene import Scene

AIM_SECONDS = 30.0
DEATH_AIM_SECONDS = 15.0
ELSEWHERE_AIM_SECONDS = 120.0

Play = Callable[[Scene], None]


@dataclass(frozen=True)
class Cell:
    """What is played, and what is asked of the table meanwhile."""

    name: str
    group: str
    """What it is about; the short form plays one cell of each group."""
    play: Play
    """Sets up, does the deed, and says what each job must come to."""
    aim_seconds: float = AIM_SECONDS
    """How long the table may be wrong."""
    patience_seconds: float = 60.0
    """After what time from the deed a wrong table counts as wrong for ever."""
    healthy: bool = False
    """Whether every part is well, so that the table has to show each move at once."""
    quick: bool = False
    """Whether the short form may choose it."""
    long: bool = False
    """Whether it is played in the long form only."""
    tables: tuple[str, ...] = ("sqlite", "postgresql")
    """With which tables it makes sense."""


CELLS: list[Cell] = []


def cell(group: str, **more: object) -> Callable[[Play], Play]:
    """Make a function a cell, which is called as the function, with hyphens."""

    def register(play: Play) -> Play:
        CELLS.append(Cell(play.__name__.replace("_", "-"), group, play, **more))  # type: ignore[arg-type]
        return play

    return register
