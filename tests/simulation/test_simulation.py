"""The core keeps its promises in simulated worlds, whatever happens there, and comes to rest at Prefect's truth."""

import pytest

from tests.simulation.coverage import DEPTHS, Coverage
from tests.simulation.machine import Simulation, simulate, worlds
from tests.simulation.scripts import possible


class InMemory(Simulation):
    """With the job table in memory."""

    coverage = Coverage()


@pytest.mark.timeout(36_000)
def test_every_world_comes_to_rest_at_the_truth() -> None:
    """And the worlds reach what they should: each depth of history, and no crash that is not played one by one."""
    simulate(InMemory, worlds(150))
    assert {name for name in DEPTHS if not InMemory.coverage.depths[name]} == set()
    assert set(InMemory.coverage.crashes) <= set(possible()), "somebody crashed where no play leads"
