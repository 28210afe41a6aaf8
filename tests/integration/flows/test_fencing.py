"""An attempt that was superseded, cancelled or declared dead never publishes, even if it was stopped and goes on."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

import pytest
from live_platform import Platform
from prefect.client.orchestration import get_client
from prefect.states import AwaitingRetry, Cancelling, Crashed, Pending
from prefect_narrative.flows.create_dataset import create_dataset
from test_kills import ask, start

from prefect_narrative.jobs.deaths import LEAVE_WITHIN, LONGEST_ROUND, SILENT_FOR, DeathWatch
from prefect_narrative.jobs.prefect_runs import PrefectRuns
from prefect_narrative.jobs.processes import Life
from prefect_narrative.jobs.reconciler import look
from prefect_narrative.jobs.record import Heartbeat, Job, JobId
from prefect_narrative.jobs.states import JobState
from prefect_narrative.planes.errors import PublishLockTimeoutError
from prefect_narrative.planes.fences import Fences
from prefect_narrative.settings import Settings

PATIENT_SECONDS = 60
BETWEEN_ROUNDS = LONGEST_ROUND * 0.9


class Elsewhere:
    """Processes as they look from another machine that has the same disk."""

    def life_of(self, _beat: Heartbeat) -> Life:
        return Life.OUT_OF_SIGHT

    def kill(self, _beat: Heartbeat) -> bool:
        return False


class Watch:
    """A death watch elsewhere, whose time is told."""

    def __init__(self, platform: Platform, runs: PrefectRuns) -> None:
        self.platform = platform
        self.runs = runs
        self.seconds = 0.0
        self.watch = DeathWatch(platform.store(), Elsewhere(), Fences(Settings()), clock=lambda: self.seconds)

    def rounds(self, job_id: UUID, lasting: timedelta) -> bool:
        """Look again and again for a while, as often as one looks who is not held up; say whether Prefect was told."""
        until = self.seconds + lasting.total_seconds()
        told = False
        while not told and self.seconds < until:
            self.seconds = min(until, self.seconds + BETWEEN_ROUNDS.total_seconds())
            told = self.round(job_id)
        return told

    def round(self, job_id: UUID) -> bool:
        job = look(self.platform.store(), self.runs, job_id)
        seen = self.runs.read(job_id)
        assert job is not None
        assert seen is not None
        self.watch.begin_round()
        return self.watch.examine(self.runs, job, seen, self.platform.store().heartbeat(JobId(job_id)))


@contextmanager
def stopped(platform: Platform, run_id: UUID, how: str) -> Iterator["subprocess.Popen[str]"]:
    """Start an attempt that stops itself; at the end of the block it goes on, to its end."""
    with start(platform, run_id, how) as process:
        assert process.stdout is not None
        try:
            while (line := process.stdout.readline()) != "stopping\n":
                assert line, "it ended before it stopped"
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.wait(PATIENT_SECONDS)


def rows_of(platform: Platform, dataset: str) -> int | None:
    with platform.plane() as plane:
        return plane.dataset(dataset).rows if plane.exists(dataset) else None


def record(platform: Platform, run_id: UUID) -> Job:
    with get_client(sync_client=True) as client:
        found = look(platform.store(), PrefectRuns(client), run_id)
    assert found is not None
    return found


def test_one_that_was_declared_dead_publishes_nothing_and_says_nothing(platform: Platform, trips: str) -> None:
    run_id = ask(create_dataset, name="declared_dead", source=trips)
    with get_client(sync_client=True) as client, stopped(platform, run_id, "stop-before-publishing"):
        watch = Watch(platform, PrefectRuns(client))
        watch.round(run_id)
        assert watch.rounds(run_id, SILENT_FOR)
        assert record(platform, run_id).state is JobState.FAILED
    job = record(platform, run_id)
    assert (job.state, [one.code for one in job.failures]) == (JobState.FAILED, ["process_died"])
    assert job.prefect.type == "CRASHED"
    assert rows_of(platform, "declared_dead") is None


def test_one_that_was_superseded_publishes_nothing_more(platform: Platform, trips: str) -> None:
    create_dataset(name="superseded", source=trips)
    before = rows_of(platform, "superseded")
    run_id = ask(create_dataset, name="superseded", source=trips, write_mode="append")
    with get_client(sync_client=True) as client, stopped(platform, run_id, "stop-before-publishing"):
        client.set_flow_run_state(run_id, Crashed(message="somebody thought so"), force=True)
        record(platform, run_id)
        client.set_flow_run_state(run_id, AwaitingRetry(), force=True)
        record(platform, run_id)
        client.set_flow_run_state(run_id, Pending(), force=True)
        with start(platform, run_id) as second:
            second.communicate(timeout=PATIENT_SECONDS)
        done = record(platform, run_id)
        assert (done.state, done.attempt) == (JobState.COMPLETED, 2)
    assert before is not None
    assert rows_of(platform, "superseded") == 2 * before
    after = record(platform, run_id)
    assert (after.state, after.result, after.prefect) == (done.state, done.result, done.prefect)


def test_one_that_was_cancelled_publishes_nothing(platform: Platform, trips: str) -> None:
    run_id = ask(create_dataset, name="cancelled_early", source=trips)
    with get_client(sync_client=True) as client, stopped(platform, run_id, "stop-before-publishing"):
        client.set_flow_run_state(run_id, Cancelling(), force=True)
        watch = Watch(platform, PrefectRuns(client))
        watch.round(run_id)
        watch.rounds(run_id, LEAVE_WITHIN)
        assert record(platform, run_id).state is JobState.PENDING_CANCELLATION
    # Nobody but its process could tell, and that left without a word: it is cancelled when it is missed.
    assert record(platform, run_id).state is JobState.PENDING_CANCELLATION
    assert rows_of(platform, "cancelled_early") is None


def test_one_that_holds_the_publish_lock_is_not_declared_dead_and_publishes(platform: Platform, trips: str) -> None:
    run_id = ask(create_dataset, name="holds_lock", source=trips)
    with get_client(sync_client=True) as client, stopped(platform, run_id, "stop-before-commit"):
        watch = Watch(platform, PrefectRuns(client))
        watch.round(run_id)
        with pytest.raises(PublishLockTimeoutError, match=str(run_id)):
            watch.rounds(run_id, SILENT_FOR)
        assert record(platform, run_id).state is JobState.RUNNING
    until = time.monotonic() + PATIENT_SECONDS
    while (job := record(platform, run_id)).state is JobState.RUNNING and time.monotonic() < until:
        time.sleep(0.1)
    assert rows_of(platform, "holds_lock") == 3
    assert job.state is JobState.COMPLETED
