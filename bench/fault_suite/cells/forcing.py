"""Somebody forces a state or deletes a run, in the UI or by the API: the table follows, whatever it was."""

import signal
from datetime import timedelta

from fault_suite.cell import DEATH_AIM_SECONDS, cell
from fault_suite.scene import Scene
from prefect_narrative.jobs.states import JobState


@cell("forced", healthy=True)
def set_to_cancelled(scene: Scene) -> None:
    """Cancelled by hand while it runs: the table says so, and the process is ended."""
    job = scene.job("tick", seconds=60, max_retries=0).until_at_work()
    scene.stage.prefect.set_state(job.id, "CANCELLED", force=True)
    job.comes_to(JobState.CANCELLED, attempt=1)


@cell("forced", healthy=True)
def set_to_failed(scene: Scene) -> None:
    """The process goes on; how it ends is what counts in the end."""
    job = scene.job("tick", seconds=8, max_retries=0).until_at_work()
    scene.stage.prefect.set_state(job.id, "FAILED", force=True)
    job.comes_to(JobState.FAILED, JobState.COMPLETED)


@cell("forced", healthy=True)
def set_to_crashed(scene: Scene) -> None:
    job = scene.job("tick", seconds=8, max_retries=0).until_at_work()
    scene.stage.prefect.set_state(job.id, "CRASHED", force=True)
    job.comes_to(JobState.FAILED, JobState.COMPLETED)


@cell("forced", healthy=True)
def set_to_completed(scene: Scene) -> None:
    """Completed by hand means nothing without a result; then the process brings one."""
    job = scene.job("tick", seconds=8, max_retries=0).until_at_work()
    scene.stage.prefect.set_state(job.id, "COMPLETED", force=True)
    job.comes_to(JobState.COMPLETED, JobState.FAILED, may_be_resultless=True)


@cell("forced", healthy=True, quick=True)
def set_to_completed_while_pending(scene: Scene) -> None:
    job = scene.job("tick", after=timedelta(hours=1)).until_row(JobState.PENDING)
    scene.stage.prefect.set_state(job.id, "COMPLETED", force=True)
    job.comes_to(JobState.FAILED, attempt=1, kinds=["operator"], may_be_resultless=True)


@cell("forced", healthy=True, quick=True)
def set_to_failed_while_pending(scene: Scene) -> None:
    job = scene.job("tick", after=timedelta(hours=1)).until_row(JobState.PENDING)
    scene.stage.prefect.set_state(job.id, "FAILED", force=True)
    job.comes_to(JobState.FAILED, attempt=1)


@cell("forced", aim_seconds=DEATH_AIM_SECONDS, patience_seconds=150)
def set_to_running_after_the_end(scene: Scene) -> None:
    """Running by hand, where nothing runs: that is found out."""
    job = scene.job("tick", max_retries=0).until("Completed").until_row(JobState.COMPLETED)
    scene.stage.wait("its process is gone", lambda: job.pid is None)
    scene.later(1)
    scene.stage.prefect.set_state(job.id, "RUNNING", force=True)
    job.until_row(JobState.RUNNING)
    job.comes_to(JobState.FAILED)


@cell("deleted", healthy=True, quick=True)
def deleted_scheduled(scene: Scene) -> None:
    job = scene.job("tick", after=timedelta(hours=1)).until_row(JobState.PENDING)
    scene.later(2.5)
    scene.stage.prefect.delete(job.id)
    job.comes_to(JobState.CANCELLED, attempt=1)


@cell("deleted", quick=True)
def deleted_at_once(scene: Scene) -> None:
    """Deleted a moment after it was made."""
    job = scene.job("lonely").until_row(JobState.PENDING)
    scene.stage.prefect.delete(job.id)
    job.comes_to(JobState.CANCELLED, attempt=1)


@cell("deleted")
def deleted_starting(scene: Scene) -> None:
    job = scene.job("tick", seconds=30, max_retries=0)
    scene.stage.wait("its process is there", lambda: job.pid is not None)
    job.until_row(JobState.PENDING)
    scene.stage.prefect.delete(job.id)
    job.comes_to(JobState.CANCELLED, attempt=1)


@cell("deleted")
def deleted_running(scene: Scene) -> None:
    """Its process goes on and is ended; what it does is worth nothing any more."""
    job = scene.job("tick", seconds=60, max_retries=0).until_at_work()
    scene.later(2.5)
    scene.stage.prefect.delete(job.id)
    job.comes_to(JobState.CANCELLED, attempt=1)


@cell("deleted")
def deleted_and_killed(scene: Scene) -> None:
    job = scene.job("tick", seconds=60, max_retries=0).until_at_work()
    scene.stage.prefect.delete(job.id)
    job.signal(signal.SIGKILL)
    job.comes_to(JobState.CANCELLED, attempt=1)


@cell("deleted", healthy=True)
def deleted_completed(scene: Scene) -> None:
    """What has ended stays in the table."""
    job = scene.job("tick", seconds=0.2).until("Completed").until_row(JobState.COMPLETED)
    scene.later(2.5)
    scene.stage.prefect.delete(job.id)
    scene.later(5)
    job.comes_to(JobState.COMPLETED, attempt=1, kinds=[])
