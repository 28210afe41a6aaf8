"""Who is found dead, when, and in which order what follows is done."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from prefect_narrative.jobs.deaths import (
    BEGIN_WITHIN,
    CANCEL_UNSTARTED_WITHIN,
    CANCEL_WITHIN,
    LEAVE_WITHIN,
    LONGEST_ROUND,
    SILENT_FOR,
    START_WITHIN,
    SURE_AFTER,
    WORKER_ENDS_WITHIN,
    DeathWatch,
    runs_on_after_cancel,
)
from prefect_narrative.jobs.processes import Life
from prefect_narrative.jobs.record import Executor, Heartbeat, Job, JobId, Observation
from prefect_narrative.jobs.runs import Runs
from prefect_narrative.testing import MemoryJobStore, observed

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HERE = Executor(host="h", pid=7)
TOKEN = int(NOW.timestamp() * 1e6) + 1
"""What a fence is raised to: higher than the clock's own."""


class World:
    """One job with its run, its process and its lake, and what the death watch did, in order."""

    def __init__(self, prefect_type: str = "RUNNING", *, life: Life = Life.ALIVE, **known: Any) -> None:
        self.id = JobId(uuid4())
        self.ticks = 0.0
        self.moves = 0
        self.store = MemoryJobStore(clock=lambda: NOW)
        self.done: list[str] = []
        self.states: list[str] = []
        self.life = life
        self.lock_is_held = False
        self.watch = DeathWatch(self.store, self, self, clock=lambda: self.ticks, now=lambda: NOW)
        self.seen = self.move(prefect_type, **{"held": True, **known})

    def move(self, prefect_type: str, **known: Any) -> Observation:
        self.moves += 1
        self.states.append(prefect_type)
        at = NOW + timedelta(hours=-1, seconds=self.ticks, milliseconds=self.moves)
        self.seen = observed(self.id, prefect_type, at, data_plane="default", **known)
        self.store.apply(self.seen, cause="test")
        return self.seen

    def begin(self, *, beat: bool = True, token: int | None = None) -> int:
        began = self.store.begin_attempt(self.id, HERE, token=token)
        if beat:
            self.beat(began.token)
        return began.token

    def beat(self, token: int) -> None:
        at = NOW + timedelta(seconds=self.ticks)
        self.store.beat(
            Heartbeat(
                job_id=self.id,
                token=token,
                at=at,
                host="h",
                machine_id="m",
                boot_id="b",
                pid_namespace="n",
                pid=7,
                start_ticks=1,
            )
        )

    @property
    def job(self) -> Job:
        found = self.store.get(self.id)
        assert found is not None
        return found

    def round(self, after: timedelta = timedelta(0)) -> bool:
        """Look as often as a reconciler does, until a time has passed or something was done."""
        while after > LONGEST_ROUND:
            if self.look(LONGEST_ROUND):
                return True
            after -= LONGEST_ROUND
        return self.look(after)

    def look(self, after: timedelta) -> bool:
        """Look once."""
        self.ticks += after.total_seconds()
        self.watch.begin_round()
        return self.watch.examine(cast("Runs", self), self.job, self.seen, self.store.heartbeat(self.id))

    def round_of_cancelled(self, after: timedelta = timedelta(0)) -> None:
        while after > LONGEST_ROUND:
            self.look_at_cancelled(LONGEST_ROUND)
            after -= LONGEST_ROUND
        self.look_at_cancelled(after)

    def look_at_cancelled(self, after: timedelta) -> None:
        self.ticks += after.total_seconds()
        self.watch.begin_round()
        beat = self.store.heartbeat(self.id)
        assert beat is not None
        self.watch.examine_cancelled(self.job, beat)

    # What the death watch asks of the world.

    def life_of(self, _beat: Heartbeat) -> Life:
        return self.life

    def kill(self, beat: Heartbeat) -> bool:
        self.done.append(f"kill {beat.pid}")
        return True

    def fence(self, plane: str | None, _job_id: UUID, token: int) -> None:
        if self.lock_is_held:
            raise TimeoutError("the publish lock is held")
        self.done.append(f"fence {plane} {token}")

    def published(self, _plane: str | None, _job_id: UUID) -> Mapping[str, Any] | None:
        return None

    def read(self, _job_id: UUID) -> Observation:
        return self.seen

    def end(self, _job_id: UUID, state_id: UUID, type: str, message: str) -> bool:
        assert state_id == self.seen.prefect.state_id
        self.done.append(f"{type} {message}")
        return True

    def history(self, _job_id: UUID) -> list[str]:
        return self.states

    def cancel(self, _job_id: UUID, message: str) -> bool:
        self.done.append(f"cancel {message}")
        return True


def test_who_was_held_up_himself_declares_nobody_dead() -> None:
    world = World(life=Life.OUT_OF_SIGHT)
    world.begin(token=5)
    world.round()
    assert not world.look(SILENT_FOR + LONGEST_ROUND), "nobody looked meanwhile"
    world.round(SILENT_FOR - timedelta(seconds=1))
    world.watch.begin_round()
    beat = world.store.heartbeat(world.id)
    world.ticks += SILENT_FOR.total_seconds()
    assert not world.watch.examine(cast("Runs", world), world.job, world.seen, beat), (
        "the sign of life was read long ago"
    )
    assert world.done == []
    assert not world.round()
    assert world.round(SILENT_FOR)


def test_a_living_process_is_left_alone_however_long_it_works() -> None:
    world = World()
    world.begin(token=5)
    for _ in range(50):
        assert not world.round(timedelta(hours=1))
    assert world.done == []


def test_a_dead_process_is_fenced_out_first_and_then_told_to_prefect() -> None:
    world = World(life=Life.DEAD)
    world.begin(token=5)
    assert not world.round()
    assert not world.round(SURE_AFTER - timedelta(milliseconds=1))
    assert world.done == []
    assert world.round(timedelta(milliseconds=1))
    assert world.done == [f"fence default {TOKEN}", "CRASHED Process 7 on h is gone."]
    assert world.job.token == TOKEN


def test_a_dead_process_that_was_to_be_cancelled_is_cancelled() -> None:
    world = World(life=Life.DEAD)
    world.begin(token=5)
    world.move("CANCELLING", held=True)
    world.round()
    assert not world.round(WORKER_ENDS_WITHIN - timedelta(seconds=1)), "its worker is about to say so"
    assert world.round(timedelta(seconds=1))
    assert world.done[-1] == "CANCELLED Process 7 on h is gone."


def test_a_process_that_died_while_it_waited_for_its_next_attempt_is_found() -> None:
    world = World(life=Life.DEAD)
    world.begin(token=5)
    world.move("SCHEDULED", name="AwaitingRetry", held=True)
    world.round()
    assert world.round(SURE_AFTER)


def test_a_run_that_waits_for_a_worker_has_no_process_to_be_dead() -> None:
    world = World(life=Life.DEAD)
    world.begin(token=5)
    world.move("CRASHED")
    world.move("SCHEDULED", name="AwaitingRetry", held=False)
    for _ in range(5):
        assert not world.round(timedelta(hours=1))
    assert world.done == []


def test_silence_out_of_sight_counts_from_when_it_was_first_missed() -> None:
    world = World(life=Life.OUT_OF_SIGHT)
    token = world.begin(token=5)
    world.round()
    world.round(SILENT_FOR - timedelta(seconds=1))
    world.beat(token)
    assert not world.round(timedelta(seconds=1))
    assert not world.round(SILENT_FOR - timedelta(seconds=1))
    assert world.round(timedelta(seconds=1))
    assert world.done == [
        f"fence default {TOKEN}",
        "CRASHED Process 7 on h has given no sign of life since 2026-03-01 12:01:14 UTC.",
    ]


def test_after_an_outage_silence_counts_anew() -> None:
    world = World(life=Life.OUT_OF_SIGHT)
    world.begin(token=5)
    world.round()
    world.ticks += 3600
    world.watch.interrupted()
    assert not world.round()
    assert not world.round(SILENT_FOR - timedelta(seconds=1))
    assert world.round(timedelta(seconds=1))


@pytest.mark.parametrize(("began", "patience"), [(True, SILENT_FOR), (False, START_WITHIN)])
def test_a_process_that_was_never_heard_of_has_its_time(began: bool, patience: timedelta) -> None:
    world = World(started_at=NOW)
    if began:
        world.begin(beat=False, token=5)
    world.round()
    assert not world.round(patience - timedelta(seconds=1))
    assert world.round(timedelta(seconds=1))
    assert world.done[-1] == "CRASHED Its process never gave a sign of life."


def test_a_new_attempt_is_not_judged_by_the_sign_of_life_of_the_old_one() -> None:
    world = World(life=Life.DEAD)
    world.begin(token=5)
    world.store.begin_attempt(world.id, Executor(host="h", pid=8), token=9)
    world.round()
    assert not world.round(SILENT_FOR - timedelta(seconds=1))
    assert world.done == []


def test_a_retried_run_is_not_judged_by_its_old_process_before_the_new_one_has_begun() -> None:
    world = World(life=Life.DEAD)
    world.begin(token=5)
    world.move("CRASHED")
    world.move("SCHEDULED", name="AwaitingRetry", held=False)
    world.move("RUNNING", held=True)
    world.round()
    assert not world.round(SILENT_FOR)
    assert world.done == []


def test_a_run_whose_process_was_never_started_is_ended() -> None:
    world = World("PENDING", held=False, name="Submitting")
    world.round()
    assert not world.round(START_WITHIN - timedelta(seconds=1))
    assert world.round(timedelta(seconds=1))
    assert world.done[-1].startswith("CRASHED A worker took the run at 2026-03-01 11:00:00 UTC")


def test_cancelling_that_nobody_carries_out_kills_the_process_after_it_was_fenced() -> None:
    world = World()
    world.begin(token=5)
    world.move("CANCELLING", held=True)
    world.round()
    world.round(LEAVE_WITHIN)
    assert world.done == [f"fence default {TOKEN}"]
    assert world.job.token == 5, "what it has published before, it may still report"
    assert not world.round(CANCEL_WITHIN - LEAVE_WITHIN)
    assert world.done == [f"fence default {TOKEN}", "kill 7"]


def test_a_run_that_never_started_is_cancelled_where_nobody_does_it() -> None:
    world = World("PENDING", held=False)
    world.move("CANCELLING", held=True)
    world.round()
    assert not world.round(CANCEL_UNSTARTED_WITHIN - timedelta(seconds=1))
    assert world.round(timedelta(seconds=1))
    assert world.done[-1].startswith("CANCELLED Nobody")


def test_nobody_is_declared_dead_who_can_not_be_fenced_out() -> None:
    world = World(life=Life.DEAD)
    world.begin(token=5)
    world.lock_is_held = True
    world.round()
    with pytest.raises(TimeoutError):
        world.round(SURE_AFTER)
    assert world.done == []
    world.lock_is_held = False
    assert world.round()
    assert world.done == [f"fence default {TOKEN}", "CRASHED Process 7 on h is gone."]


def test_nothing_is_done_about_a_run_that_has_moved_since_it_was_seen() -> None:
    world = World(life=Life.DEAD)
    world.begin(token=5)
    world.round()
    stale, job = world.seen, world.job
    world.seen = observed(world.id, "COMPLETED", NOW)
    world.ticks += SURE_AFTER.total_seconds()
    assert not world.watch.examine(cast("Runs", world), job, stale, world.store.heartbeat(world.id))
    assert world.done == []


def test_a_process_that_outlives_its_cancelled_run_is_fenced_out_noted_and_killed() -> None:
    world = World()
    world.begin(token=5)
    world.move("CANCELLED")
    world.round_of_cancelled()
    world.round_of_cancelled(LEAVE_WITHIN)
    world.round_of_cancelled(timedelta(seconds=1))
    assert world.done == [f"fence default {TOKEN}"]
    assert [(one.kind, one.code) for one in world.job.failures] == [("operator", "cancelled_while_running")]
    world.round_of_cancelled(CANCEL_WITHIN)
    assert world.done == [f"fence default {TOKEN}", "kill 7"]


def test_a_process_that_leaves_after_its_cancelling_is_no_news() -> None:
    world = World()
    world.begin(token=5)
    world.move("CANCELLED")
    world.round_of_cancelled()
    world.life = Life.DEAD
    world.round_of_cancelled(timedelta(hours=1))
    assert world.done == []
    assert world.job.failures == ()


def test_what_runs_although_it_was_cancelled_is_cancelled_again_once() -> None:
    world = World("PENDING", held=False)
    world.move("CANCELLED")
    world.ticks = 1
    world.move("RUNNING", held=True)
    assert world.round()
    assert not world.round()
    assert world.done == ["cancel It was cancelled, and ran all the same."]


def test_an_attempt_that_began_without_the_table_is_fenced_out_too() -> None:
    world = World(life=Life.DEAD)
    world.begin(token=5)
    world.beat(TOKEN + 7)
    world.round()
    assert world.round(SURE_AFTER)
    assert world.done[0] == f"fence default {TOKEN + 8}"


def test_an_attempt_that_was_never_heard_of_is_fenced_out_also_where_clocks_were_set_back() -> None:
    world = World(life=Life.DEAD)
    world.ticks += 4000  # its run starts later than it is now
    started_at = world.move("RUNNING", held=True).prefect.timestamp
    world.begin(token=5)
    world.round()
    assert world.round(SURE_AFTER)
    assert world.done[0] == f"fence default {int((started_at + BEGIN_WITHIN).timestamp() * 1e6) + 1}"


@pytest.mark.parametrize(
    ("history", "runs_on"),
    [
        ("PENDING CANCELLED RUNNING", True),
        ("SCHEDULED PENDING RUNNING CANCELLED RUNNING", True),
        ("PENDING RUNNING CANCELLING CANCELLED RUNNING PAUSED RUNNING", True),
        ("PENDING RUNNING", False),
        ("PENDING RUNNING CANCELLED SCHEDULED PENDING RUNNING", False),
        ("PENDING RUNNING CRASHED SCHEDULED PENDING CANCELLED RUNNING", False),
        ("PENDING RUNNING CANCELLED SCHEDULED PENDING CANCELLED RUNNING", False),
        ("CANCELLED", False),
        ("", False),
    ],
)
def test_only_what_nobody_retried_runs_on_after_its_cancel(history: str, runs_on: bool) -> None:
    assert runs_on_after_cancel(history.split()) is runs_on


def test_a_retry_that_the_table_has_missed_is_no_reason_to_cancel() -> None:
    world = World("PENDING", held=False)
    world.move("CANCELLED")
    world.states += ["SCHEDULED", "PENDING"]
    world.ticks = 1
    world.move("RUNNING", held=True)
    assert not world.round()
    assert world.done == []
