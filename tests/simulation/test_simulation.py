"""The core keeps its promises in simulated worlds, whatever happens there, and comes to rest at Prefect's truth."""

import logging
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.simulation.coverage import DEPTHS
from tests.simulation.machine import Simulation

COUNT = int(os.environ.get("NARRATIVE_SIMULATIONS", "150"))
RARE = {"asked to cancel, and completed", "asked to cancel, and failed"}
"""What some hundreds of worlds need not reach."""


@pytest.fixture
def silence() -> Iterator[None]:
    """The core logs each of the thousands of faults that are played."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.timeout(36_000)
def test_every_world_comes_to_rest_at_the_truth(silence: None) -> None:
    """A failing one prints what replays it; the same count plays the same worlds."""
    run_state_machine_as_test(
        Simulation,
        settings=settings(
            max_examples=COUNT,
            stateful_step_count=50,
            deadline=None,
            database=None,
            derandomize=True,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        ),
    )
    reached = {name for name in DEPTHS if Simulation.coverage.depths[name]}
    assert set(DEPTHS) - reached <= RARE
