"""Clocks are set back by an hour: of the reconciler's machine, and of Prefect's server, by whose times we order."""

import signal
import time
from pathlib import Path

from fault_suite.cell import cell
from fault_suite.parts import Part
from fault_suite.scene import PromiseBrokenError, Scene
from prefect_narrative.jobs.states import JobState

SET_BACK_SECONDS = 3600.0
CLOCK = Path(__file__).parents[1] / "set_back"


def behind(environment: dict[str, str]) -> dict[str, str]:
    """Return what makes a process's clock go behind."""
    return {
        "PYTHONPATH": f"{CLOCK}:{environment.get('PYTHONPATH', '')}".rstrip(":"),
        "NARRATIVE_FAULTS_SET_BACK_SECONDS": str(SET_BACK_SECONDS),
    }


def start_behind(scene: Scene, part: Part) -> None:
    """Start a part that believes that it is an hour earlier, and see to it that it does so to the end."""
    part.start(**behind(part.environment))

    def was_behind() -> None:
        if not (part.alive and part.altered):
            raise PromiseBrokenError(f"the {part.name} with the clock that was set back has ended")

    scene.checks.append(was_behind)


def set_back_reconciler(scene: Scene) -> None:
    """Have a reconciler whose clock is behind."""
    scene.stage.reconciler.kill(signal.SIGTERM, comes_back=False)
    start_behind(scene, scene.stage.reconciler)
    scene.stage.wait_for_reconciler()


@cell("clock", patience_seconds=90)
def reconciler_set_back(scene: Scene) -> None:
    set_back_reconciler(scene)
    scene.job("deaf-to-all", seconds=1).comes_to(JobState.COMPLETED, attempt=1, kinds=[])


@cell("clock", patience_seconds=90)
def reconciler_set_back_and_killed(scene: Scene) -> None:
    set_back_reconciler(scene)
    job = scene.job("tick", seconds=60, max_retries=0).until_at_work()
    scene.stage.worker.kill(signal.SIGKILL)
    job.signal(signal.SIGKILL)
    job.comes_to(JobState.FAILED, attempt=1, kinds=["infrastructure"])


@cell("clock", patience_seconds=90)
def reconciler_set_back_and_deleted(scene: Scene) -> None:
    set_back_reconciler(scene)
    job = scene.job("tick", seconds=60, max_retries=0).until_at_work()
    scene.later(2.5)
    scene.stage.prefect.delete(job.id)
    job.comes_to(JobState.CANCELLED, attempt=1)


@cell("clock", patience_seconds=120)
def server_set_back(scene: Scene) -> None:
    """The server comes back with a clock that is behind: later states have earlier times."""
    job = scene.job("tick", seconds=30, max_retries=0).until_at_work()
    part = scene.stage.server
    part.kill(signal.SIGKILL, comes_back=False)
    job.recording.shifted_at, job.recording.shift_seconds = time.time(), SET_BACK_SECONDS
    start_behind(scene, part)
    scene.stage.wait("the server answers", scene.stage.prefect.healthy, part)
    job.comes_to(JobState.COMPLETED, attempt=1, kinds=[])
