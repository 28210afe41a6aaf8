"""An attempt that is stopped before its commit and goes on after it was cancelled or superseded: it never publishes."""

import signal
import time
from pathlib import Path

from fault_suite.cell import cell
from fault_suite.parts import runs
from fault_suite.playing import publications
from fault_suite.scene import Actor, PromiseBrokenError, Scene
from prefect_narrative.jobs.states import JobState


def about_to_publish(scene: Scene) -> tuple[Actor, Path]:
    """Return a job that waits before its gate, with everything staged, and the gate."""
    gate = scene.new_path("gate")
    job = scene.job("publish", name=scene.new_name("fenced"), gate=str(gate), max_retries=0).until_at_work()
    scene.stage.wait("it is about to publish", Path(f"{gate}.staged1").exists)
    return job, gate


@cell("fenced")
def stopped_and_continued(scene: Scene) -> None:
    """For 20 seconds, on a machine where all is well: it is late, and nothing else."""
    job, gate = about_to_publish(scene)
    with job.frozen():
        gate.touch()
        scene.later(20)
    job.must_publish = True
    job.comes_to(JobState.COMPLETED, attempt=1, kinds=[])


@cell("fenced")
def stopped_and_cancelled(scene: Scene) -> None:
    """Asked to cancel while it is stopped; it goes on before anybody kills it."""
    job, gate = about_to_publish(scene)
    with job.frozen():
        scene.stage.prefect.cancel(job.id)
        job.until_row(JobState.PENDING_CANCELLATION)
        scene.later(8)
        gate.touch()
    job.must_publish = False
    job.comes_to(JobState.CANCELLED, attempt=1)


@cell("fenced")
def stopped_and_set_to_cancelled(scene: Scene) -> None:
    """Somebody sets Cancelled by hand, which ends no process."""
    job, gate = about_to_publish(scene)
    with job.frozen():
        scene.stage.prefect.set_state(job.id, "CANCELLED", force=True)
        job.until_row(JobState.CANCELLED)
        scene.later(8)
        gate.touch()
    job.must_publish = False
    job.comes_to(JobState.CANCELLED, attempt=1)


@cell("fenced", patience_seconds=90)
def stopped_and_superseded(scene: Scene) -> None:
    """Somebody declares it crashed and retries it: the second attempt publishes, the first never does."""
    job, gate = about_to_publish(scene)
    first = job.pid
    assert first is not None
    with job.frozen():
        scene.stage.prefect.set_state(job.id, "CRASHED", force=True)
        job.until_row(JobState.FAILED)
        scene.stage.prefect.retry(job.id)
        scene.stage.wait("another attempt is about to publish", Path(f"{gate}.staged2").exists)
        gate.touch()
        job.until("Completed")
    job.must_publish = True
    job.comes_to(JobState.COMPLETED, attempt=2)

    def once() -> None:
        until = time.monotonic() + 30
        while runs(first) and time.monotonic() < until:
            time.sleep(0.1)
        row, tokens = scene.stage.row(job.id), publications(scene.stage, job.id)
        if runs(first):
            raise PromiseBrokenError("the superseded process lives on")
        if tokens != [row.token]:
            raise PromiseBrokenError(f"published with the tokens {tokens}; the newest attempt's is {row.token}")

    scene.checks.append(once)


@cell("fenced", patience_seconds=90)
def stopped_superseded_and_first(scene: Scene) -> None:
    """The first attempt goes on while the second is under way, and wants to publish before it."""
    job, gate = about_to_publish(scene)
    first = job.pid
    assert first is not None
    with job.frozen():
        scene.stage.prefect.set_state(job.id, "CRASHED", force=True)
        job.until_row(JobState.FAILED)
        scene.stage.prefect.retry(job.id)
        scene.stage.wait("another attempt is about to publish", Path(f"{gate}.staged2").exists)
        second = [pid for pid in _processes(job) if pid != first]
        for pid in second:
            _send(pid, signal.SIGSTOP)
        gate.touch()
    scene.stage.wait("the first has ended", lambda: not runs(first), seconds=40)
    published_by_first = publications(scene.stage, job.id)
    for pid in second:
        _send(pid, signal.SIGCONT)
    job.must_publish = True
    job.comes_to(JobState.COMPLETED, attempt=2)

    def only_the_second() -> None:
        if published_by_first:
            raise PromiseBrokenError(f"the superseded attempt has published: {published_by_first}")

    scene.checks.append(only_the_second)


def _processes(job: Actor) -> list[int]:
    from fault_suite.parts import flow_processes

    return [pid for pid in flow_processes(job.id) if runs(pid)]


def _send(pid: int, number: int) -> None:
    import os

    os.kill(pid, number)
