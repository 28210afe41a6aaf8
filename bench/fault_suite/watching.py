"""Recordings of one job: its row as readers see it, its run as Prefect has it, and its processes."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from fault_suite.parts import flow_processes, runs
from fault_suite.prefect_api import PrefectApi
from fault_suite.truth import Glimpse, Truth, seconds_of, truths
from prefect_narrative.jobs.record import Job, JobId
from prefect_narrative.jobs.states import JobState
from prefect_narrative.jobs.store import JobReader, JobTableUnavailableError

TABLE_SECONDS = 0.025
PREFECT_SECONDS = 0.2
PROCESSES_SECONDS = 0.2


@dataclass
class Recording:
    """What was seen of one job; all times in seconds since the epoch."""

    job_id: str
    due: float | None = None
    """When a schedule's run is due; None: somebody asked for it."""
    rows: list[Glimpse] = field(default_factory=list)
    states: dict[str, tuple[float, dict[str, Any]]] = field(default_factory=dict)
    """By the state's id: when it was first seen, and the state."""
    deleted: float | None = None
    pids: set[int] = field(default_factory=set)
    """The processes of its flow that live."""
    died: list[float] = field(default_factory=list)
    shift_seconds: float = 0.0
    """How far the clock of Prefect's server is behind, from `shifted_at` on."""
    shifted_at: float = 0.0
    job: Job | None = None
    """The row as it was last read."""

    def entered(self) -> list[tuple[float, dict[str, Any]]]:
        """Return Prefect's states with the times at which the run entered them, by the clock of this machine."""
        found = []
        for seen, state in list(self.states.values()):
            at = seconds_of(state["timestamp"])
            if self.shift_seconds and seen >= self.shifted_at and at < seen - self.shift_seconds / 2:
                at += self.shift_seconds
            found.append((at, state))
        return sorted(found, key=lambda one: one[0])

    def truth(self) -> list[Truth]:
        """Return what the row ought to have shown, oldest first."""
        return truths(self.entered(), due=self.due, deleted=self.deleted, died=self.died)


class Watcher:
    """Records any number of jobs, from threads of its own.

    Args:
        store: The job table, read as it is: nothing is asked of Prefect on the way.
        prefect: Prefect's API.
    """

    def __init__(self, store: JobReader, prefect: PrefectApi) -> None:
        self._store = store
        self._prefect = prefect
        self._ending = threading.Event()
        self._watched: list[Recording] = []
        self._threads = [
            threading.Thread(target=self._repeat, args=(look, every), name=name, daemon=True)
            for name, look, every in (
                ("watch-table", self._look_at_row, TABLE_SECONDS),
                ("watch-prefect", self._look_at_run, PREFECT_SECONDS),
                ("watch-processes", self._look_at_processes, PROCESSES_SECONDS),
            )
        ]
        for thread in self._threads:
            thread.start()

    def watch(self, job_id: str, *, due: float | None = None) -> Recording:
        """Begin to record a job."""
        recording = Recording(job_id, due)
        self._watched = [*self._watched, recording]
        return recording

    def forget(self) -> None:
        """Stop recording all jobs."""
        self._watched = []

    def end(self) -> None:
        """Stop for good."""
        self._ending.set()
        for thread in self._threads:
            thread.join(20)

    def _repeat(self, look: Any, every: float) -> None:
        while not self._ending.wait(every):
            for one in self._watched:
                look(one)

    def _look_at_row(self, one: Recording) -> None:
        try:
            job = self._store.get(JobId(UUID(one.job_id)))
        except JobTableUnavailableError:
            glimpse = Glimpse(time.time(), legible=False)
        else:
            one.job = job
            glimpse = glimpse_of(job, time.time())
        if not one.rows or _differs(one.rows[-1], glimpse):
            one.rows.append(glimpse)

    def _look_at_run(self, one: Recording) -> None:
        if one.deleted is not None:
            return
        answered, run = self._prefect.glance(one.job_id)
        if answered and run is None and one.states:
            one.deleted = time.time()
        state = run and run.get("state")
        if state and state["id"] not in one.states:
            one.states[state["id"]] = (time.time(), state)

    def _look_at_processes(self, one: Recording) -> None:
        gone = {pid for pid in one.pids if not runs(pid)}
        if gone:
            one.pids -= gone
            one.died.append(time.time())
        if not one.pids:
            one.pids |= {pid for pid in flow_processes(one.job_id) if runs(pid)}


def glimpse_of(job: Job | None, at: float) -> Glimpse:
    """Return what a row shows."""
    if job is None:
        return Glimpse(at)
    whole = (job.ended_at is not None) == job.state.terminal and (
        (job.result is not None) == (job.state is JobState.COMPLETED)
    )
    resultless = bool(job.failures) and job.failures[-1].code == "no_result"
    return Glimpse(at, job.state, whole, True, resultless, str(job.prefect.state_id), job.attempt)


def _differs(before: Glimpse, after: Glimpse) -> bool:
    return (before.state, before.whole, before.legible, before.resultless, before.state_id, before.attempt) != (
        after.state,
        after.whole,
        after.legible,
        after.resultless,
        after.state_id,
        after.attempt,
    )


def with_history(one: Recording, history: Sequence[Mapping[str, Any]]) -> None:
    """Add the states that were too short to be seen, as Prefect itself remembers them."""
    for state in history:
        if state["id"] not in one.states:
            one.states[state["id"]] = (seconds_of(state["timestamp"]), dict(state))
