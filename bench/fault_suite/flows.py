"""Job types that behave as a cell needs it: tick, block, fail, wait for somebody. A worker runs them."""

import ctypes
import time
from pathlib import Path
from typing import Any, ClassVar

from prefect import Flow
from prefect.flow_runs import pause_flow_run, suspend_flow_run
from prefect_narrative.blocks import load_plane
from pydantic import BaseModel

from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.jobs.context import current_job
from prefect_narrative.jobs.job import job
from prefect_narrative.planes.plane import Write

LONG_SECONDS = 600


class Ticked(BaseModel):
    """What they all return."""

    ticks: int
    """How often it looked at the clock."""


class BrokenLineError(NarrativeError, ConnectionError):
    """Another system did not answer."""

    kind: ClassVar[FailureKind] = FailureKind.EXTERNAL
    code: ClassVar[str] = "broken_line"
    remedy = "Try again."


def _tick(seconds: float) -> Ticked:
    until, ticks = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        time.sleep(0.05)
        ticks += 1
    return Ticked(ticks=ticks)


@job(type="fault-tick")
def tick(seconds: float = 0.5) -> Ticked:
    """Sleep in Python.

    Args:
        seconds: How long.
    """
    return _tick(seconds)


def _deaf(name: str, *moments: str) -> Flow[Any, Any]:
    """Return a job type that ticks, and some of whose hooks are lost."""

    @job(type=name)
    def deaf(seconds: float = 0.5, fails: bool = False) -> Ticked:
        """Sleep in Python, then fail if asked to."""
        ticked = _tick(seconds)
        if fails:
            raise ValueError("asked to fail")
        return ticked

    for moment in moments:
        getattr(deaf, f"{moment}_hooks").clear()
    return deaf


deaf_to_all = _deaf("fault-deaf-to-all", "on_running", "on_completion", "on_failure", "on_cancellation", "on_crashed")
deaf_to_start = _deaf("fault-deaf-to-start", "on_running")
deaf_to_end = _deaf("fault-deaf-to-end", "on_completion", "on_failure", "on_cancellation", "on_crashed")


@job(type="fault-block")
def block() -> Ticked:
    """Block in C, where no signal interrupts and no CPU is used: lock twice what can be locked once."""
    library, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(128)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)
    return Ticked(ticks=0)


@job(type="fault-flaky")
def flaky(failures: int = 1) -> Ticked:
    """Fail at first, with what may end otherwise next time.

    Args:
        failures: How many attempts fail.
    """
    number = current_job().attempt.number
    if number <= failures:
        raise BrokenLineError(f"attempt {number} got no answer")
    return Ticked(ticks=number)


@job(type="fault-fail")
def fail(seconds: float = 0.2, until: str | None = None) -> Ticked:
    """Fail with what is a defect, unless a file is there.

    Args:
        seconds: How long it works before.
        until: The file from whose existence on it does not fail any more.
    """
    ticked = _tick(seconds)
    if until is None or not Path(until).exists():
        raise ValueError("this one fails")
    return ticked


@job(type="fault-parent")
def parent(seconds: float = 1.0) -> Ticked:
    """Call another job type's flow inside this process.

    Args:
        seconds: How long the inner one ticks.
    """
    return tick(seconds=seconds)


@job(type="fault-pause")
def pause() -> Ticked:
    """Pause in the process until somebody resumes it."""
    pause_flow_run(timeout=LONG_SECONDS, poll_interval=1)
    return _tick(0.5)


@job(type="fault-suspend")
def suspend() -> Ticked:
    """Give the process up until somebody resumes the run."""
    suspend_flow_run(timeout=LONG_SECONDS)
    return _tick(0.5)


@job(type="fault-publish")
def publish(name: str, gate: str, data_plane: str = "default") -> Ticked:
    """Publish a dataset, but first wait at a gate: a file that somebody makes.

    Args:
        name: The dataset.
        gate: The file; `.staged` is made beside it when everything is ready to be published, with the attempt's number.
        data_plane: Where the dataset lies.
    """
    context = current_job()
    plane = context.use(load_plane(data_plane))
    stage = plane.stage_query(context.job_id, context.token, name, plane.check("SELECT 1 AS n"), at=plane.snapshot())
    Path(f"{gate}.staged{context.attempt.number}").touch()
    while not Path(gate).exists():
        time.sleep(0.05)
    plane.publish(context.job_id, context.token, [Write(name, "replace", stage)], {"dataset": name})
    return Ticked(ticks=1)
