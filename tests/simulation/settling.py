"""Lets the world come to rest: all that was down is up, what was late arrives, and fresh reconcilers sweep."""

from tests.simulation.attempts import Outcome
from tests.simulation.runs import TERMINAL
from tests.simulation.truth import Judge, Watch, all_rows, is_at_rest
from tests.simulation.world import World

MOST_ROUNDS = 60
LONG = 29.0
"""Seconds from a sweep that saw nothing new to the next: together with the time before, enough for one that looks ahead
once more, and not so many that whoever looks at processes counts as held up."""


def settle(world: World, watch: Watch) -> None:
    """Let the world come to rest, and compare the table with the truth.

    Raises:
        AssertionError: it does not come to rest, or the table is not what the truth makes it.
    """
    world.bring_up()
    world.server.lag = 0.0
    world.held.clear()
    while world.late:
        world.late.pop().action()
    world.let_code_go_on()
    for one in world.reconcilers:
        for actor in one.actors():
            actor.go_on()
        while one.mail:
            written = one.deliver(0)
            assert written is not None
            written.go_on()
        one.crash()
    watch.look()
    world.pass_time(3)
    stopped = [one for one in world.processes.values() if one.body.is_stopped]
    _sweep_until_quiet(world, watch, at_least=8 if stopped else 0)
    if stopped:
        for process in stopped:
            world.stop(process, stopped=False)
            if process.works and process.body.pid % 2:
                process.outcome = Outcome.COMPLETES
                process.actor.go_on()  # before its pulse looks
        world.pass_time(2)
        world.let_code_go_on()
        _sweep_until_quiet(world, watch)
    if _end_what_lives_on(world):
        _sweep_until_quiet(world, watch)
    Judge(world, watch).judge()


def _sweep_until_quiet(world: World, watch: Watch, at_least: int = 0) -> None:
    """Sweep until nothing changes any more and no run is left that a dead process has."""
    before: list[tuple[int, str]] = []
    quiet = 0
    for number in range(MOST_ROUNDS):
        for one in world.reconcilers:
            one.sweep().go_on()
            watch.look()
        world.let_code_go_on()
        watch.look()
        now = [(row.version, run_state) for row, run_state in _all(world)]
        quiet = quiet + 1 if now == before else 0
        before = now
        if quiet >= 2 and number >= at_least and is_at_rest(world):
            return
        world.pass_time(LONG if quiet else 2.5)
    stuck = [f"{run.id} {run.state.name}" for run in world.runs() if run.type not in TERMINAL]
    raise AssertionError(f"the world does not come to rest: {stuck}")


def _all(world: World) -> list[tuple[object, str]]:
    runs = world.server.runs
    return [(row, str(runs[row.job_id].state.id)) for row in all_rows(world)]


def _end_what_lives_on(world: World) -> bool:
    """Let each process that works on although its run has ended come to its end: it must not publish."""
    found = [one for one in world.processes.values() if one.works and one.body.is_alive and one.run.type in TERMINAL]
    for process in found:
        if process.run.state.name == "Cancelled":
            world.declared[process.run.id] = max(one.token for one in world.traces[process.run.id])
        process.outcome = Outcome.COMPLETES
        process.actor.go_on()
    return bool(found)
