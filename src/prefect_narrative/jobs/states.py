"""The six states of a job, what Prefect's states mean in them, and what each move between two of them is called."""

from collections.abc import Mapping
from enum import StrEnum
from itertools import product
from types import MappingProxyType


class JobState(StrEnum):
    """Where a job stands."""

    PENDING = "pending"
    """Queued, waiting to start: for its time, a worker, a slot, its next attempt, or to be resumed.

    Entered on creation, before a further attempt, on suspension and by an operator's Retry. The worker moves it out.
    """
    RUNNING = "running"
    """Actively executing, or paused inside its process.

    Entered when the flow starts; moved out by its end, by a cancel, or by whoever finds its process dead.
    """
    PENDING_CANCELLATION = "pending_cancellation"
    """Asked to cancel, still stopping.

    Entered by a caller's or operator's cancel of a job that a process has; moved out by the end of that process.
    """
    COMPLETED = "completed"
    """Finished successfully, and its result is stored.

    Entered when the flow has returned; an operator's Retry in Prefect's UI moves it out.
    """
    FAILED = "failed"
    """Met an error, timed out, or its process died; `failures` says why.

    Entered by the flow's error, by whoever finds its process dead, and where a completed run has no result. Moved out
    by a retry: an operator's, or one by itself where the process died.
    """
    CANCELLED = "cancelled"
    """Cancelled before completion, or its run was deleted before it ended.

    Entered at once where no process had the job, else when that process is gone; an operator's Retry moves it out.
    """

    @property
    def terminal(self) -> bool:
        """Whether the job is at rest; only a retry or a forced state moves it again."""
        return self in TERMINAL_STATES


TERMINAL_STATES = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED})
ACTIVE_STATES = frozenset(JobState) - TERMINAL_STATES


class Move(StrEnum):
    """What a move from one state to another is."""

    NORMAL = "normal"
    """The ordinary course of a job, or a change inside one state."""
    REOPENING = "reopening"
    """A job at rest begins again: somebody asked for a retry."""
    CORRECTION = "correction"
    """Out of order, but Prefect did it, so the table follows."""


STATE_OF_PREFECT_TYPE: Mapping[str, JobState] = MappingProxyType(
    {
        "SCHEDULED": JobState.PENDING,
        "PENDING": JobState.PENDING,
        "RUNNING": JobState.RUNNING,
        "PAUSED": JobState.RUNNING,
        "CANCELLING": JobState.PENDING_CANCELLATION,
        "COMPLETED": JobState.COMPLETED,
        "FAILED": JobState.FAILED,
        "CRASHED": JobState.FAILED,
        "CANCELLED": JobState.CANCELLED,
    }
)
"""Our state for each type of state that Prefect has; `state_of` adds the one exception."""

_NORMAL = {
    JobState.PENDING: {JobState.RUNNING, JobState.PENDING_CANCELLATION, JobState.CANCELLED, JobState.FAILED},
    JobState.RUNNING: set(JobState) - {JobState.RUNNING},
    JobState.PENDING_CANCELLATION: {JobState.CANCELLED, JobState.COMPLETED, JobState.FAILED},
}


def _kind_of(before: JobState, after: JobState) -> Move:
    if before is after or after in _NORMAL.get(before, set()):
        return Move.NORMAL
    if before in TERMINAL_STATES and after is JobState.PENDING:
        return Move.REOPENING
    return Move.CORRECTION


MOVES: Mapping[tuple[JobState, JobState], Move] = MappingProxyType(
    {(before, after): _kind_of(before, after) for before, after in product(JobState, repeat=2)}
)
"""What each of the 36 (from, to) pairs is called. None is refused: Prefect has already done it."""


def state_of(prefect_type: str, *, suspended: bool = False) -> JobState:
    """Return our state for one of Prefect's.

    Args:
        prefect_type: The type of the state, such as `SCHEDULED`.
        suspended: Whether a `PAUSED` run gave its process up, so that a new one must resume it.

    Raises:
        KeyError: Prefect has a type of state that this version does not know.
    """
    if prefect_type == "PAUSED" and suspended:
        return JobState.PENDING
    return STATE_OF_PREFECT_TYPE[prefect_type]
