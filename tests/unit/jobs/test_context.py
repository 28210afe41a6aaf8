"""The end of an attempt: everything is released, and nothing there changes how the attempt ended."""

import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from typing_extensions import override

from prefect_narrative.costs import Cost
from prefect_narrative.jobs.context import JobContext
from prefect_narrative.jobs.outbox import Outbox
from prefect_narrative.jobs.record import Failure, Heartbeat, JobId, Usage
from prefect_narrative.jobs.store import Attempt, JobTableUnavailableError
from prefect_narrative.testing import MemoryJobStore, observed


class FullOutbox(Outbox):
    """An outbox on a full disk."""

    @override
    def put_failure(self, job_id: JobId, token: int, failure: Failure) -> None:
        raise OSError(28, "No space left on device")

    @override
    def put_usage(self, job_id: JobId, token: int, usage: Usage, cost: Cost | None = None) -> None:
        raise OSError(28, "No space left on device")


class Thing:
    """A resource that breaks when it is asked or closed."""

    def __init__(self, events: list[str]) -> None:
        self.events = events

    def close(self) -> None:
        self.events.append("closed")
        raise RuntimeError("it does not close")

    def progress(self) -> float | None:
        return None

    def usage(self) -> Usage:
        raise RuntimeError("it does not tell")


def context_on(folder: Path) -> JobContext:
    return JobContext(uuid4(), MemoryJobStore(), FullOutbox(folder))


def test_an_attempt_that_succeeded_stays_so_whatever_its_release_does(tmp_path: Path) -> None:
    events: list[str] = []

    def discard() -> None:
        events.append("discarded")
        raise TimeoutError("somebody else holds the lock")

    with context_on(tmp_path) as context:
        context.on_end(lambda: events.append("first"))
        context.use(Thing(events))
        context.on_end(discard)
    assert events == ["discarded", "closed", "first"]


def test_why_an_attempt_failed_is_not_hidden_by_its_release(tmp_path: Path) -> None:
    events: list[str] = []

    def body() -> None:
        with context_on(tmp_path) as context:
            context.use(Thing(events))
            raise KeyError("the cause")

    with pytest.raises(KeyError, match="the cause"):
        body()
    assert events == ["closed"]


def test_a_failure_that_can_be_kept_nowhere_is_returned_all_the_same(tmp_path: Path) -> None:
    with context_on(tmp_path) as context:
        failure = context.keep_failure(KeyError("the cause"))
    assert failure.code == "internal_error"


class SilentStore(MemoryJobStore):
    """A table that refuses the work at once, and lets signs of life wait until it is told to answer."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()
        self.answer = threading.Event()

    @override
    def begin_attempt(self, *_: Any, **__: Any) -> Attempt:
        raise JobTableUnavailableError

    @override
    def add_usage(self, job_id: JobId, token: int, usage: Usage, cost: Cost | None = None) -> None:
        raise JobTableUnavailableError

    @override
    def beat(self, heartbeat: Heartbeat) -> None:
        self.asked.set()
        self.answer.wait(30)


def test_the_end_does_not_wait_for_signs_of_life_that_the_table_does_not_take(tmp_path: Path) -> None:
    store, closed = SilentStore(), []
    with JobContext(uuid4(), store, Outbox(tmp_path)) as context:
        context.on_end(lambda: closed.append("closed"))
        assert store.asked.wait(30)
        began = time.monotonic()
    assert time.monotonic() - began < 4
    assert closed == ["closed"]
    assert [path.name for path in tmp_path.iterdir()] == [f"{context.job_id}.{context.token}.usage.json"]
    store.answer.set()


class Lake:
    """A resource through which a job publishes."""

    def __init__(self) -> None:
        self.fences: list[tuple[UUID, int]] = []

    def fence(self, job_id: UUID, token: int) -> None:
        self.fences.append((job_id, token))

    def close(self) -> None: ...

    def progress(self) -> None: ...

    def usage(self) -> Usage:
        return Usage()


def test_only_an_attempt_that_follows_another_one_fences_it_out(tmp_path: Path) -> None:
    store, job_id = MemoryJobStore(), uuid4()
    store.apply(observed(job_id, "RUNNING", datetime.now(UTC)), cause="test")
    first, second = Lake(), Lake()
    with JobContext(job_id, store, Outbox(tmp_path)) as context:
        assert context.use(first) is first
    with JobContext(job_id, store, Outbox(tmp_path)) as context:
        context.use(second)
        assert second.fences == [(job_id, context.token)]
    assert first.fences == []
