"""Short plays that lead somebody to a point at which he is to crash, a row to a state, and a run to an event."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from prefect.client.schemas.objects import StateType

from prefect_narrative.jobs.states import JobState
from tests.simulation.actors import Actor, Fault
from tests.simulation.attempts import FlowProcess, Outcome
from tests.simulation.moves import ALL
from tests.simulation.runs import TERMINAL, Run
from tests.simulation.world import World

NOTHING = "nothing"


class Stage:
    """A world in which one play follows another, each with a job of its own.

    Args:
        world: The simulated world.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.run: Run = None  # type: ignore[assignment]

    # The job, and how it comes to work.

    def begin(self, *, plane: bool = False) -> None:
        """Let somebody ask for a new job."""
        self.run = self.world.ask(plane=plane)

    def do(self, *names: str, host: int = 0) -> None:
        """Let workers, the server or people do something to the run."""
        for name in names:
            assert ALL[name].can(self.world, self.run), f"nobody can {name} a run that is {self.run.state.name}"
            ALL[name].do(self.world, self.run, self.world.hosts[host])

    def start(self, host: int = 0) -> FlowProcess:
        """Let a worker start the run's next process, which has not done anything yet."""
        self.do("take", "submit", "start", host=host)
        return next(iter(self.world.processes_of(self.run)))

    def bring(self, actor: Actor, done: str, *, without_table: bool = False, refused: str = "") -> Actor:
        """Let an actor go on until he has done something about the job, and stands right after that.

        Args:
            actor: Who.
            done: What; `NOTHING`: let him stand where he is.
            without_table: Let his calls of the job table fail on the way.
            refused: A call of the job table that is to fail.
        """
        for _ in range(2000):
            if actor.done.get(self.run.id, NOTHING) == done:
                return actor
            assert actor.can_go_on, f"{actor.who} ends, or waits before {actor.at}, and has not done {done}"
            call = actor.at.call if actor.at is not None else ""
            if call == refused or (without_table and call.startswith("table.")):
                actor.fault = Fault.REFUSED
            actor.step()
        raise AssertionError(f"{actor.who} goes in circles, and does not do {done}")

    def work(self, host: int = 0) -> FlowProcess:
        """Let a worker start a process, and that one come to work."""
        process = self.start(host)
        process.actor.go_on()
        assert process.works
        return process

    def leave_a_result(self, done: str) -> None:
        """Let an attempt at the job keep its result, or publish it, and die before it says so; open the job again."""
        process = self.work()
        process.outcome = Outcome.COMPLETES
        self.bring(process.actor, done)
        self.die(process)
        self.do("force CRASHED", "retry")

    def die(self, process: FlowProcess) -> None:
        """Kill a process whose worker is gone."""
        process.has_worker = False
        self.world.kill(process.body.pid)

    def look(self) -> None:
        """Bring the row up to date."""
        self.world.read(self.run.id).go_on()

    def sweep(self, after: float = 0.0, which: int = 0) -> None:
        """Let a while pass, and then a reconciler sweep."""
        self.world.pass_time(after)
        self.world.reconcilers[which].sweep().go_on()

    # What the row says.

    def bring_row(self, state: str) -> None:
        """Bring the row into a state, by way of the run."""
        if self.world.row_state(self.run.id) == state:
            return
        match state:
            case JobState.PENDING:
                self.open_again()
            case JobState.RUNNING:
                self.run_by_hand()
            case JobState.PENDING_CANCELLATION:
                self.run_by_hand()
                self.do("cancel")
            case _:
                self.force({"completed": "COMPLETED", "failed": "FAILED", "cancelled": "CANCELLED"}[state])
        self.look()
        if self.world.row_state(self.run.id) != state:
            self.sweep(which=1)  # gives a completed run the result that it has published
        assert self.world.row_state(self.run.id) == state, (
            f"its row is {self.world.row_state(self.run.id)}, not {state}"
        )

    # What happens to the run.

    def force(self, type: str) -> None:
        """Set the run to an end by hand."""
        if self.run.type.value == type:
            self.run_by_hand()
        self.do(f"force {type}")

    def open_again(self) -> None:
        """Bring the run to an end, and ask for another attempt."""
        if self.run.type not in TERMINAL:
            self.force("FAILED")
        self.do("retry")

    def run_by_hand(self) -> None:
        """Set the run to Running by hand."""
        if self.run.type not in TERMINAL:
            self.force("FAILED")
        self.do("force RUNNING")

    def take(self) -> None:
        """Let a worker take the run."""
        self.open_again()
        self.world.held.pop(self.run.id, None)
        self.do("take")

    def pause(self, *, suspended: bool) -> None:
        """Let the run pause."""
        self.run_by_hand()
        self.world.server.propose(self.run, StateType.PAUSED, suspended=suspended)

    def meet_fate(self, fate: str) -> None:
        """Let something happen to a process of the run that has not done anything yet."""
        process = self.world.spawn(self.run, self.world.hosts[2])
        process.has_worker = False
        if fate == "killed":
            self.world.kill(process.body.pid)
            return
        self.world.stop(process, stopped=True)
        if fate == "continued":
            self.world.stop(process, stopped=False)


def _again(stage: Stage) -> None:
    stage.open_again()
    stage.do("find no slot")


def _cancel(stage: Stage) -> None:
    stage.run_by_hand()
    stage.do("cancel")


EVENTS: Mapping[str, Callable[[Stage], None]] = {
    "created": lambda stage: None,
    "Scheduled again": _again,
    "AwaitingRetry": Stage.open_again,
    "Pending": Stage.take,
    "Running": Stage.run_by_hand,
    "Paused": lambda stage: stage.pause(suspended=False),
    "Suspended": lambda stage: stage.pause(suspended=True),
    "Cancelling": _cancel,
    "Cancelled": lambda stage: stage.force("CANCELLED"),
    "Completed": lambda stage: stage.force("COMPLETED"),
    "Failed": lambda stage: stage.force("FAILED"),
    "Crashed": lambda stage: stage.force("CRASHED"),
    "deleted": lambda stage: stage.do("delete"),
    "process killed": lambda stage: stage.meet_fate("killed"),
    "process stopped": lambda stage: stage.meet_fate("stopped"),
    "process continued": lambda stage: stage.meet_fate("continued"),
    "clock set back": lambda stage: stage.world.set_clock_back(timedelta(milliseconds=1), machines_too=False),
}
"""What may be the last thing that happened to a run, and how it comes to that."""


@dataclass(frozen=True)
class Point:
    """Where somebody may crash.

    `play` brings him there, with a new job of the stage's; it is told whether a result must be left by an earlier
    attempt, so that the row can come to say `completed`, and whether the row must not be there.
    """

    play: Callable[[Stage, bool, bool], Actor]
    has_row: bool = False
    """Whether he can only be there where the job has a row."""


def _process(
    done: str,
    outcome: Outcome = Outcome.COMPLETES,
    *,
    plane: bool = False,
    left: str = "table.stage_result",
    refused: str = "",
    has_row: bool = False,
) -> Point:
    def play(stage: Stage, result_left: bool, no_row: bool) -> Actor:
        stage.begin(plane=plane)
        if result_left and left:
            stage.leave_a_result(left)
        process = stage.start()
        process.outcome = outcome
        return stage.bring(process.actor, done, without_table=no_row, refused=refused)

    return Point(play, has_row)


def _claims(stage: Stage, result_left: bool, no_row: bool) -> Actor:
    stage.begin(plane=True)
    if result_left:
        stage.leave_a_result("lake.publish")
    elif not no_row:
        stage.die(stage.work())
        stage.do("force CRASHED", "retry")
    return stage.bring(stage.start().actor, "lake.claim", without_table=no_row)


def _listener(done: str) -> Point:
    def play(stage: Stage, result_left: bool, no_row: bool) -> Actor:
        for one in stage.world.reconcilers:
            one.mail.clear()
        stage.begin()
        if result_left:
            stage.leave_a_result("table.stage_result")
        actor = stage.world.reconcilers[0].deliver(-1)
        assert actor is not None
        return stage.bring(actor, done)

    return Point(play, has_row=done != NOTHING)


def _reader(done: str) -> Point:
    def play(stage: Stage, result_left: bool, no_row: bool) -> Actor:
        stage.begin()
        if result_left:
            stage.leave_a_result("table.stage_result")
        return stage.bring(stage.world.read(stage.run.id), done)

    return Point(play, has_row=done != NOTHING)


def _worker(done: str, *, cancels: bool) -> Point:
    def play(stage: Stage, result_left: bool, no_row: bool) -> Actor:
        stage.begin()
        if result_left:
            stage.leave_a_result("table.stage_result")
        process = stage.start()
        stage.bring(process.actor, "proposes RUNNING", without_table=no_row)
        if cancels:
            stage.do("cancel")
            return stage.bring(stage.world.carry_out(stage.run), done)
        stage.world.kill(process.body.pid)
        return stage.bring(stage.world.report(process), done)

    return Point(play, has_row=done == "table.apply")


def _sweep(
    done: str, prepare: Callable[[Stage], None], *, plane: bool = False, left: str = "table.stage_result"
) -> Point:
    def play(stage: Stage, result_left: bool, no_row: bool) -> Actor:
        stage.begin(plane=plane)
        if result_left and left:
            stage.leave_a_result(left)
        prepare(stage)
        return stage.bring(stage.world.reconcilers[0].sweep(), done)

    return Point(play, has_row=done != NOTHING)


def _dies(stage: Stage) -> None:
    process = stage.start()
    stage.bring(process.actor, "table.begin_attempt")
    process.actor.step()
    stage.world.pass_time(1)
    stage.die(process)
    stage.sweep()
    stage.world.pass_time(3)


def _runs_on(stage: Stage) -> None:
    stage.work()
    stage.do("force CANCELLED")
    stage.look()
    stage.do("force RUNNING")


def _is_cancelled_and_stopped(stage: Stage) -> None:
    process = stage.work()
    stage.world.pass_time(1)
    process.has_worker = False
    stage.world.stop(process, stopped=True)
    stage.do("cancel")
    stage.sweep()
    stage.sweep(23)
    stage.world.pass_time(23)


def _outlives_its_cancelling(stage: Stage) -> None:
    process = stage.work()
    stage.world.pass_time(1)
    process.has_worker = False
    stage.world.stop(process, stopped=True)
    stage.do("force CANCELLED")
    stage.sweep()
    stage.world.pass_time(4)


def _has_crashed(stage: Stage) -> None:
    stage.work()
    stage.do("force CRASHED")
    stage.look()
    stage.world.pass_time(16)


def _has_published(stage: Stage) -> None:
    process = stage.work()
    process.outcome = Outcome.COMPLETES
    stage.bring(process.actor, "lake.publish")
    stage.die(process)
    stage.do("force COMPLETED")
    stage.look()


def _puts(outcome: Outcome, refused: str) -> Callable[[Stage], None]:
    def prepare(stage: Stage) -> None:
        process = stage.work()
        process.outcome = outcome
        stage.bring(process.actor, "outbox.put", refused=refused)
        stage.die(process)

    return prepare


POINTS: Mapping[str, Point] = {
    "sweep: nothing": _sweep(NOTHING, lambda stage: None),
    "sweep: table.apply": _sweep("table.apply", lambda stage: None),
    "sweep: lake.fence": _sweep("lake.fence", _dies, plane=True, left="lake.publish"),
    "sweep: table.raise_fence": _sweep("table.raise_fence", _dies, plane=True, left="lake.publish"),
    "sweep: runs.end": _sweep("runs.end", _dies, plane=True, left="lake.publish"),
    "sweep: runs.cancel": _sweep("runs.cancel", _runs_on),
    "sweep: processes.kill": _sweep("processes.kill", _is_cancelled_and_stopped),
    "sweep: table.add_failure": _sweep("table.add_failure", _outlives_its_cancelling),
    "sweep: runs.retry": _sweep("runs.retry", _has_crashed),
    "sweep: table.stage_result": _sweep("table.stage_result", _has_published, plane=True, left=""),
    "sweep: table.add_usage": _sweep("table.add_usage", _puts(Outcome.COMPLETES, "table.add_usage")),
    "listener: nothing": _listener(NOTHING),
    "listener: table.apply": _listener("table.apply"),
    "reader: nothing": _reader(NOTHING),
    "reader: table.apply": _reader("table.apply"),
    "worker: nothing": _worker(NOTHING, cancels=True),
    "worker: ends the process": _worker("ends the process", cancels=True),
    "worker: proposes CANCELLED": _worker("proposes CANCELLED", cancels=True),
    "worker: proposes CRASHED": _worker("proposes CRASHED", cancels=False),
    "worker: table.apply": _worker("table.apply", cancels=False),
    "process: nothing": _process(NOTHING),
    "process: proposes RUNNING": _process("proposes RUNNING"),
    "process: table.apply": _process("table.apply", has_row=True),
    "process: table.begin_attempt": _process("table.begin_attempt", has_row=True),
    "process: lake.claim": Point(_claims),
    "process: lake.publish": _process("lake.publish", plane=True, left=""),
    "process: table.stage_result": _process("table.stage_result", has_row=True),
    "process: table.add_failure": _process("table.add_failure", Outcome.FAILS, has_row=True),
    "process: table.add_usage": _process("table.add_usage", has_row=True),
    "process: outbox.put": _process("outbox.put", refused="table.stage_result"),
    "process: proposes COMPLETED": _process("proposes COMPLETED"),
    "process: proposes FAILED": _process("proposes FAILED", Outcome.FAILS),
    "process: proposes CRASHED": _process("proposes CRASHED", Outcome.CRASHES),
    "process: proposes PAUSED": _process("proposes PAUSED", Outcome.PAUSES),
}
"""All points: who crashes, and what he has done last about the job."""

STATES = ("none", *(state.value for state in JobState))


def impossible(state: str, event: str, point: str) -> str | None:
    """Return why a crash can't be at a point, with the row in a state and an event as the last one; None if it can."""
    if state == "none" and POINTS[point].has_row:
        return "he has written to the row, or acts upon it, and rows are never deleted"
    if event == "created":
        if not point.startswith(("sweep", "listener", "reader")):
            return "a worker must have taken the run before, which is an event"
        if point not in {"sweep: nothing", "sweep: table.apply", *(one for one in POINTS if "er: " in one)}:
            return "it takes further events until a sweep does more than to write the row"
        if state not in {"none", "pending"}:
            return "a row can't be ahead of its run"
    return None


def possible() -> list[tuple[str, str, str]]:
    """Return the combinations of a row's state, a last event and a point of crash that there can be."""
    return [
        (state, event, point)
        for point in POINTS
        for state in STATES
        for event in EVENTS
        if impossible(state, event, point) is None
    ]


def play(stage: Stage, state: str, event: str, point: str) -> Actor:
    """Bring somebody to the point where he is to crash, with the row in a state, after an event; return who that is."""
    needs_result = state == JobState.COMPLETED
    actor = POINTS[point].play(stage, needs_result, state == "none")
    if event == "created" and point.endswith(NOTHING) and state == "pending":
        stage.look()
    elif event != "created":
        if state != "none":
            stage.bring_row(state)
        EVENTS[event](stage)
    return actor
