"""What people ask for and can't have, must wait for, ask for again, or plan: refusals, limits, retries, schedules."""

from datetime import UTC, datetime, timedelta

from fault_suite.cell import cell
from fault_suite.scene import PromiseBrokenError, Scene
from fault_suite.truth import seconds_of
from prefect_narrative.jobs.states import JobState


@cell("refused", healthy=True, quick=True)
def import_error(scene: Scene) -> None:
    """The flow's module can't be imported, so that it has no hooks."""
    scene.job("broken").comes_to(JobState.FAILED, attempt=1)


@cell("refused", healthy=True, quick=True)
def missing_entrypoint(scene: Scene) -> None:
    scene.job("missing").comes_to(JobState.FAILED, attempt=1)


@cell("refused", healthy=True)
def bad_parameter(scene: Scene) -> None:
    """A deployment that checks nothing: the flow's own check refuses it, before it runs."""
    scene.job("tick", seconds="soon").comes_to(JobState.FAILED, attempt=1, kinds=["input"])


@cell("refused", healthy=True)
def unknown_parameter(scene: Scene) -> None:
    scene.job("tick", colour="blue").comes_to(JobState.FAILED, attempt=1)


@cell("refused", healthy=True)
def refused_by_our_deployment(scene: Scene) -> None:
    """Our own deployments refuse at the door: no run, and no row."""
    scene.stage.deploy_ours()
    before = len(scene.stage.prefect.runs())
    for parameters in ({"name": "x", "query": "SELECT 1", "colour": "blue"}, {"name": 5, "query": "SELECT 1"}):
        try:
            scene.job("view", **parameters)
        except RuntimeError as refusal:
            if " 409 " not in str(refusal):
                raise PromiseBrokenError(str(refusal)) from refusal
        else:
            raise PromiseBrokenError(f"{parameters} was taken")
    if len(scene.stage.prefect.runs()) != before:
        raise PromiseBrokenError("a refused request made a run")


@cell("limits", healthy=True)
def limit_enqueue(scene: Scene) -> None:
    """A deployment's limit of one: the second waits, and says for what."""
    first = scene.job("queued", seconds=10).until_at_work()
    second = scene.job("queued", seconds=0.2).until("AwaitingConcurrencySlot")
    scene.later(4)
    waits = scene.stage.row(second.id).waiting_for
    first.comes_to(JobState.COMPLETED, attempt=1, kinds=[])
    second.comes_to(JobState.COMPLETED, attempt=1, kinds=[])

    def told() -> None:
        if waits is None or waits.cause != "limit" or first.id not in waits.fact:
            raise PromiseBrokenError(f"it did not say that it waits for {first.id}: {waits}")

    scene.checks.append(told)


@cell("limits", healthy=True)
def limit_cancel_new(scene: Scene) -> None:
    first = scene.job("exclusive", seconds=15).until_at_work()
    second = scene.job("exclusive", seconds=0.2)
    second.comes_to(JobState.CANCELLED, attempt=1)
    first.comes_to(JobState.COMPLETED, attempt=1, kinds=[])


@cell("retried", healthy=True)
def failed_and_retried(scene: Scene) -> None:
    """Prefect's Retry button: the same job again, with its first failure kept."""
    mended = scene.new_path("mended")
    job = scene.job("fail", until=str(mended)).until("Failed").until_row(JobState.FAILED)
    scene.stage.wait("its process is gone", lambda: job.pid is None)
    mended.touch()
    scene.stage.prefect.retry(job.id)
    job.comes_to(JobState.COMPLETED, attempt=2, kinds=["internal"])


@cell("retried", healthy=True)
def failed_and_retried_by_command(scene: Scene) -> None:
    mended = scene.new_path("mended")
    job = scene.job("fail", until=str(mended)).until("Failed").until_row(JobState.FAILED)
    scene.stage.wait("its process is gone", lambda: job.pid is None)
    mended.touch()
    scene.stage.narrative("jobs", "retry", job.id)
    job.comes_to(JobState.COMPLETED, attempt=2, kinds=["internal"])


@cell("retried", healthy=True)
def failed_twice(scene: Scene) -> None:
    """Each attempt's failure stays."""
    job = scene.job("fail").until("Failed").until_row(JobState.FAILED)
    scene.stage.wait("its process is gone", lambda: job.pid is None)
    scene.stage.prefect.retry(job.id)
    job.comes_to(JobState.FAILED, attempt=2, kinds=["internal", "internal"])


@cell("retried", healthy=True)
def cancelled_and_retried(scene: Scene) -> None:
    job = scene.job("tick", seconds=6).until_at_work()
    scene.stage.prefect.cancel(job.id)
    job.until("Cancelled").until_row(JobState.CANCELLED)
    scene.stage.wait("its process is gone", lambda: job.pid is None)
    scene.later(2)
    scene.stage.prefect.retry(job.id)
    job.comes_to(JobState.COMPLETED, attempt=2)


@cell("retried", healthy=True)
def completed_and_retried(scene: Scene) -> None:
    """Re-opened: its result is gone until there is a new one."""
    job = scene.job("tick", seconds=0.3).until("Completed").until_row(JobState.COMPLETED)
    scene.stage.wait("its process is gone", lambda: job.pid is None)
    scene.stage.prefect.retry(job.id)
    job.until_row(JobState.PENDING, JobState.RUNNING)
    job.comes_to(JobState.COMPLETED, attempt=2, kinds=[])


@cell("scheduled", healthy=True, patience_seconds=90)
def schedule_due(scene: Scene) -> None:
    """A schedule's run has its row when it is due, and those to come have none."""
    prefect, deployment = scene.stage.prefect, scene.stage.deployments["timetable"]
    first = datetime.now(UTC) + timedelta(seconds=12)
    schedule = prefect.add_schedule(deployment, timedelta(minutes=10), first)
    scene.stage.wait("its runs are planned", lambda: len(planned(scene, deployment)) > 1, seconds=40)
    runs = planned(scene, deployment)
    nearest = scene.known(runs[0]["id"], due=seconds_of(runs[0]["expected_start_time"]))
    later = [run["id"] for run in runs[1:]]
    nearest.until("Completed", seconds=60)
    far = [run_id for run_id in later if scene.stage.row(run_id) is not None]
    prefect.drop_schedule(deployment, schedule)
    scene.later(4)
    traces = [run_id for run_id in later if scene.stage.row(run_id) is not None]
    nearest.comes_to(JobState.COMPLETED, attempt=1, kinds=[])

    def no_trace() -> None:
        if far or traces:
            raise PromiseBrokenError(f"{len(far)} runs to come had a row, {len(traces)} deleted ones left one")

    scene.checks.append(no_trace)


@cell("scheduled", healthy=True, patience_seconds=90)
def schedule_deleted_when_due(scene: Scene) -> None:
    """A schedule is deleted while one of its runs is due and waits for a worker: that run was a job."""
    prefect, deployment = scene.stage.prefect, scene.stage.deployments["calendar"]
    first = datetime.now(UTC) + timedelta(seconds=10)
    schedule = prefect.add_schedule(deployment, timedelta(minutes=10), first)
    scene.stage.wait("its runs are planned", lambda: len(planned(scene, deployment)) > 1, seconds=40)
    run = planned(scene, deployment)[0]
    job = scene.known(run["id"], due=seconds_of(run["expected_start_time"])).until_row(JobState.PENDING)
    scene.later(2.5)
    prefect.drop_schedule(deployment, schedule)
    job.comes_to(JobState.CANCELLED, JobState.PENDING)


def planned(scene: Scene, deployment: str) -> list[dict]:  # type: ignore[type-arg]
    """Return the runs that a deployment's schedules have planned, the nearest first."""
    runs = scene.stage.prefect.runs(deployment_id={"any_": [deployment]}, state={"type": {"any_": ["SCHEDULED"]}})
    return sorted((run for run in runs if run["auto_scheduled"]), key=lambda run: run["expected_start_time"])
