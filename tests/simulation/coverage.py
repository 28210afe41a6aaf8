"""Counts what simulations have reached: who crashed where, and how deep the states were."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

from prefect_narrative.jobs.record import Job, JobEvent, JobId
from prefect_narrative.jobs.states import JobState, Move
from tests.simulation.actors import Actor
from tests.simulation.truth import all_rows
from tests.simulation.world import World

DEPTHS: dict[str, Callable[[Job, list[JobEvent]], bool]] = {
    "third attempt": lambda row, events: row.attempt >= 3,
    "opened again twice": lambda row, events: _count(events, Move.REOPENING) >= 2,
    "opened again after an opening again failed": lambda row, events: (
        _went(events, JobState.FAILED, JobState.PENDING) and _count(events, Move.REOPENING) >= 2
    ),
    "two corrections": lambda row, events: _count(events, Move.CORRECTION) >= 2,
    "cancelled and ran all the same": lambda row, events: _went(events, JobState.CANCELLED, JobState.RUNNING),
    "failed and completed all the same": lambda row, events: _went(events, JobState.FAILED, JobState.COMPLETED),
    "completed and opened again": lambda row, events: _went(events, JobState.COMPLETED, JobState.PENDING),
    "completed when its result was found": lambda row, events: any(one.cause.startswith("result:") for one in events),
    "two failures reported": lambda row, events: len(row.failures) >= 2,
    "usage of two attempts": lambda row, events: (row.usage.read_rows or 0) >= 2,
    "deleted before it ended": lambda row, events: any(one.cause.endswith("run deleted") for one in events),
    "asked to cancel, and completed": lambda row, events: _went(
        events, JobState.PENDING_CANCELLATION, JobState.COMPLETED
    ),
    "asked to cancel, and failed": lambda row, events: _went(events, JobState.PENDING_CANCELLATION, JobState.FAILED),
}
"""How deep a job's history may go; each must be reached."""


class Coverage:
    """What all simulations of a test run have reached."""

    def __init__(self) -> None:
        self.worlds = 0
        self.crashes: Counter[tuple[str, str, str]] = Counter()
        """How often somebody crashed: the state of the row, the last event of the run, what he had done about it."""
        self.depths: Counter[str] = Counter()

    def count_crash(self, world: World, actor: Actor) -> None:
        """Count that somebody crashes where he stands."""
        assert actor.at is not None
        jobs = list(world.server.runs) if actor.who == "sweep" else [actor.at.job_id]
        for job_id in jobs:
            assert job_id is not None
            done = actor.done.get(job_id, "nothing")
            self.crashes[world.row_state(job_id), world.last_event[job_id], f"{actor.who}: {done}"] += 1

    def count_depths(self, world: World) -> None:
        """Count how deep the histories of a world's jobs were."""
        self.worlds += 1
        self.depths.update(world.marks)
        for row in all_rows(world):
            events = list(world.table.events(JobId(row.job_id)))
            self.depths.update(name for name, is_reached in DEPTHS.items() if is_reached(row, events))


def _count(events: list[JobEvent], move: Move) -> int:
    return sum(one.move is move for one in events)


def _went(events: list[JobEvent], before: JobState, after: JobState) -> bool:
    return any((one.to_state, other.to_state) == (before, after) for one, other in pairwise(events))
