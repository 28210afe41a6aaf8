"""Cancel, in each state that a run can be in, by Prefect's own button and by our command."""

import time
from datetime import timedelta

from fault_suite.cell import cell
from fault_suite.scene import Actor, PromiseBrokenError, Scene
from prefect_narrative.jobs.states import JobState

HEAVY = "SELECT count(*) AS n FROM range(60000) a(x) JOIN range(60000) b(y) ON x + y > 0"
"""A query that keeps a machine busy for minutes."""


def cancelled(scene: Scene, job: Actor, *, attempt: int = 1) -> None:
    scene.stage.prefect.cancel(job.id)
    job.must_publish = False
    job.comes_to(JobState.CANCELLED, attempt=attempt)


@cell("cancel", healthy=True, quick=True)
def cancel_scheduled_for_later(scene: Scene) -> None:
    job = scene.job("tick", after=timedelta(hours=1)).until("Scheduled").until_row(JobState.PENDING)
    cancelled(scene, job)


@cell("cancel", healthy=True)
def cancel_late(scene: Scene) -> None:
    job = scene.job("lonely", after=-timedelta(minutes=1)).until("Late").until_row(JobState.PENDING)
    cancelled(scene, job)


@cell("cancel", healthy=True)
def cancel_pending(scene: Scene) -> None:
    """A worker has taken it, and nothing has been started."""
    job = scene.job("lonely").until_row(JobState.PENDING)
    scene.stage.prefect.set_state(job.id, "PENDING", "Pending")
    job.until("Pending")
    cancelled(scene, job)


@cell("cancel", healthy=True)
def cancel_submitting(scene: Scene) -> None:
    """Its process is being started, and has imported nothing yet."""
    job = scene.job("tick", seconds=60).until("Pending", "Submitting")
    cancelled(scene, job)


@cell("cancel", healthy=True)
def cancel_starting(scene: Scene) -> None:
    """Its process is there and imports its flow."""
    job = scene.job("tick", seconds=60).until("Submitting", "InfrastructurePending", "Pending")
    scene.stage.wait("its process is there", lambda: job.pid is not None)
    scene.later(1)
    cancelled(scene, job)


@cell("cancel", healthy=True, quick=True)
def cancel_running(scene: Scene) -> None:
    cancelled(scene, scene.job("tick", seconds=120).until_at_work())


@cell("cancel", healthy=True)
def cancel_running_by_command(scene: Scene) -> None:
    job = scene.job("tick", seconds=120).until_at_work()
    scene.stage.narrative("jobs", "cancel", job.id)
    job.comes_to(JobState.CANCELLED, attempt=1)


@cell("cancel", healthy=True)
def cancel_running_query(scene: Scene) -> None:
    """A query that runs in the engine: it is interrupted, not waited for, and publishes nothing."""
    job = scene.view(HEAVY).until_at_work()
    scene.later(2)
    begin = time.time()
    cancelled(scene, job)

    def interrupted() -> None:
        took = (job.recording.died or [time.time()])[-1] - begin
        if took > 20:
            raise PromiseBrokenError(f"the query was not interrupted: its process lived on for {took:.0f} s")

    scene.checks.append(interrupted)


@cell("cancel", healthy=True)
def cancel_blocked_in_c(scene: Scene) -> None:
    """Nothing can interrupt it but SIGKILL; until then it is not cancelled."""
    cancelled(scene, scene.job("block").until_at_work())


@cell("cancel", healthy=True)
def cancel_awaiting_retry(scene: Scene) -> None:
    """Its process sleeps until its next attempt."""
    job = scene.job("flaky", failures=9).until("AwaitingRetry").until_row(JobState.PENDING)
    scene.later(1)
    scene.stage.prefect.cancel(job.id)
    job.comes_to(JobState.CANCELLED)


@cell("cancel", healthy=True)
def cancel_paused(scene: Scene) -> None:
    cancelled(scene, scene.job("pause").until("Paused"))


@cell("cancel", healthy=True)
def cancel_suspended(scene: Scene) -> None:
    job = scene.job("suspend").until("Suspended").until_row(JobState.PENDING)
    scene.stage.wait("its process is gone", lambda: job.pid is None)
    cancelled(scene, job)


@cell("cancel", healthy=True)
def cancel_cancelling(scene: Scene) -> None:
    """Asked twice."""
    job = scene.job("block").until_at_work()
    scene.stage.prefect.cancel(job.id)
    job.until("Cancelling")
    cancelled(scene, job)


@cell("cancel", healthy=True)
def cancel_completed(scene: Scene) -> None:
    """Too late: a clear refusal, and the job stays as it is."""
    job = scene.job("tick", seconds=0.2).until("Completed").until_row(JobState.COMPLETED)
    done = scene.stage.narrative("jobs", "cancel", job.id, code=None)
    job.comes_to(JobState.COMPLETED, attempt=1, kinds=[])

    def refused() -> None:
        if done.returncode in {0, 1} or "Traceback" in done.stderr or "completed" not in done.stderr + done.stdout:
            raise PromiseBrokenError(f"the refusal was not clear: {done.returncode} {done.stdout}{done.stderr}")

    scene.checks.append(refused)
