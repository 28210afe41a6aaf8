"""The simulated world as Hypothesis drives it: which step comes next, and how often each."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from prefect_narrative.jobs.store import JobStore
from prefect_narrative.testing import MemoryJobStore
from tests.simulation.clocks import Clocks
from tests.simulation.coverage import Coverage
from tests.simulation.settling import settle
from tests.simulation.steps import STEPS, Player
from tests.simulation.truth import Watch
from tests.simulation.world import World


def in_memory(clocks: Clocks) -> JobStore:
    """Return a job table that lives in this process."""
    return MemoryJobStore(clock=clocks.machine)


def worlds(usual: int) -> int:
    """Return how many worlds to play: as many as `NARRATIVE_SIMULATIONS` says, or the usual number."""
    return int(os.environ.get("NARRATIVE_SIMULATIONS", usual))


class Simulation(RuleBasedStateMachine):
    """The world, a step at a time; in the end it comes to rest and is judged.

    There is one rule, which draws among the steps that would do something, by their weights. Rules of their own would
    be left out of many examples by Hypothesis, and deep states need nearly all of them.
    """

    make_table: ClassVar[Callable[[Clocks], JobStore]] = staticmethod(in_memory)
    coverage: ClassVar[Coverage] = Coverage()

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="narrative-simulation-"))
        self.world = World(type(self).make_table, self.folder)
        self.watch = Watch(self.world)

    @initialize(planes=st.lists(st.booleans(), min_size=1, max_size=2))
    def begin(self, planes: list[bool]) -> None:
        """Let somebody ask for the first jobs."""
        for plane in planes:
            self.world.ask(plane=plane)

    @rule(data=st.data())
    def step(self, data: Any) -> None:
        """Let something happen."""
        possible = [name for name, one in STEPS.items() if one.can(self.world) for _ in range(one.weight)]
        name = data.draw(st.sampled_from(possible), "step")
        STEPS[name].do(Player(self.world, self.watch, self.coverage, data.draw))

    @invariant()
    def rules_hold(self) -> None:
        """Look at what was written, after each step."""
        self.watch.look()

    def teardown(self) -> None:
        """Let the world come to rest and judge it."""
        try:
            settle(self.world, self.watch)
            self.coverage.count_depths(self.world)
        finally:
            self.world.close()
            shutil.rmtree(self.folder)


def simulate(simulation: type[Simulation], count: int) -> None:
    """Play so many worlds, always the same ones; a failing one prints what replays it."""
    run_state_machine_as_test(
        simulation,
        settings=settings(
            max_examples=count,
            stateful_step_count=50,
            deadline=None,
            database=None,
            derandomize=True,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        ),
    )
