"""The steps that may come next in the simulated world: when each can be taken, how often it is, and what it does."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from prefect.client.schemas.objects import StateType

from tests.simulation import moves
from tests.simulation.actors import Actor, Fault
from tests.simulation.attempts import FlowProcess, Outcome
from tests.simulation.coverage import Coverage
from tests.simulation.moves import Move
from tests.simulation.reconcilers import KnownReconciler
from tests.simulation.runs import TERMINAL, Run
from tests.simulation.truth import Watch
from tests.simulation.world import World

Anything = TypeVar("Anything")

MOST_RUNS = 4
FAR = 1000
HOW_FAR = st.sampled_from([FAR] * 8 + [1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 18, 22])
"""How far somebody goes before something else happens: to the end, mostly."""
ENDINGS = st.sampled_from(["waits", "waits", "crashes", "goes on with a fault"])
SOME_TIME = st.sampled_from([0.1, 0.5, 1.0, 2.5, 6.0, 12.0, 40.0, 90.0, 400.0, 4000.0])


@dataclass
class Player:
    """Takes a step, whose details are drawn."""

    world: World
    watch: Watch
    coverage: Coverage
    draw: Callable[[SearchStrategy[Any], str], Any]

    def one_of(self, found: list[Anything], what: str) -> Anything:
        """Draw one of several things."""
        return found[self.draw(st.integers(0, len(found) - 1), what)]

    def move(self, kinds: Mapping[str, Move]) -> None:
        """Let somebody do one of the things to a run that can be done."""
        possible = [
            (name, run) for name, move in kinds.items() for run in self.world.runs() if move.can(self.world, run)
        ]
        name = self.one_of(sorted({name for name, _ in possible}), "what")
        run = self.one_of([run for other, run in possible if other == name], "which run")
        kinds[name].do(self.world, run, self.one_of(self.world.hosts, "host"))

    def go(self, actor: Actor | None) -> None:
        """Let somebody go on for some steps, and end there in some way."""
        if actor is None:
            return
        actor.go_on(self.draw(HOW_FAR, "how far"))
        if actor.can_go_on:
            ending = self.draw(ENDINGS, "and then")
            if ending == "crashes":
                self.coverage.count_crash(self.world, actor)
                self.world.crash(actor)
            elif ending == "goes on with a fault":
                actor.fault = self.draw(st.sampled_from(Fault), "fault")
                actor.go_on()


@dataclass(frozen=True)
class Step:
    """Something that may happen next."""

    weight: int
    can: Callable[[World], object]
    do: Callable[[Player], None]


def _can_move(kinds: Mapping[str, Move]) -> Callable[[World], bool]:
    return lambda world: any(move.can(world, run) for move in kinds.values() for run in world.runs())


def _asks(player: Player) -> None:
    by_schedule = player.draw(st.booleans(), "by a schedule")
    after = player.draw(st.sampled_from([0, 20, 3600]), "after")
    player.world.ask(
        plane=player.draw(st.booleans(), "on a plane"),
        ours=player.draw(st.sampled_from([True, True, True, False]), "ours"),
        after=after + 5 * by_schedule,
        by_schedule=by_schedule,
    )


def _starts(player: Player) -> None:
    world = player.world
    run = player.one_of([run for run in world.runs() if moves.WORKER["take"].can(world, run)], "which run")
    host = player.one_of(world.hosts, "host")
    for name in ("take", "submit", "start"):
        moves.WORKER[name].do(world, run, host)
    player.go(next(iter(world.processes_of(run))).actor)


def _retries(player: Player) -> None:
    world = player.world
    run = player.one_of([run for run in world.runs() if moves.PEOPLE["retry"].can(world, run)], "which run")
    moves.PEOPLE["retry"].do(world, run, world.hosts[0])


def _ends_otherwise(player: Player) -> None:
    """People set a run that is being cancelled, or has ended, to another end; they have mostly seen it before."""
    world = player.world
    run = player.one_of(_ending(world), "which run")
    if player.draw(st.sampled_from([True, True, False]), "is seen before"):
        world.read(run.id).go_on()
    ends = [name for name in ENDS if moves.PEOPLE[name].can(world, run)]
    moves.PEOPLE[player.one_of(ends, "which end")].do(world, run, world.hosts[0])
    if player.draw(st.booleans(), "is seen at once"):
        world.read(run.id).go_on()


def _work_ends(player: Player) -> None:
    process = player.one_of(working(player.world), "which process")
    process.outcome = player.draw(OUTCOMES, "outcome")
    player.go(process.actor)


def _is_cancelled_when_done(player: Player) -> None:
    """Somebody cancels a run whose process has kept its result and has not said so to Prefect."""
    world = player.world
    process = player.one_of(working(world), "which process")
    process.outcome = Outcome.COMPLETES
    while process.actor.can_go_on and process.actor.done.get(process.run.id) != "table.stage_result":
        process.actor.step()
    cancel = moves.PEOPLE["cancel"]
    if not process.actor.is_done and not process.run.is_deleted and cancel.can(world, process.run):
        cancel.do(world, process.run, process.body.host)
        if player.draw(st.booleans(), "is seen at once"):
            world.read(process.run.id).go_on()


def _meets_its_fate(player: Player) -> None:
    process = player.one_of(living(player.world), "which process")
    match player.draw(st.sampled_from(["is killed", "is stopped", "loses its worker"]), "fate"):
        case "is killed":
            player.world.kill(process.body.pid)
        case "is stopped":
            player.world.stop(process, stopped=True)
        case _:
            player.world.worker_dies(process.body.host)


def _continues(player: Player) -> None:
    player.world.stop(player.one_of(stopped(player.world), "which process"), stopped=False)


def _deaths_are_reported(player: Player) -> None:
    for pid in list(player.world.unreported):
        player.go(player.world.report(player.world.processes[pid]))


def _sweeps_some_rounds(player: Player) -> None:
    one = player.one_of(player.world.reconcilers, "which reconciler")
    after = player.draw(st.sampled_from([0.0, 2.5, 20.0]), "after each")
    for _ in range(player.draw(st.integers(2, 5), "rounds")):
        one.sweep().go_on()
        player.world.pass_time(after)
        player.watch.look()


def _message_arrives(player: Player) -> None:
    one = player.one_of(with_mail(player.world), "which reconciler")
    keeps = player.draw(st.sampled_from([False, False, True]), "comes again")
    player.go(one.deliver(player.draw(st.integers(0, len(one.mail) - 1), "which message"), keep=keeps))


def _all_messages(player: Player) -> None:
    is_lost = player.draw(st.booleans(), "are lost")
    for one in with_mail(player.world):
        if is_lost:
            one.mail.clear()
        while one.mail and (actor := one.deliver(0)) is not None:
            actor.go_on()


def _late(player: Player) -> None:
    late = player.world.late
    late.pop(player.draw(st.integers(0, len(late) - 1), "which call")).action()


def _reads(player: Player) -> None:
    player.go(player.world.read(player.one_of(list(player.world.server.runs), "which run")))


def _is_overtaken(player: Player) -> None:
    """Somebody has asked Prefect and is about to write the answer, when the run moves on and others write that."""
    world = player.world
    if player.draw(st.booleans(), "who reads a job"):
        actor = world.read(player.one_of(list(world.server.runs), "which run"))
    else:
        actor = player.one_of(world.reconcilers, "which reconciler").sweep()
    for _ in range(player.draw(st.sampled_from([1, 1, 2]), "which write")):
        actor.go_on(1)
        while actor.can_go_on and actor.at is not None and actor.at.call != "table.apply":
            actor.step()
    run = world.server.runs.get(actor.at.job_id) if actor.at is not None and actor.at.job_id is not None else None
    if run is None or run.is_deleted:
        return
    names = [name for name, move in (moves.WORKER | moves.PEOPLE).items() if move.can(world, run)]
    moves.ALL[player.one_of(names, "what")].do(world, run, world.hosts[0])
    for process in list(world.processes_of(run)):
        if process.is_healthy:
            process.actor.go_on()
    for one in with_mail(world):
        while one.mail and (writer := one.deliver(-1)) is not None:
            writer.go_on()
    if player.draw(st.booleans(), "writes at once"):
        actor.go_on()


def _goes_down(player: Player) -> None:
    what = player.draw(st.sampled_from(["table", "table", "prefect", "lake"]), "what")
    getattr(player.world, f"{what}_gate").is_up = False


def _is_set_back(player: Player) -> None:
    by = timedelta(seconds=player.draw(st.sampled_from([1, 30, 4000]), "seconds"))
    player.world.set_clock_back(by, machines_too=player.draw(st.booleans(), "of machines, too"))


def _shows_late(player: Player) -> None:
    player.world.server.lag = player.draw(st.sampled_from([0.0, 0.4, 1.5]), "seconds")


def living(world: World) -> list[FlowProcess]:
    """Return the processes that live."""
    return [one for one in world.processes.values() if one.body.is_alive]


def _ending(world: World) -> list[Run]:
    """Return the runs that have ended or are being cancelled; the latter, which are rare, several times."""
    cancelling = [run for run in world.runs() if run.type is StateType.CANCELLING]
    return 4 * cancelling + [run for run in world.runs() if run.type in TERMINAL]


def working(world: World) -> list[FlowProcess]:
    """Return the processes whose body works."""
    return [one for one in world.processes.values() if one.works and one.is_healthy]


def stopped(world: World) -> list[FlowProcess]:
    """Return the processes that are stopped."""
    return [one for one in living(world) if one.body.is_stopped]


def with_mail(world: World) -> list[KnownReconciler]:
    """Return the reconcilers that messages wait for, and that read none now."""
    return [one for one in world.reconcilers if one.mail and (one.writing is None or one.writing.is_done)]


def _new_run_fits(world: World) -> bool:
    return len(world.server.runs) < MOST_RUNS


def _always(world: World) -> bool:
    return True


OUTCOMES = st.sampled_from([Outcome.COMPLETES, Outcome.COMPLETES, Outcome.FAILS_FOR_NOW, *Outcome])
ENDS = ("force COMPLETED", "force COMPLETED", "force FAILED", "force CRASHED", "force CANCELLED")
_REPEATED = {name: moves.PEOPLE[name] for name in ("cancel", "resume")}
_TAKE = {"take": moves.WORKER["take"]}
_RETRY = {"retry": moves.PEOPLE["retry"]}

STEPS: Mapping[str, Step] = {
    "a worker starts a run": Step(8, _can_move(_TAKE), _starts),
    "somebody goes on": Step(
        8, lambda world: world.actors(), lambda player: player.go(player.one_of(player.world.actors(), "who"))
    ),
    "work ends": Step(12, working, _work_ends),
    "somebody cancels when work is done": Step(4, working, _is_cancelled_when_done),
    "a reconciler sweeps": Step(
        6, _always, lambda player: player.go(player.one_of(player.world.reconcilers, "which reconciler").sweep())
    ),
    "a reconciler sweeps some rounds": Step(4, _always, _sweeps_some_rounds),
    "a message arrives": Step(4, with_mail, _message_arrives),
    "all messages arrive": Step(3, with_mail, _all_messages),
    "time passes": Step(6, _always, lambda player: player.world.pass_time(player.draw(SOME_TIME, "seconds"))),
    "people retry": Step(6, _can_move(_RETRY), _retries),
    "people do again": Step(3, _can_move(_REPEATED), lambda player: player.move(_REPEATED)),
    "people do": Step(5, _can_move(moves.PEOPLE), lambda player: player.move(moves.PEOPLE)),
    "people end a run otherwise": Step(4, _ending, _ends_otherwise),
    "a worker does": Step(5, _can_move(moves.WORKER), lambda player: player.move(moves.WORKER)),
    "the server does": Step(2, _can_move(moves.SERVER), lambda player: player.move(moves.SERVER)),
    "a process meets its fate": Step(5, living, _meets_its_fate),
    "a process continues": Step(3, stopped, _continues),
    "deaths are reported": Step(3, lambda world: world.unreported, _deaths_are_reported),
    "a late call takes effect": Step(3, lambda world: world.late, _late),
    "somebody is overtaken": Step(4, _always, _is_overtaken),
    "somebody reads a job": Step(2, _always, _reads),
    "somebody asks": Step(2, _new_run_fits, _asks),
    "a schedule is deleted": Step(1, moves.made_for_later, lambda player: moves.delete_schedule(player.world)),
    "a machine restarts": Step(
        1, living, lambda player: player.world.restart(player.one_of(player.world.hosts, "which host"))
    ),
    "something goes down": Step(2, lambda world: world.is_all_up, _goes_down),
    "all is up again": Step(4, lambda world: not world.is_all_up, lambda player: player.world.bring_up()),
    "the clock is set back": Step(1, _always, _is_set_back),
    "Prefect shows its states late": Step(1, _always, _shows_late),
}
"""All of them; the first is the simplest."""
