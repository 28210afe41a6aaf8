"""A flow's process: Prefect's engine around the body of a job, which uses the real `JobContext` and `Pulse`."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from prefect.client.schemas.objects import FlowRun, State, StateType

from prefect_narrative.errors import FailureKind, NarrativeError, SupersededError
from prefect_narrative.jobs.context import JobContext, failure_of
from prefect_narrative.jobs.prefect_runs import observe
from prefect_narrative.jobs.pulse import Pulse
from prefect_narrative.jobs.record import Executor, Progress, Usage
from prefect_narrative.jobs.retries import MAX_RETRIES, backoff
from prefect_narrative.jobs.store import JobTableUnavailableError
from tests.simulation.actors import Actor, Point, current
from tests.simulation.api import TYPE
from tests.simulation.processes import Body, Seat
from tests.simulation.runs import GoneError, Run, Status
from tests.simulation.tables import LakeFromHere, ProcessTable

if TYPE_CHECKING:
    from tests.simulation.world import World


class Outcome(StrEnum):
    """What becomes of the work of an attempt."""

    COMPLETES = "completes"
    FAILS = "fails"
    FAILS_FOR_NOW = "fails for now"
    """In a way that may end otherwise next time."""
    TIMES_OUT = "times out"
    PAUSES = "pauses"
    SUSPENDS = "suspends"
    CRASHES = "crashes"
    """It gets SIGTERM from somebody else than its worker, and says so to Prefect."""


class BrokenError(NarrativeError):
    """The data is bad."""

    kind: ClassVar[FailureKind] = FailureKind.DATA
    code: ClassVar[str] = "bad_data"


class FlakyError(NarrativeError):
    """The other system is down."""

    kind: ClassVar[FailureKind] = FailureKind.EXTERNAL
    code: ClassVar[str] = "other_system"


class LateError(NarrativeError, TimeoutError):
    """The job ran longer than it may."""

    kind: ClassVar[FailureKind] = FailureKind.RESOURCE
    code: ClassVar[str] = "timed_out"


ERRORS = {Outcome.FAILS: BrokenError, Outcome.FAILS_FOR_NOW: FlakyError, Outcome.TIMES_OUT: LateError}


class Leave(BaseException):
    """The attempt ends, and says nothing to Prefect."""


class Used(StrEnum):
    """Whether an attempt has said what it used."""

    NO = "no"
    PERHAPS = "perhaps"
    """It was killed while it did."""
    YES = "yes"


class _Meter:
    """What a job opens, and has read one row through."""

    def close(self) -> None:
        """Do nothing."""

    def progress(self) -> float | None:
        """Return None: nobody can tell."""
        return None

    def usage(self) -> Usage:
        """Return one row."""
        return Usage(read_rows=1)


@dataclass
class Trace:
    """What one attempt has come to: the truth, by which the table is judged."""

    job_id: UUID
    pid: int
    token: int
    number: int
    """The number that it was told."""
    episode: int
    """Which attempt it really is: counted by the server's states."""
    result: dict[str, Any] | None = None
    """The result that it has begun to keep, in the table or the outbox."""
    has_kept: bool = False
    """Whether it was not killed while it did."""
    failures: dict[str, bool] = field(default_factory=dict)
    """The messages of the failures that it has begun to report, and whether it was not killed while it did."""
    used: Used = Used.NO
    has_taken_over: bool = False
    """Whether it has looked for what earlier attempts had published, and works now itself."""


class FlowProcess:
    """A process that a worker started for a run.

    Args:
        world: Everything else.
        run: Its run.
        body: The process as its machine sees it.
        is_refused: Whether its parameters are wrong, so that it fails before it runs.
    """

    def __init__(self, world: "World", run: Run, body: Body, *, is_refused: bool = False) -> None:
        self.world = world
        self.run = run
        self.body = body
        self.has_worker = True
        """Whether the worker that started it lives, and will tell of its end."""
        self.outcome: Outcome | None = None
        self.pulse: Pulse | None = None
        self.trace: Trace | None = None
        self.context: JobContext | None = None
        self.has_begun = False
        self.ended_by_itself = False
        self.runs_for = 0
        """The attempt, counted by the server's states, at which the server let it run last; 0 before."""
        self.begun_at = self.continued_at = 0.0
        """When it began its attempt, and when it was let go on after it had been stopped, in ticks."""
        self._table = ProcessTable(world.shared_table, world.table_gate, world.wrote)
        self._lake = LakeFromHere(world.lake, world.lake_gate)
        self._is_refused = is_refused
        self._used_retries = 0
        self.actor = Actor("process", self._run)

    def start(self) -> None:
        """Go to its first step."""
        self.actor.start()

    @property
    def works(self) -> bool:
        """Whether its body works, and waits for what will become of that."""
        return self.actor.at is not None and self.actor.at.call == "works"

    @property
    def waits(self) -> bool:
        """Whether it waits for the time of its next attempt."""
        return self.actor.at is not None and self.actor.at.call == "waits for its time"

    @property
    def is_healthy(self) -> bool:
        """Whether it lives and is not stopped."""
        return self.body.is_alive and not self.body.is_stopped

    def look(self) -> None:
        """Let its pulse look once, which is a thread of its own."""
        if self.pulse is None or not self.is_healthy:
            return
        try:
            self.pulse._look(Seat(self.body, self.world.clocks), stopping=False)  # type: ignore[arg-type]
        except (JobTableUnavailableError, KeyError):
            return  # it is logged: the table is down, or has no such row yet

    def report_death(self) -> None:
        """Tell Prefect, as its worker, that it has died."""
        actor = current()
        assert actor is not None
        copy = self.run.now
        actor.stand(Point("worker", "proposes CRASHED", self.run.id))
        actor.wait(Point("worker", "waits for Prefect", self.run.id), lambda: self.world.prefect_gate.is_up)
        try:
            status, state = self.world.server.propose(
                self.run, StateType.CRASHED, message="Process exited with status code: -9"
            )
        except GoneError:
            return
        actor.done[self.run.id] = "proposes CRASHED"
        if status is Status.ACCEPT:
            self._hook(copy, state)

    def leave(self) -> None:
        """End its attempt from within, without a word to Prefect."""
        self.actor.interrupt(Leave)

    def kill(self) -> None:
        """Let nothing of it happen any more."""
        self.body.is_alive = False
        self.body.is_stopped = False
        self.pulse = None
        self.actor.kill()

    @classmethod
    def carry_out_cancelling(cls, world: "World", run: Run, process: "FlowProcess | None") -> None:
        """End a run's process, as its worker, tell Prefect, and run the hook of that."""
        actor = current()
        assert actor is not None
        actor.stand(Point("worker", "ends the process", run.id))
        if process is not None and process.body.is_alive:
            process.has_worker = False  # which tells of this end otherwise
            world.kill(process.body.pid)
        actor.done[run.id] = "ends the process"
        actor.stand(Point("worker", "proposes CANCELLED", run.id))
        actor.wait(Point("worker", "waits for Prefect", run.id), lambda: world.prefect_gate.is_up)
        try:
            world.server.propose(run, StateType.CANCELLED, force=True)
        except GoneError:
            return
        actor.done[run.id] = "proposes CANCELLED"
        try:
            seen = world.new_api().read(run.id)
            if seen is not None and process is not None:
                process._table.apply(seen, cause="hook")
        except Exception:  # as hooks have it
            return

    def _run(self) -> None:
        with contextlib.suppress(Leave, GoneError):
            self._engine()
        self.pulse = None
        self.ended_by_itself = True
        self.body.is_alive = False

    def _engine(self) -> None:
        copy = self._read()
        if self._is_refused:
            self._end(copy, StateType.FAILED, None, "parameters: rows must be at most 1000")
            return
        if not self._starts(copy):
            return
        while True:
            copy = self._read()
            ended = self._attempt(copy)
            if ended is None:
                return
            waits = self._end(copy, *ended)
            if not waits or not self._starts(copy):
                return

    def _starts(self, copy: FlowRun) -> bool:
        """Return whether the server lets it run."""
        status, state = self._propose(StateType.RUNNING)
        while status is Status.WAIT:
            at = state.state_details.scheduled_time
            assert at is not None
            self.actor.wait(self._point("waits for its time"), lambda: self.world.clocks.server() >= at)  # noqa: B023
            status, state = self._propose(StateType.RUNNING)
        if status is not Status.ACCEPT:
            return False
        self.runs_for = self.world.counts[self.run.id].number
        self._hook(copy, state)
        return True

    def _end(self, copy: FlowRun, type: StateType, name: str | None, message: str | None) -> bool:
        """Tell the server of an end; return whether it answers with another attempt."""
        status, state = self._propose(type, name, message, force=type is StateType.CRASHED)
        if status is Status.ACCEPT:
            self._hook(copy, state)
        return status is Status.REJECT and state.type is StateType.SCHEDULED

    def _attempt(self, copy: FlowRun) -> tuple[StateType, str | None, str | None] | None:
        """Return how an attempt at the body ends, or None where Prefect is told nothing more."""
        plane = copy.parameters.get("data_plane")
        self.world.clocks.ticks += 0.001  # no two begin in the same instant, which is all that tokens may be made of
        context = self.context = JobContext(
            self.run.id,
            self._table,
            self.world.outbox_of(self.body.host),
            attempt_hint=max(1, copy.run_count),
            executor=Executor(host=self.body.host.name, pid=self.body.pid),
            data_plane=plane,
            clock=self.world.clocks.machine,
        )
        trace = self.trace = self.world.began(self, context)
        self.pulse = Pulse(
            context.job_id,
            context.token,
            self._table,
            lambda: Progress(message="works", at=self.world.clocks.machine()),
            leave=lambda why: self.world.leaves(self),
            ticks=self.world.clocks.seconds,
        )
        context.use(_Meter())
        try:
            return self._body(copy, context, trace, plane)
        except SupersededError as exc:
            raise Leave from exc
        finally:
            if self.body.is_alive:
                self.pulse = None
                self._keep_usage()

    def _body(
        self, copy: FlowRun, context: JobContext, trace: Trace, plane: str | None
    ) -> tuple[StateType, str | None, str | None] | None:
        if self._used_retries:
            self.run.opens_retry = False
        try:
            found = self._taken_over(context, plane)
            if found is None:
                trace.has_taken_over = True
                outcome = self._work(copy)
                if outcome is Outcome.SUSPENDS:
                    return None
                if outcome is Outcome.CRASHES:
                    return StateType.CRASHED, None, "Execution was cancelled by the runtime environment."
                if outcome in ERRORS:
                    raise ERRORS[outcome](self.world.new_message())
                found = {"rows": context.token}
                if plane is not None:
                    found = self._lake.publish(self.run.id, context.token, found)
            trace.result = found
            context.keep_result(found)
            trace.has_kept = True
        except SupersededError:
            raise
        except Exception as exc:  # as `@job` has it
            trace.failures[failure_of(exc, 1, self.world.clocks.machine()).message] = False
            failure = context.keep_failure(exc)
            trace.failures[failure.message] = True
            if failure.retryable:
                self._allow_one(copy)
            name = "TimedOut" if isinstance(exc, LateError) else None
            return StateType.FAILED, name, str(exc)
        return StateType.COMPLETED, None, None

    def _taken_over(self, context: JobContext, plane: str | None) -> dict[str, Any] | None:
        if plane is None:
            return None
        if context.attempt.follows:
            return self._lake.claim(self.run.id, context.token)
        return self._lake.published(plane, self.run.id)

    def _work(self, copy: FlowRun) -> Outcome:
        while True:
            self.actor.wait(self._point("works"), lambda: self.outcome is not None)
            outcome, self.outcome = self.outcome, None
            assert outcome is not None
            if outcome is Outcome.PAUSES:
                if self._propose(StateType.PAUSED)[0] is Status.ACCEPT:
                    self.actor.wait(self._point("is paused"), lambda: self.run.type is StateType.RUNNING)
                continue
            if outcome is Outcome.SUSPENDS:  # noqa: SIM102
                if self._propose(StateType.PAUSED, suspended=True)[0] is not Status.ACCEPT:
                    continue
            return outcome

    def _allow_one(self, copy: FlowRun) -> None:
        most = copy.parameters.get("max_retries", MAX_RETRIES)
        if self._used_retries < most and self.world.prefect_gate.is_up and not self.run.is_deleted:
            self.run.opens_retry = True
            self.run.retry_delay = backoff(self._used_retries).total_seconds()
            self._used_retries += 1

    def _keep_usage(self) -> None:
        assert self.context is not None
        assert self.trace is not None
        self.trace.used = Used.PERHAPS
        self.context._attend("keep the usage", self.context._keep_usage)
        self.trace.used = Used.YES

    def _hook(self, copy: FlowRun, state: State[Any]) -> None:
        self.world.server.show(self.run)
        seen = observe(copy.model_copy(update={"state": state}), state, type=TYPE)
        try:
            self._table.apply(seen, cause="hook")
        except Exception:  # as hooks have it
            return

    def _read(self) -> FlowRun:
        return self._ask("reads its run", self._now)

    def _now(self) -> FlowRun:
        if self.run.is_deleted:
            raise GoneError(self.run.id)
        self.world.server.show(self.run)
        return self.run.now

    def _propose(
        self,
        type: StateType,
        name: str | None = None,
        message: str | None = None,
        *,
        force: bool = False,
        suspended: bool = False,
    ) -> tuple[Status, State[Any]]:
        return self._ask(
            f"proposes {type.value}",
            lambda: self.world.server.propose(self.run, type, name, message=message, force=force, suspended=suspended),
        )

    def _ask(self, what: str, action: Callable[[], Any]) -> Any:
        """Ask Prefect, as soon as it answers."""
        self.actor.stand(self._point(what))
        self.actor.wait(self._point("waits for Prefect"), lambda: self.world.prefect_gate.is_up)
        answer = action()
        if not what.startswith("reads"):
            self.actor.done[self.run.id] = what
        return answer

    def _point(self, call: str) -> Point:
        return Point("process", call, self.run.id)
