"""A job as everybody sees it: its record, its events, and what was seen of its Prefect run."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, NewType
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from prefect_narrative.errors import FailureKind
from prefect_narrative.jobs.states import JobState, Move

JobId = NewType("JobId", UUID)
"""A job's id, which is the id of its Prefect flow run."""
SOURCE_TAG = "source:"
"""A tag with this prefix says who asked for a run, where Prefect does not: `source:cli`."""
PARENT_TAG = "parent:"
"""A tag with this prefix holds the id of the job that submitted the run."""


class Value(BaseModel):
    """A value: never changed, only replaced."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RequestSource(Value):
    """Who asked for a job."""

    type: Literal["api", "operator", "schedule", "cli", "job"]
    """By Prefect's API, in its UI, by a schedule, by the command line, or by another job."""
    name: str | None = None
    """The schedule's slug, the parent job's type, or the user; None where nobody said."""


class WaitingCause(StrEnum):
    """What a pending job waits for."""

    SCHEDULE = "schedule"
    """The time at which it is to start."""
    BACKOFF = "backoff"
    """The time of its next attempt."""
    SUSPENDED = "suspended"
    """Somebody who resumes it."""
    POOL_PAUSED = "pool_paused"
    """Its work pool, which was paused, to be resumed."""
    QUEUE_PAUSED = "queue_paused"
    """Its work queue, which was paused, to be resumed."""
    NO_WORKER = "no_worker"
    """A worker: none that lives asks for its work."""
    LIMIT = "limit"
    """A slot of a concurrency limit of its work pool, work queue or deployment; other jobs hold them all."""
    WORKER = "worker"
    """The next time that a worker asks for work: it is due, and nothing is in its way."""
    STARTING = "starting"
    """Its process: a worker has taken it and starts it."""


class WaitingFor(Value):
    """Why a pending job does not run yet: one cause, the first that somebody would have to mend."""

    cause: WaitingCause
    """What it waits for."""
    fact: str
    """What shows the cause, for people: a sentence with names, ids and times, the same as long as nothing changes."""
    since: AwareDatetime | None = None
    """When that began; None where Prefect does not tell."""


class Progress(Value):
    """How far a running job is."""

    fraction: float | None = Field(default=None, ge=0, le=1)
    """Share done, 0 to 1; None while it can't be known."""
    message: str
    """What is being done, such as `reading orders.csv`."""
    at: AwareDatetime
    """When that was said."""


class Failure(Value):
    """Why one attempt failed."""

    attempt: int = Field(ge=1)
    """Which attempt failed, from 1."""
    at: AwareDatetime
    """When it failed."""
    kind: FailureKind
    """Whose fault it was, and so who can mend it."""
    code: str
    """Stable, for programs, such as `dataset_not_found`."""
    message: str
    """What was seen, and which rule it breaks."""
    remedy: str
    """What to do about it."""
    retryable: bool
    """Whether another attempt may end otherwise."""
    detail: dict[str, Any] = Field(default_factory=dict)
    """Figures and names for programs."""


class Executor(Value):
    """Where a job's process runs, or ran last."""

    host: str
    """Name of the machine."""
    pid: int
    """Process id on that machine."""
    worker: str | None = None
    """Name of the worker that started it; None where none did or it is not known."""
    pool: str | None = None
    """Its work pool."""
    queue: str | None = None
    """Its work queue."""


class Usage(Value):
    """What a job has used, over all its attempts; a field is None where it was not measured."""

    cpu_seconds: float | None = None
    """Seconds of CPU, of all threads."""
    peak_memory_bytes: int | None = None
    """Largest resident size of the process; of the largest attempt."""
    read_rows: int | None = None
    """Rows read from sources."""
    written_rows: int | None = None
    """Rows written to datasets."""
    read_bytes: int | None = None
    """Bytes read from sources."""
    written_bytes: int | None = None
    """Bytes written to datasets."""


class PrefectState(Value):
    """The state of the Prefect run that the record was last made from."""

    state_id: UUID
    """Id of the state."""
    type: str
    """Prefect's type of state, such as `RUNNING`."""
    name: str
    """Prefect's name of the state, such as `AwaitingRetry`."""
    timestamp: AwareDatetime
    """When the run entered it, by the clock of Prefect's server."""
    deployment_id: UUID | None = None
    """Id of the run's deployment; None for a run without one."""
    deployment: str | None = None
    """`flow/deployment`, where it is known."""


class Job(Value):
    """The record of one job; the names are platform.md's."""

    job_id: UUID
    """The job's id, which is that of its flow run in Prefect."""
    type: str
    """What kind of job it is, such as `create-dataset`: the name of its flow."""
    idempotency_key: str | None = None
    """The caller's key, by which asking again gives the same job; None where it gave none."""
    parent_job_id: UUID | None = None
    """The job that asked for this one; None where no job did."""
    request_source: RequestSource
    """Who asked for it."""
    tags: tuple[str, ...] = ()
    """Labels, sorted, without doubles."""

    state: JobState
    """Where it stands."""
    attempt: int = Field(default=1, ge=1)
    """Which attempt it is at, from 1."""
    waiting_for: WaitingFor | None = None
    """Why it does not run yet; None unless it is pending."""
    progress: Progress | None = None
    """How far it is, or was when it ended; None where it said nothing."""
    failures: tuple[Failure, ...] = ()
    """Why attempts failed: at most one an attempt, oldest first."""

    input: dict[str, Any] = Field(default_factory=dict)
    """The parameters, as submitted."""
    result: dict[str, Any] | None = None
    """What came of it; set exactly while the state is `completed`."""
    data_plane: str | None = None
    """The data plane that it works on; None where it is not known."""
    dataset: str | None = None
    """The dataset written or described; None where there is none, or not yet."""
    sources: tuple[str, ...] = ()
    """The datasets read."""
    executor: Executor | None = None
    """The process of the last attempt; None before one has started."""
    code_version: str | None = None
    """Version of the code that ran; None before it has started."""

    usage: Usage = Usage()
    """What it has used."""
    cost_micro_cents_usd: int | None = None
    """What all its attempts have cost, in 1/100,000,000 of a US dollar; None where that is not known."""
    forecast_job_id: UUID | None = None
    """The job that forecast this one; None where none did."""

    created_at: AwareDatetime
    """When it was asked for."""
    scheduled_for: AwareDatetime | None = None
    """When it was to start; None where that is not known."""
    started_at: AwareDatetime | None = None
    """When its first attempt started; None before."""
    updated_at: AwareDatetime
    """When this record was written last."""
    ended_at: AwareDatetime | None = None
    """When it came to rest; set exactly while the state is terminal."""

    prefect: PrefectState
    """The state of its flow run that the record was made from."""
    version: int = Field(default=1, ge=1)
    """Counts the writes of Prefect's truth into this row; who read the row before asking Prefect compares by it."""
    token: int = Field(default=0, ge=0)
    """The fencing token: only the attempt that holds it may publish. It rises at each start of a process."""

    @property
    def queue_seconds(self) -> float | None:
        """Seconds from when the job could start until it did; None before."""
        if self.started_at is None:
            return None
        ready = max(self.created_at, self.scheduled_for or self.created_at)
        return max(0.0, (self.started_at - ready).total_seconds())

    @property
    def run_seconds(self) -> float | None:
        """Seconds from first start to end; None before the end, or where it never started."""
        if self.started_at is None or self.ended_at is None:
            return None
        return max(0.0, (self.ended_at - self.started_at).total_seconds())


class JobEvent(Value):
    """One move of one job; the events of a job are a chain."""

    job_id: UUID
    """The job that moved."""
    number: int = Field(ge=1)
    """1 for the job's creation, then counting up."""
    from_state: JobState | None
    """None for the creation."""
    to_state: JobState
    """The state that it came to."""
    move: Move
    """Whether that is the ordinary course, a re-opening, or a correction."""
    at: AwareDatetime
    """When Prefect moved the run."""
    cause: str
    """Who brought the news, such as `hook`, `event`, `sweep`, `read`; with why, where it is known."""
    attempt: int = Field(ge=1)
    """The attempt that the job was at."""


class Observation(Value):
    """What was seen of a Prefect flow run at one moment: everything that the record takes from Prefect.

    A field that the observer can't know is None, and leaves what the record has.
    """

    job_id: UUID
    type: str
    state: JobState
    prefect: PrefectState
    message: str | None = None
    """Prefect's message on the state."""
    trusted: bool = True
    """False where Prefect made the state's id up, so that it can't be compared."""
    input: dict[str, Any] | None = None
    tags: tuple[str, ...] | None = None
    request_source: RequestSource | None = None
    idempotency_key: str | None = None
    parent_job_id: UUID | None = None
    data_plane: str | None = None
    dataset: str | None = None
    created_at: AwareDatetime | None = None
    scheduled_for: AwareDatetime | None = None
    started_at: AwareDatetime | None = None
    ended_at: AwareDatetime | None = None
    waiting_for: WaitingFor | None = None
    held: bool = False
    """Whether a process has the run: works on it, or waits for its next attempt, so that no worker would take it."""


class Heartbeat(Value):
    """The sign of life of an attempt's process, and what is needed to look at that process on its own machine."""

    job_id: UUID
    token: int
    at: AwareDatetime
    host: str
    machine_id: str
    """The machine's own id, of `/etc/machine-id`; empty where it has none. A host's name may be another's, too."""
    boot_id: str
    pid_namespace: str
    pid: int
    start_ticks: int
    """When the process started, in the kernel's ticks since the machine's start, which stay when the clock is set.

    A pid alone may be somebody else's by now.
    """


class JobFilter(Value):
    """Which jobs a list shows; a field that is None does not narrow it."""

    state: frozenset[JobState] | None = None
    type: str | None = None
    dataset: str | None = None
    data_plane: str | None = None
    tag: str | None = None
    request_source: str | None = None
    created_from: AwareDatetime | None = None
    """Created at this time or later."""
    created_before: AwareDatetime | None = None
    ended_from: AwareDatetime | None = None
    """Ended at this time or later."""
    ended_before: AwareDatetime | None = None


class JobPage(Value):
    """One page of a list, newest first."""

    jobs: tuple[Job, ...]
    cursor: str | None
    """Give it to the next call for the next page; None at the end."""


def order_of(state: PrefectState) -> tuple[datetime, str]:
    """Return what two states of one run are ordered by: the server's time, then the id."""
    return state.timestamp, str(state.state_id)
