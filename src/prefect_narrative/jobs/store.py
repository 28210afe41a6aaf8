"""What the job table can do: be read by everybody, written by who brings Prefect's truth or does the work."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, ClassVar, Self

from prefect_narrative.costs import Cost
from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.jobs.record import (
    Executor,
    Failure,
    Heartbeat,
    Job,
    JobEvent,
    JobFilter,
    JobId,
    JobPage,
    Observation,
    Progress,
    Usage,
)
from prefect_narrative.jobs.spending import GroupBy, Spending

MAX_PAGE = 500


class JobTableUnavailableError(NarrativeError, ConnectionError):
    """The job table can't be reached or stays locked."""

    kind: ClassVar[FailureKind] = FailureKind.EXTERNAL
    code: ClassVar[str] = "job_table_unavailable"
    remedy = (
        "Check NARRATIVE_DATABASE_URL and that its database is up; what jobs wrote meanwhile is kept in the outbox."
    )


class InvalidCursorError(NarrativeError, ValueError):
    """A page's cursor was not made by this list."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "invalid_cursor"
    remedy = "Start again without a cursor, and use the cursors that the pages give."


class UnknownJobError(NarrativeError, KeyError):
    """The job table has no such job."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "job_not_found"
    remedy = "Check the job's id; `narrative jobs` lists the jobs there are."

    __str__ = Exception.__str__  # KeyError's would put the message in quotes


@dataclass(frozen=True)
class Attempt:
    """What an attempt's process gets when it starts."""

    number: int
    """Which attempt this is, as users count: 1 for the first."""
    token: int
    """The fencing token, higher than any that this job had before."""
    follows: bool
    """Whether another process may have worked on the job before, which must not publish any more."""


class JobReader(ABC):
    """Read access to the job table.

    Every method raises `JobTableUnavailableError` when the table can't be reached within the store's time limit.
    """

    @abstractmethod
    def get(self, job_id: JobId) -> Job | None:
        """Return the job, or None where the table has no such row."""

    @abstractmethod
    def page(self, narrowed: JobFilter | None = None, *, cursor: str | None = None, limit: int = 50) -> JobPage:
        """Return jobs, newest first by (created_at, job_id).

        Args:
            narrowed: Which jobs to show; None: all.
            cursor: Where the page before this one ended.
            limit: Most jobs on the page, 1 to 500.

        Raises:
            ValueError: `limit` is out of bounds.
            InvalidCursorError: the cursor was not made by a list of this table.
        """

    @abstractmethod
    def events(self, job_id: JobId) -> Sequence[JobEvent]:
        """Return the job's events, oldest first; empty for an unknown job."""

    @abstractmethod
    def cost(self, job_id: JobId) -> Cost | None:
        """Return what the job has cost, line by line; None where that is not known, or the table has no such row."""

    @abstractmethod
    def spending(self, since: datetime, until: datetime, by: GroupBy) -> Spending:
        """Return what the jobs cost that ended in a period, by group.

        Args:
            since: The first moment of the period.
            until: The first moment after it.
            by: What to group by; each job counts in exactly one group.
        """

    @abstractmethod
    def active(self) -> Sequence[Job]:
        """Return all jobs that are not at rest, oldest first."""

    @abstractmethod
    def heartbeat(self, job_id: JobId) -> Heartbeat | None:
        """Return the last sign of life of the job's process, or None where it gave none."""

    @abstractmethod
    def heartbeats(self, *, ended_from: datetime | None = None) -> Mapping[JobId, Heartbeat]:
        """Return the last sign of life of each job that is not at rest; a job whose process gave none is left out.

        Args:
            ended_from: Also of the jobs that were cancelled at this time or later, whose processes may still be there.
                None: only of those that are not at rest.
        """

    @abstractmethod
    def close(self) -> None:
        """Release connections."""

    def __enter__(self) -> Self:
        """Return this store, to be closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release connections."""
        self.close()


class JobStore(JobReader):
    """Read and write access to the job table; each method is one transaction.

    Every method on a job that the table does not have raises `UnknownJobError`, a `KeyError`; but `beat` does nothing.
    """

    @abstractmethod
    def apply(self, seen: Observation, *, cause: str, if_version: int | None = None) -> Job:
        """Bring what was seen of a Prefect run into the table and return the row as it then is.

        Creates the row where there is none. A move of the state is written with its event in the same transaction.

        Args:
            seen: The run as observed.
            cause: Who observed it, for the event: `hook`, `event`, `sweep`, `read`, `cli`.
            if_version: None: write only where `seen` is newer than the row by the server's (timestamp, state id), as
                hooks and events need. A number: write exactly where the row still has that version (0: where there is
                still no row), whatever the timestamps, as a reader who read the row and then Prefect needs.

        Raises:
            UnknownJobError: `if_version` is above 0 and there is no row.
        """

    @abstractmethod
    def begin_attempt(
        self,
        job_id: JobId,
        executor: Executor,
        *,
        dataset: str | None = None,
        data_plane: str | None = None,
        code_version: str | None = None,
        token: int | None = None,
        as_given: bool = False,
    ) -> Attempt:
        """Say that a process starts to work on the job, and give it its number and its fencing token.

        A number is used up once it has a failure or the job was at rest; then the next begins.

        Args:
            job_id: The job; its row exists (a hook applied it when the run started).
            executor: Where the process runs.
            dataset: What it writes or describes, where it is known.
            data_plane: Where it works.
            code_version: Version of the code that runs.
            token: A token that an attempt took while the table was down; it is kept if it is the highest.
            as_given: Take this token or none: who does not wait for the answer must not take over from a newer attempt.

        Raises:
            KeyError: the table has no such row.
            SupersededError: `token` is not the highest, and is to be taken as it was given.
        """

    @abstractmethod
    def stage_result(self, job_id: JobId, token: int, result: Mapping[str, Any]) -> None:
        """Keep an attempt's result until the job completes; only then do readers see it.

        Raises:
            SupersededError: a newer attempt has begun.
        """

    @abstractmethod
    def add_failure(self, job_id: JobId, failure: Failure) -> None:
        """Record why an attempt failed; the first that is recorded of an attempt stands, unless it was only guessed.

        Where two attempts had the same number and both report, the second report gets the next number.
        """

    @abstractmethod
    def describe(self, job_id: JobId, *, dataset: str | None = None, sources: Sequence[str] | None = None) -> None:
        """Say what the job writes and reads; None leaves what is there."""

    @abstractmethod
    def add_usage(self, job_id: JobId, token: int, usage: Usage, cost: Cost | None = None) -> None:
        """Say what the process that held a token used, and what that costs; the record shows the total of all of them.

        The same token again replaces what it said before, so that what is delivered twice counts once. The total is a
        sum, but the largest for the peak memory.

        Args:
            job_id: The job.
            token: The token that the process held.
            usage: What it used.
            cost: What that costs; None: that is not known, and so it is not of the job as a whole.
        """

    @abstractmethod
    def set_progress(self, job_id: JobId, progress: Progress) -> None:
        """Say how far the job is. Does not count as a version."""

    @abstractmethod
    def beat(self, heartbeat: Heartbeat) -> None:
        """Keep a process's sign of life, unless a newer attempt's is there."""

    @abstractmethod
    def raise_fence(self, job_id: JobId, token: int = 0) -> int:
        """Take the token away from whoever holds it, and return the new one.

        Args:
            job_id: The job.
            token: The new token, where it is higher than the one that the row has.

        Raises:
            KeyError: the table has no such row.
        """
