"""A model of Prefect's server: its flow runs, the rules by which they move, what it shows of them, and when.

It moves runs as Prefect 3.8.8 does (`prefect.server.orchestration.core_policy` and `global_policy`): what it accepts,
refuses or turns into something else; what becomes of the times of a run; that the same end time stays where one end
follows another; that a state's event may be heard a moment before the state can be read.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid5

from prefect.client.schemas.objects import CreatedBy, FlowRun, FlowRunPolicy, State, StateDetails, StateType

from prefect_narrative.jobs.record import Observation
from tests.simulation.clocks import Clocks

NAMESPACE = UUID(int=3)
FLOW = uuid5(NAMESPACE, "flow")
OURS = uuid5(NAMESPACE, "a deployment of ours")
FOREIGN = uuid5(NAMESPACE, "somebody else's deployment")
TERMINAL = frozenset({StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED})
ACTIVE = frozenset(StateType) - TERMINAL
LATE_AFTER = timedelta(seconds=15)
GIVEN_UP_AFTER = timedelta(seconds=300)
"""The server sets a run to Cancelled whose cancelling nobody has carried out by then."""


class Status(StrEnum):
    """What the server answers to a proposed state."""

    ACCEPT = "accept"
    REJECT = "reject"
    """It is in another state than was asked for: its own, or one that the server chose."""
    ABORT = "abort"
    WAIT = "wait"


class GoneError(LookupError):
    """The server has no such run."""


@dataclass
class Run:
    """One flow run, as the server has it."""

    id: UUID
    now: FlowRun
    """As it is."""
    shown: list[tuple[float, FlowRun]]
    """As readers see it, from which tick on; the last one last."""
    states: list[State[Any]] = field(default_factory=list)
    """All its states, in order."""
    opens_retry: bool = False
    """Whether its policy allows one more attempt in its process."""
    retry_delay: float = 0.0
    has_process: bool = False
    """Whether the server knows of infrastructure that the run has, or had."""
    resumes: bool = False
    """Whether it has left a pause and not run since."""
    is_deleted: bool = False

    @property
    def state(self) -> State[Any]:
        """Return the state that it is in."""
        assert self.now.state is not None
        return self.now.state

    @property
    def type(self) -> StateType:
        """Return the type of that state."""
        return self.state.type

    @property
    def is_suspended(self) -> bool:
        """Whether it waits, without a process, to be resumed."""
        return self.type is StateType.PAUSED and bool(self.state.state_details.pause_reschedule)

    @property
    def waits_in_process(self) -> bool:
        """Whether its own process waits for the next attempt, so that no worker takes it."""
        return self.type is StateType.SCHEDULED and self.now.empirical_policy.retry_type == "in_process"


class Server:
    """Prefect's server: the truth about all runs."""

    def __init__(self, clocks: Clocks, emit: Callable[[Run, State[Any]], None]) -> None:
        self.runs: dict[UUID, Run] = {}
        self.lag = 0.0
        """Seconds until a state can be read whose event is out; always less than those that rows count as young."""
        self._clocks = clocks
        self._emit = emit
        self._observations: dict[UUID, Observation] = {}
        self._made = 0

    def create(
        self,
        *,
        ours: bool = True,
        after: timedelta = timedelta(0),
        by_schedule: bool = False,
        parameters: dict[str, Any],
        tags: list[str] | None = None,
        key: str | None = None,
    ) -> Run:
        """Make a run, to start after a while; no event tells of one that a schedule makes."""
        run_id = self._new_id("run")
        at = self._clocks.server()
        made = FlowRun.model_construct(
            id=run_id,
            name="a run",
            flow_id=FLOW,
            deployment_id=OURS if ours else FOREIGN,
            created=at,
            updated=at,
            parameters=parameters,
            tags=tags or [],
            idempotency_key=key,
            expected_start_time=at + after,
            next_scheduled_start_time=at + after,
            auto_scheduled=by_schedule,
            created_by=CreatedBy(type="SCHEDULE", display_value="nightly") if by_schedule else None,
            empirical_policy=FlowRunPolicy(),
            run_count=0,
            start_time=None,
            end_time=None,
            parent_task_run_id=None,
            state=None,
        )
        run = Run(run_id, made, [])
        self.runs[run_id] = run
        self._commit(run, StateType.SCHEDULED, at=at + after, quiet=by_schedule)
        return run

    def propose(
        self,
        run: Run,
        type: StateType,
        name: str | None = None,
        *,
        message: str | None = None,
        force: bool = False,
        at: datetime | None = None,
        suspended: bool = False,
    ) -> tuple[Status, State[Any]]:
        """Ask for a run to move to a state.

        Args:
            run: The run.
            type: Type of the state.
            name: Its name; None: the usual one.
            message: Its message.
            force: Whether to leave out nearly all rules, as people may.
            at: When it is to start, for a scheduled state; None: now.
            suspended: Whether a paused run gives its process up.

        Returns:
            What the server says to that, and the state that the run is in then.

        Raises:
            GoneError: the run was deleted.
        """
        if run.is_deleted:
            raise GoneError(run.id)
        self.show(run)
        before = run.type
        if type is StateType.CANCELLING and self._has_nothing_to_end(run):
            return Status.REJECT, self._commit(run, StateType.CANCELLED)
        retry_type: Any = ...
        if not force:
            refusal = self._refusal(run, type, name)
            if refusal is not None:
                return refusal, run.state
            if before in TERMINAL and type not in TERMINAL:
                retry_type = "reschedule" if type is StateType.SCHEDULED else None
            if before is StateType.RUNNING and type is StateType.FAILED:
                if run.opens_retry:
                    at = self._clocks.server() + timedelta(seconds=run.retry_delay)
                    self._set_retry_type(run, "in_process")
                    return Status.REJECT, self._commit(run, StateType.SCHEDULED, "AwaitingRetry", message, at=at)
                retry_type = None
            run.resumes = run.resumes or before is StateType.PAUSED
        if retry_type is not ...:
            self._set_retry_type(run, retry_type)
        return Status.ACCEPT, self._commit(run, type, name, message, at=at, suspended=suspended)

    def once(self, state_id: UUID, observe: Callable[[], Observation]) -> Observation:
        """Return what a run that is shown in a state says: always the same."""
        if state_id not in self._observations:
            self._observations[state_id] = observe()
        return self._observations[state_id]

    def show(self, run: Run) -> None:
        """Let everybody read the state that a run is in: somebody got the answer that it is, or moves it on."""
        at, newest = run.shown[-1]
        run.shown[-1] = min(at, self._clocks.ticks), newest

    def delete(self, run: Run) -> None:
        """Delete a run; no event tells of that."""
        run.is_deleted = True

    def _has_nothing_to_end(self, run: Run) -> bool:
        if run.type is StateType.SCHEDULED:
            return not run.has_process or run.state.name == "Resuming"
        return run.is_suspended

    def _refusal(self, run: Run, type: StateType, name: str | None) -> Status | None:
        before = run.type
        if before in TERMINAL and type in {StateType.CANCELLING, StateType.PAUSED, StateType.CRASHED}:
            return Status.ABORT
        if before is StateType.CANCELLING and type is not StateType.CANCELLED:
            return Status.REJECT
        if type is StateType.PENDING and before in {
            StateType.PENDING,
            StateType.CANCELLING,
            StateType.RUNNING,
            StateType.CANCELLED,
        }:
            is_next_step = before is StateType.PENDING and name not in {None, "Pending", run.state.name}
            return None if is_next_step else Status.ABORT
        if type is StateType.PAUSED and before is not StateType.RUNNING:
            return Status.REJECT
        if before is StateType.PAUSED and type in {StateType.PENDING, StateType.PAUSED}:
            return Status.REJECT
        if type is StateType.RUNNING and before in {StateType.SCHEDULED, StateType.PENDING}:
            at = run.state.state_details.scheduled_time
            if at is not None and at - self._clocks.server() > timedelta(seconds=0.5):
                return Status.WAIT
        return None

    @staticmethod
    def _set_retry_type(run: Run, retry_type: Any) -> None:
        policy = run.now.empirical_policy.model_copy(update={"retry_type": retry_type})
        run.now = run.now.model_copy(update={"empirical_policy": policy})

    def _commit(
        self,
        run: Run,
        type: StateType,
        name: str | None = None,
        message: str | None = None,
        *,
        at: datetime | None = None,
        suspended: bool = False,
        quiet: bool = False,
    ) -> State[Any]:
        before = run.states[-1] if run.states else None
        moment = self._clocks.server()
        while any(one.timestamp == moment for one in run.states):
            moment += timedelta(microseconds=1)
        details = StateDetails(flow_run_id=run.id, pause_reschedule=suspended)
        if type is StateType.SCHEDULED:
            details.scheduled_time = at or moment
        elif type is StateType.PENDING and before is not None:
            details.scheduled_time = before.state_details.scheduled_time
        state: State[Any] = State(
            id=self._new_id("state"),
            type=type,
            name=name or ("Suspended" if suspended else type.value.title()),
            message=message,
            timestamp=moment,
            state_details=details,
        )
        run.states.append(state)
        run.now = run.now.model_copy(update={"state": state, **self._times(run, before, state)})
        visible_at = self._clocks.ticks + self.lag
        if run.shown:
            visible_at = max(visible_at, run.shown[-1][0])
        run.shown.append((visible_at, run.now))
        if not quiet:
            self._emit(run, state)
        return state

    @staticmethod
    def _times(run: Run, before: State[Any] | None, state: State[Any]) -> dict[str, Any]:
        start, end, count = run.now.start_time, run.now.end_time, run.now.run_count
        if state.type is StateType.RUNNING:
            start = start or state.timestamp
            count += not run.resumes
        if state.type is StateType.RUNNING or state.type in TERMINAL:
            run.resumes = False
        if before is not None and before.type in TERMINAL and state.type not in TERMINAL:
            end = None
        if state.type in TERMINAL and end is None:
            start = start or state.timestamp
            end = state.timestamp
        return {"start_time": start, "end_time": end, "run_count": count}

    def _new_id(self, what: str) -> UUID:
        self._made += 1
        return uuid5(NAMESPACE, f"{what} {self._made}")
