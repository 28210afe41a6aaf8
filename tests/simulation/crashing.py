"""Plays every crash that there can be at a point, each in a world of its own, and judges how that comes to rest."""

from pathlib import Path

from tests.simulation.coverage import Coverage
from tests.simulation.machine import in_memory
from tests.simulation.scripts import POINTS, Stage, play, possible
from tests.simulation.settling import settle
from tests.simulation.truth import Watch
from tests.simulation.world import World


def points_of(*who: str) -> list[str]:
    """Return the points at which some may crash, such as `sweep`."""
    return [point for point in POINTS if point.startswith(who)]


def crash_at(point: str, folder: Path) -> None:
    """Let somebody crash at a point in each state of the row, after each event, and let the world come to rest.

    Raises:
        AssertionError: one of these crashes was not reached, or the table is not what the truth makes it.
    """
    wanted = [one for one in possible() if one[2] == point]
    coverage = Coverage()
    for number, one in enumerate(wanted):
        _crash(one, coverage, folder / str(number))
    assert set(wanted) <= set(coverage.crashes), f"not reached: {set(wanted) - set(coverage.crashes)}"


def _crash(combination: tuple[str, str, str], coverage: Coverage, folder: Path) -> None:
    world = World(in_memory, folder)
    watch = Watch(world)
    try:
        actor = play(Stage(world), *combination)
        watch.look()
        coverage.count_crash(world, actor)
        world.crash(actor)
        settle(world, watch)
    except AssertionError as error:
        raise AssertionError(f"After a crash with (row, event, point) {combination}: {error}") from error
    finally:
        world.close()
