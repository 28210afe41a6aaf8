"""The simulated world: Prefect, the job table, the lake, workers, jobs' processes, reconcilers and their messages."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import State, StateType

from prefect_narrative.jobs.context import JobContext
from prefect_narrative.jobs.reconciler import look
from prefect_narrative.jobs.record import Job, JobId
from prefect_narrative.jobs.store import JobStore
from prefect_narrative.planes.errors import PublishLockTimeoutError
from tests.simulation.actors import Actor, Gate, current
from tests.simulation.api import Api, prefect_is_down
from tests.simulation.attempts import FlowProcess, Trace
from tests.simulation.clocks import Clocks
from tests.simulation.processes import Body, Host
from tests.simulation.reconcilers import KnownReconciler, event_of
from tests.simulation.runs import TERMINAL, Run, Server
from tests.simulation.tables import Lake, Remembering, SteppedOutbox, Table, table_is_down

HEARD_WITHIN = 40.0
"""Seconds within which a process that can reach the table has surely given a sign of life."""
REPORTED_WITHIN = 15.0
"""Seconds within which a worker that lives has told of a process's death."""


def kind_of(state: State[Any], before: State[Any] | None) -> str:
    """Return what entering a state is called among the events of the world."""
    if state.type is StateType.SCHEDULED:
        if before is None:
            return "created"
        return "AwaitingRetry" if state.name == "AwaitingRetry" else "Scheduled again"
    return "Suspended" if state.name == "Suspended" else state.type.value.title()


@dataclass
class Late:
    """A call that takes effect after its caller has given it up."""

    name: str
    action: Callable[[], object]


@dataclass
class Count:
    """Which attempt a run is really at, by the server's states."""

    number: int = 1
    at_rest_at_begin: int = 0
    """How many processes began to work while the run was at rest, each of which uses a number up."""


class World:
    """Everything there is.

    Args:
        make_table: Makes the job table, by the clock of its machines.
        folder: Where outboxes lie.
    """

    def __init__(self, make_table: Callable[[Clocks], JobStore], folder: Path) -> None:
        self.clocks = Clocks()
        self.table = make_table(self.clocks)
        self.shared_table = Remembering(self.table)
        self.late: list[Late] = []
        self.table_gate = Gate(table_is_down, self._postpone)
        self.prefect_gate = Gate(prefect_is_down, self._postpone)
        self.lake_gate = Gate(lambda: PublishLockTimeoutError(self.new_message()), self._postpone)
        self.process_gate = Gate(lambda: PermissionError("somebody else's process"), self._postpone)
        self._gates = (self.table_gate, self.prefect_gate, self.lake_gate, self.process_gate)
        self.server = Server(self.clocks, self._moved)
        self.lake = Lake(self._published, self.mark)
        self.hosts = [Host("a"), Host("b"), Host("box")]
        """The last one is a container on the first: it has its home, and nobody can look into it."""
        self.bodies: dict[int, Body] = {}
        self.processes: dict[int, FlowProcess] = {}
        self.workers: list[Actor] = []
        self.readers: list[Actor] = []
        self.held: dict[UUID, Host] = {}
        """The runs that a worker has taken and not started."""
        self.unreported: dict[int, float] = {}
        """The dead processes whose worker has not told so, and since when they are dead."""
        self.traces: dict[UUID, list[Trace]] = {}
        self.counts: defaultdict[UUID, Count] = defaultdict(Count)
        self.last_event: dict[UUID, str] = {}
        self.publications: Counter[UUID] = Counter()
        self.declared: dict[UUID, int] = {}
        """The highest token that was begun when somebody declared a job's process dead."""
        self.raised: Counter[UUID] = Counter()
        """How often attempts at each job were fenced out of the table."""
        self.touched: set[UUID] = set()
        self.violations: list[str] = []
        self.diary: dict[UUID, list[str]] = {}
        """What happened to each job, for whoever must understand why a simulation failed."""
        self.marks: Counter[str] = Counter()
        """What else has happened that should, some time."""
        self._folder = folder
        self._messages = 0
        self._up_since = 0.0
        self._pids = 100
        self.reconcilers = [KnownReconciler(self, host) for host in self.hosts[:2]]

    # What is asked of the world.

    def outbox_of(self, host: Host) -> SteppedOutbox:
        """Return the outbox on a machine."""
        return SteppedOutbox(self._folder / ("a" if host.name == "box" else host.name))

    def runs(self) -> list[Run]:
        """Return the runs that there are, oldest first."""
        return [run for run in self.server.runs.values() if not run.is_deleted]

    def processes_of(self, run: Run) -> Iterator[FlowProcess]:
        """Yield the living processes of a run, newest first."""
        yield from (one for one in reversed(self.processes.values()) if one.run is run and one.body.is_alive)

    @property
    def is_all_up(self) -> bool:
        """Whether nothing is down."""
        return all(gate.is_up for gate in self._gates)

    def bring_up(self) -> None:
        """Bring up what is down."""
        self._up_since = self.clocks.ticks
        for gate in self._gates:
            gate.is_up = True

    def actors(self) -> list[Actor]:
        """Return everybody whose code can go on."""
        found = [one.actor for one in self.processes.values() if one.is_healthy]
        found += self.workers + self.readers
        for one in self.reconcilers:
            found += one.actors()
        return [one for one in found if one.can_go_on]

    def row_state(self, job_id: UUID) -> str:
        """Return the state of a job's row, or `none`."""
        row = self.row_of(job_id)
        return "none" if row is None else row.state.value

    def row_of(self, job_id: UUID) -> Job | None:
        """Return a job's row, or None where there is none."""
        row: Job | None = self.shared_table.call("get", (job_id,), {})
        return row

    def new_message(self) -> str:
        """Return a text that no other failure has."""
        self._messages += 1
        return f"failure {self._messages}"

    def new_table(self) -> JobStore:
        """Return the way to the job table that reconcilers and readers have."""
        return Table(self.shared_table, self.table_gate, self.wrote)

    def new_api(self, eyes_of: Host | None = None) -> Api:
        """Return a client of Prefect's API."""
        return Api(self.server, self.clocks, self.prefect_gate, lambda run, type: self._declared(run, eyes_of))  # noqa: A006

    # What happens.

    def ask(self, *, plane: bool, ours: bool = True, after: int = 0, by_schedule: bool = False) -> Run:
        """Let somebody, or a schedule, ask for a job, for now or for some seconds later."""
        self.pass_time(0.01)
        run = self.server.create(
            ours=ours,
            after=timedelta(seconds=after),
            by_schedule=by_schedule,
            parameters={"data_plane": "default"} if plane else {},
            tags=["source:cli"],
        )
        self.happened(run, "created")
        return run

    def happened(self, run: Run, event: str) -> None:
        """Note the last thing that happened to a run."""
        self.last_event[run.id] = event
        self.note(run.id, f"the run: {event}")

    def note(self, job_id: UUID, text: str) -> None:
        """Write into a job's diary, but not the same twice in a row."""
        line, diary = f"{self.clocks.ticks:9.2f} {text}", self.diary.setdefault(job_id, [])
        if diary[-1:] != [line]:
            diary.append(line)

    def mark(self, what: str) -> None:
        """Note that something has happened that should, some time."""
        self.marks[what] += 1

    def wrote(self, job_id: UUID, name: str, arguments: tuple[Any, ...]) -> None:
        """Note that a row was written, and judge whether it might be."""
        self.touched.add(job_id)
        if name == "stage_result" and arguments[1] <= self.declared.get(job_id, -1):
            self._violated(job_id, f"took a result with token {arguments[1]} after that was declared dead")
        if name == "raise_fence":
            self.raised[job_id] += 1
            if self.lake.fenced[job_id] < self.raised[job_id]:
                self._violated(job_id, "was fenced out of the table before the lake")
        if name == "begin_attempt" and current() is None and self._is_over(self.server.runs[job_id]):
            self.counts[job_id].at_rest_at_begin += 1  # a late call
        if name not in {"set_progress", "beat"}:
            row = self.row_of(job_id)
            actor = current()
            by = "late" if actor is None else actor.who
            self.note(job_id, f"{by}: {name}; the row is {row and (row.state.value, row.attempt, row.token)}")

    def pass_time(self, seconds: float) -> None:
        """Let time pass. All code that is neither stopped nor waits goes on where it takes long."""
        if seconds >= 5:
            self.let_code_go_on()
        first = min(1.0, seconds)
        rest = seconds - first
        for part in (first, rest / 2, rest / 2):
            if part:
                self.clocks.ticks += part
                for process in list(self.processes.values()):
                    process.look()
        for pid, since in list(self.unreported.items()):
            if self.clocks.ticks - since >= REPORTED_WITHIN:
                del self.unreported[pid]

    def let_code_go_on(self) -> None:
        """Let processes and workers go on until they wait; reconcilers may hang."""
        for pid in list(self.unreported):
            self.report(self.processes[pid])
        for actor in [one.actor for one in self.processes.values() if one.is_healthy] + self.workers + self.readers:
            actor.go_on()

    def spawn(self, run: Run, host: Host, *, is_refused: bool = False) -> FlowProcess:
        """Start a process for a run."""
        self._pids += 1
        body = self.bodies[self._pids] = Body(host, self._pids)
        run.has_process = True
        process = self.processes[self._pids] = FlowProcess(self, run, body, is_refused=is_refused)
        self.note(run.id, f"process {self._pids} is started on {host.name}")
        process.start()
        return process

    def began(self, process: FlowProcess, context: JobContext) -> Trace:
        """Note that a process has begun an attempt."""
        run, count = process.run, self.counts[process.run.id]
        if self._is_over(run):
            count.at_rest_at_begin += 1
        process.begun_at = self.clocks.ticks
        trace = Trace(run.id, process.body.pid, context.token, context.attempt.number, count.number)
        self.traces.setdefault(run.id, []).append(trace)
        return trace

    @staticmethod
    def _is_over(run: Run) -> bool:
        return run.type in TERMINAL or run.is_deleted

    def kill(self, pid: int) -> None:
        """Kill a process; its worker, if it lives, will tell."""
        process = self.processes[pid]
        if process.body.is_alive:
            self.happened(process.run, "process killed")
            process.kill()
            if process.has_worker:
                self.unreported[pid] = self.clocks.ticks

    def leaves(self, process: FlowProcess) -> None:
        """Let a process end by itself, without a word to Prefect."""
        process.leave()

    def report(self, process: FlowProcess) -> Actor:
        """Let a worker tell of the death of a process."""
        self.unreported.pop(process.body.pid, None)
        return self._work("worker", process.report_death)

    def carry_out(self, run: Run) -> Actor:
        """Let a worker end the process of a run that is to be cancelled."""
        process = next((one for one in reversed(self.processes.values()) if one.run is run and one.has_worker), None)
        self.held.pop(run.id, None)
        return self._work("worker", lambda: self._end_cancelling(run, process))

    def read(self, job_id: UUID) -> Actor:
        """Let somebody read a job in a way that asks Prefect first."""
        actor = Actor("reader", lambda: self._look(job_id))
        self.readers.append(actor.start())
        return actor

    def close(self) -> None:
        """Release what the world holds."""
        for process in self.processes.values():
            process.kill()
        for actor in self.workers + self.readers:
            actor.kill()
        for one in self.reconcilers:
            one.close()
        self.table.close()

    def _work(self, who: str, work: Callable[[], object]) -> Actor:
        actor = Actor(who, work)
        self.workers = [one for one in self.workers if not one.is_done]
        self.workers.append(actor.start())
        return actor

    def _end_cancelling(self, run: Run, process: FlowProcess | None) -> None:
        FlowProcess.carry_out_cancelling(self, run, process)

    def _look(self, job_id: UUID) -> None:
        try:
            look(self.new_table(), self.new_api(), job_id, clock=self.clocks.machine)
        except (type(prefect_is_down()), type(table_is_down())):
            return

    def _postpone(self, name: str, action: Callable[[], object]) -> None:
        self.late.append(Late(name, action))

    def _moved(self, run: Run, state: State[Any]) -> None:
        before = run.states[-2] if len(run.states) > 1 else None
        count = self.counts[run.id]
        if before is not None:
            reopens = before.type in TERMINAL and state.type not in TERMINAL
            is_next = state.name == "AwaitingRetry" or state.type is StateType.RUNNING
            tries_again = is_next and before.type is StateType.RUNNING
            count.number += reopens or tries_again
        self.happened(run, kind_of(state, before))
        if state.type is StateType.CANCELLING and before is not None and before.name == "AwaitingRetry":
            self.marks["cancelled while it waited for its retry"] += 1
        event = event_of(run.id, state)
        for one in self.reconcilers:
            one.hear(event)

    def _published(self, job_id: UUID, token: int) -> None:
        self.publications[job_id] += 1
        self.note(job_id, f"it is published with token {token}")
        if self.publications[job_id] > 1:
            self._violated(job_id, f"was published {self.publications[job_id]} times")
        traces = self.traces[job_id]
        by = next(number for number, one in enumerate(traces) if one.token == token)
        if any(one.has_taken_over for one in traces[by + 1 :]):
            self._violated(job_id, f"was published with token {token} after another attempt had taken over")
        if token <= self.declared.get(job_id, -1):
            self._violated(job_id, f"was published with token {token} after that was declared dead")

    def _has_the_run(self, process: FlowProcess) -> bool:
        """Return whether a process works on the attempt that its run is at, and not on one that is over."""
        return process.waits or process.runs_for == self.counts[process.run.id].number

    def _could_be_heard(self, process: FlowProcess) -> bool:
        """Return whether a process has been able to give signs of life for as long as its silence must have lasted."""
        since = max(process.begun_at, process.continued_at, self._up_since)
        return process.pulse is not None and process.is_healthy and self.clocks.ticks - since >= HEARD_WITHIN

    def _violated(self, job_id: UUID, what: str) -> None:
        self.violations.append(f"job {job_id} {what}\n" + "\n".join(self.diary[job_id]))

    def _declared(self, run: Run, eyes_of: Host | None) -> None:
        """Judge that somebody ended a run since its process is dead."""
        self.marks["declared dead"] += 1
        self.note(run.id, "its process is declared dead")
        newest = self.declared[run.id] = max((one.token for one in self.traces.get(run.id, ())), default=-1)
        row = self.row_of(run.id)
        if row is not None and row.token <= newest:
            self._violated(run.id, f"was ended while token {newest} was good for the table")
        if run.id not in self.lake.results and self.lake.tokens.get(run.id, -1) <= newest and newest >= 0:
            self._violated(run.id, f"was ended while token {newest} was good for the lake")
        for process in self.processes_of(run):
            beat = self.table.heartbeat(JobId(run.id))
            in_sight = process.body.host is eyes_of and beat is not None and beat.pid == process.body.pid
            if self._has_the_run(process) and (in_sight or self._could_be_heard(process)):
                self._violated(run.id, f"has process {process.body.pid}, which lives and was declared dead")

    def set_clock_back(self, by: timedelta, *, machines_too: bool) -> None:
        """Set the server's clock back."""
        self.clocks.set_back(by, machines_too=machines_too)
        for run in self.runs():
            self.happened(run, "clock set back")

    def worker_dies(self, host: Host) -> None:
        """Kill the worker of a machine: nobody tells of its processes any more, or starts what it has taken."""
        for process in self.processes.values():
            if process.body.host is host:
                process.has_worker = False
                self.unreported.pop(process.body.pid, None)
        self.held = {job_id: holder for job_id, holder in self.held.items() if holder is not host}

    def stop(self, process: FlowProcess, *, stopped: bool) -> None:
        """Stop a process, or let it continue."""
        process.body.is_stopped = stopped
        process.continued_at = self.clocks.ticks
        self.happened(process.run, "process stopped" if stopped else "process continued")

    def restart(self, host: Host) -> None:
        """Start a machine anew: all its processes are gone, its worker and its reconciler among them."""
        self.worker_dies(host)
        host.starts += 1
        for process in list(self.processes.values()):
            if process.body.host is host:
                self.kill(process.body.pid)
        for one in self.reconcilers:
            if one.host is host:
                one.crash()

    def crash(self, actor: Actor) -> None:
        """Kill the process that an actor's code runs in."""
        for process in self.processes.values():
            if process.actor is actor:
                self.kill(process.body.pid)
        for one in self.reconcilers:
            if actor in one.actors():
                one.crash()
        actor.kill()
