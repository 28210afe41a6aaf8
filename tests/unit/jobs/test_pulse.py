"""What the pulse of an attempt writes, and when it makes the attempt leave."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from prefect_narrative.jobs import pulse
from prefect_narrative.jobs.processes import Life, Machine
from prefect_narrative.jobs.pulse import Pulse
from prefect_narrative.jobs.record import Executor, JobId, Progress
from prefect_narrative.jobs.store import JobTableUnavailableError
from prefect_narrative.testing import MemoryJobStore, observed

NOW = datetime.now(UTC)
PATIENT_SECONDS = 30


class Attempt:
    """A running job and the pulse of its attempt."""

    def __init__(self, store: MemoryJobStore) -> None:
        self.id = JobId(uuid4())
        self.store = store
        store.apply(observed(self.id, "RUNNING", NOW), cause="test")
        self.token = store.begin_attempt(self.id, Executor(host="h", pid=1)).token
        self.left: list[str] = []
        self.has_left = threading.Event()
        self.pulse = Pulse(self.id, self.token, store, self.progress, leave=self.leave)

    def progress(self) -> Progress:
        return Progress(fraction=0.5, message="half", at=NOW)

    def leave(self, why: str) -> None:
        self.left.append(why)
        self.has_left.set()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "LOOK_EVERY", timedelta(milliseconds=5))
    monkeypatch.setattr(pulse, "CANCEL_WITHIN", timedelta(milliseconds=30))
    monkeypatch.setattr(pulse, "LEAVE_AFTER", timedelta(milliseconds=30))


def test_it_beats_and_tells_progress() -> None:
    attempt = Attempt(MemoryJobStore())
    attempt.pulse.start()
    attempt.pulse.stop()
    beat = attempt.store.heartbeat(attempt.id)
    job = attempt.store.get(attempt.id)
    assert beat is not None
    assert job is not None
    assert job.progress == attempt.progress()
    assert beat.token == attempt.token
    assert Machine.here().life_of(beat) is Life.ALIVE
    assert attempt.left == []


@pytest.mark.parametrize(
    ("happens", "why"),
    [
        (lambda one: one.store.raise_fence(one.id), "another attempt"),
        (lambda one: one.store.begin_attempt(one.id, Executor(host="h", pid=2)), "another attempt"),
        (
            lambda one: one.store.apply(observed(one.id, "CANCELLING", datetime.now(UTC)), cause="test"),
            "asked to cancel",
        ),
        (lambda one: one.store.apply(observed(one.id, "CANCELLED", datetime.now(UTC)), cause="test"), "Cancelled"),
    ],
)
def test_an_attempt_that_must_end_leaves(happens: Callable[[Attempt], object], why: str) -> None:
    attempt = Attempt(MemoryJobStore())
    attempt.pulse.start()
    happens(attempt)
    assert attempt.has_left.wait(PATIENT_SECONDS)
    attempt.pulse.stop()
    assert why in attempt.left[0]


def test_forced_to_another_end_it_works_on() -> None:
    attempt = Attempt(MemoryJobStore())
    attempt.store.apply(observed(attempt.id, "FAILED", datetime.now(UTC)), cause="test")
    attempt.pulse.start()
    assert not attempt.has_left.wait(0.2)
    attempt.pulse.stop()


def test_a_table_that_is_down_ends_nothing() -> None:
    class Down(MemoryJobStore):
        down = False
        asked = 0

        def get(self, job_id: JobId):  # type: ignore[no-untyped-def]
            if self.down:
                self.asked += 1
                raise JobTableUnavailableError
            return super().get(job_id)

    store = Down()
    attempt = Attempt(store)
    store.raise_fence(attempt.id)
    store.down = True
    attempt.pulse.start()
    while store.asked < 3:
        threading.Event().wait(0.01)
    assert attempt.left == []
    store.down = False
    assert attempt.has_left.wait(PATIENT_SECONDS)
    attempt.pulse.stop()
