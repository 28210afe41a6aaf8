"""What workers, the server and people may do to a run, and when each can be done."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from prefect.client.schemas.objects import StateType

from tests.simulation.api import is_kept_ready
from tests.simulation.processes import Host
from tests.simulation.runs import GIVEN_UP_AFTER, LATE_AFTER, OURS, TERMINAL, Run
from tests.simulation.world import World

PREFETCH = timedelta(seconds=10)
"""How long before its time a worker takes a run."""


@dataclass(frozen=True)
class Move:
    """Something that somebody may do to a run."""

    can: Callable[[World, Run], bool]
    do: Callable[[World, Run, Host], object]


def _starts_at_is_past(world: World, run: Run, margin: timedelta) -> bool:
    at = run.state.state_details.scheduled_time
    return at is not None and at <= world.clocks.server() + margin


def _can_be_taken(world: World, run: Run) -> bool:
    waits = run.type is StateType.SCHEDULED and not run.waits_in_process and run.id not in world.held
    is_ours = run.now.deployment_id == OURS  # what flows of others do is no concern of ours
    return is_ours and waits and _starts_at_is_past(world, run, PREFETCH)


def _take(world: World, run: Run, host: Host) -> None:
    world.server.propose(run, StateType.PENDING)
    world.held[run.id] = host


def _start(world: World, run: Run, host: Host) -> None:
    world.spawn(run, world.held.pop(run.id))


def _start_refused(world: World, run: Run, host: Host) -> None:
    world.spawn(run, world.held.pop(run.id), is_refused=True)


def _has_waited_in_state(world: World, run: Run, long: timedelta) -> bool:
    return world.clocks.server() - run.state.timestamp >= long


def _is_cancelling_with_a_worker(world: World, run: Run) -> bool:
    has_worker = run.id in world.held or any(one.run is run and one.has_worker for one in world.processes.values())
    return run.type is StateType.CANCELLING and has_worker


WORKER = {
    "take": Move(_can_be_taken, _take),
    "submit": Move(
        lambda world, run: run.id in world.held and run.type is StateType.PENDING and run.state.name == "Pending",
        lambda world, run, host: world.server.propose(run, StateType.PENDING, "Submitting"),
    ),
    "start": Move(lambda world, run: run.id in world.held, _start),
    "start refused": Move(lambda world, run: run.id in world.held and run.now.run_count == 0, _start_refused),
    "fail to start": Move(
        lambda world, run: run.id in world.held,
        lambda world, run, host: (
            world.held.pop(run.id),
            world.server.propose(run, StateType.CRASHED, message="Flow run could not start: no module"),
        ),
    ),
    "find no slot": Move(
        lambda world, run: _can_be_taken(world, run) and run.state.name != "AwaitingConcurrencySlot",
        lambda world, run, host: world.server.propose(
            run, StateType.SCHEDULED, "AwaitingConcurrencySlot", at=world.clocks.server() + timedelta(seconds=30)
        ),
    ),
    "drop": Move(lambda world, run: run.id in world.held, lambda world, run, host: world.held.pop(run.id)),
    "carry out": Move(_is_cancelling_with_a_worker, lambda world, run, host: world.carry_out(run)),
}
"""What a worker does."""

SERVER = {
    "mark late": Move(
        lambda world, run: (
            run.type is StateType.SCHEDULED
            and run.state.name == "Scheduled"
            and _starts_at_is_past(world, run, -LATE_AFTER)
        ),
        lambda world, run, host: world.server.propose(
            run, StateType.SCHEDULED, "Late", at=run.state.state_details.scheduled_time
        ),
    ),
    "give up cancelling": Move(
        lambda world, run: run.type is StateType.CANCELLING and _has_waited_in_state(world, run, GIVEN_UP_AFTER),
        lambda world, run, host: world.server.propose(run, StateType.CANCELLED),
    ),
}
"""What the server does by itself."""


def _force(type: StateType) -> Move:
    return Move(
        lambda world, run: run.type is not type,
        lambda world, run, host: world.server.propose(run, type, message="by hand", force=True),
    )


PEOPLE = {
    "cancel": Move(
        lambda world, run: run.type not in TERMINAL,
        lambda world, run, host: world.server.propose(run, StateType.CANCELLING),
    ),
    "retry": Move(
        lambda world, run: run.type in TERMINAL,
        lambda world, run, host: world.server.propose(run, StateType.SCHEDULED, "AwaitingRetry"),
    ),
    "resume": Move(
        lambda world, run: run.type is StateType.PAUSED,
        lambda world, run, host: world.server.propose(
            run,
            StateType.SCHEDULED if run.is_suspended else StateType.RUNNING,
            "Resuming" if run.is_suspended else None,
        ),
    ),
    "force CANCELLED": _force(StateType.CANCELLED),
    "force FAILED": _force(StateType.FAILED),
    "force COMPLETED": _force(StateType.COMPLETED),
    "force CRASHED": _force(StateType.CRASHED),
    "force RUNNING": Move(
        lambda world, run: run.type in TERMINAL | {StateType.SCHEDULED},
        lambda world, run, host: world.server.propose(run, StateType.RUNNING, message="by hand", force=True),
    ),
    "delete": Move(lambda world, run: True, lambda world, run, host: _delete(world, run)),
}
"""What people do, in Prefect's UI or by its API."""


def _delete(world: World, run: Run) -> None:
    world.server.delete(run)
    world.held.pop(run.id, None)
    world.happened(run, "deleted")


def made_for_later(world: World) -> list[Run]:
    """Return the runs that a schedule keeps ready for later."""
    now = world.clocks.server()
    return [run for run in world.runs() if is_kept_ready(run.now) and run.now.expected_start_time > now]


def delete_schedule(world: World) -> None:
    """Delete what a schedule has made for later."""
    for run in made_for_later(world):
        _delete(world, run)


ALL = WORKER | SERVER | PEOPLE
