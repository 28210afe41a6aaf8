"""Hooks are lost; the job table is locked, out of reach, hung or full; Prefect's server is away: nothing is lost."""

import signal
import time
from typing import Any

from fault_suite.cell import cell
from fault_suite.scene import Actor, Scene
from prefect_narrative.jobs.states import JobState


@cell("hook lost", quick=True)
def all_hooks_lost(scene: Scene) -> None:
    scene.job("deaf-to-all", seconds=1).comes_to(JobState.COMPLETED, attempt=1, kinds=[])


@cell("hook lost", quick=True)
def all_hooks_lost_and_fails(scene: Scene) -> None:
    scene.job("deaf-to-all", seconds=1, fails=True).comes_to(JobState.FAILED, attempt=1, kinds=["internal"])


@cell("hook lost", quick=True)
def start_hook_lost(scene: Scene) -> None:
    scene.job("deaf-to-start", seconds=1).comes_to(JobState.COMPLETED, attempt=1, kinds=[])


@cell("hook lost", quick=True)
def end_hook_lost(scene: Scene) -> None:
    scene.job("deaf-to-end", seconds=1).comes_to(JobState.COMPLETED, attempt=1, kinds=[])


@cell("hook lost")
def end_hook_lost_and_killed(scene: Scene) -> None:
    job = scene.job("deaf-to-end", seconds=60, max_retries=0).until_at_work()
    job.signal(signal.SIGKILL)
    job.comes_to(JobState.FAILED, attempt=1, kinds=["infrastructure"])


@cell("hook lost")
def end_hook_lost_and_cancelled(scene: Scene) -> None:
    job = scene.job("deaf-to-end", seconds=60, max_retries=0).until_at_work()
    scene.stage.prefect.cancel(job.id)
    job.comes_to(JobState.CANCELLED, attempt=1)


def runs_through(scene: Scene, outage: Any, seconds: float = 10) -> None:
    """A job begins before an outage and ends in it."""
    job = scene.job("tick", seconds=3, max_retries=0).until_at_work()
    with scene.outage(outage):
        job.until("Completed", seconds=90)
        scene.later(seconds)
    job.comes_to(JobState.COMPLETED, attempt=1, kinds=[])


def runs_inside(scene: Scene, outage: Any) -> None:
    """A job is asked for, runs and ends in an outage."""
    with scene.outage(outage):
        job = scene.job("tick", seconds=0.5, max_retries=0)
        job.until("Completed", seconds=90)
        scene.later(1)
    job.comes_to(JobState.COMPLETED, attempt=1, kinds=[])


def fails_inside(scene: Scene, outage: Any) -> Actor:
    """A job fails in an outage: why is not lost."""
    job = scene.job("fail", seconds=3, max_retries=0).until_at_work()
    with scene.outage(outage):
        job.until("Failed", seconds=90)
        scene.later(1)
    job.comes_to(JobState.FAILED, attempt=1, kinds=["internal"])
    return job


@cell("table", patience_seconds=90)
def table_locked(scene: Scene) -> None:
    runs_through(scene, scene.stage.table.locked())


@cell("table", patience_seconds=90)
def table_locked_at_start(scene: Scene) -> None:
    runs_inside(scene, scene.stage.table.locked())


@cell("table", patience_seconds=90)
def table_locked_and_fails(scene: Scene) -> None:
    fails_inside(scene, scene.stage.table.locked())


@cell("table", patience_seconds=90)
def table_locked_and_cancelled(scene: Scene) -> None:
    """Cancelling does not need the table."""
    job = scene.job("tick", seconds=60, max_retries=0).until_at_work()
    with scene.outage(scene.stage.table.locked()):
        scene.stage.prefect.cancel(job.id)
        job.until("Cancelled")
        scene.later(1)
    job.comes_to(JobState.CANCELLED, attempt=1)


@cell("table", patience_seconds=90)
def table_locked_and_killed(scene: Scene) -> None:
    job = scene.job("tick", seconds=60, max_retries=0).until_at_work()
    with scene.outage(scene.stage.table.locked()):
        scene.stage.worker.kill(signal.SIGKILL)
        job.signal(signal.SIGKILL)
        scene.later(8)
    job.comes_to(JobState.FAILED, attempt=1, kinds=["infrastructure"])


@cell("table", patience_seconds=90)
def table_down(scene: Scene) -> None:
    runs_through(scene, scene.stage.table.out_of_reach())


@cell("table", patience_seconds=90)
def table_down_at_start(scene: Scene) -> None:
    runs_inside(scene, scene.stage.table.out_of_reach())


@cell("table", patience_seconds=90)
def table_down_and_fails(scene: Scene) -> None:
    fails_inside(scene, scene.stage.table.out_of_reach())


@cell("table", patience_seconds=120)
def table_down_for_half_a_minute(scene: Scene) -> None:
    """Longer than anybody waits for it, and then a job still runs."""
    job = scene.job("tick", seconds=45, max_retries=0).until_at_work()
    with scene.outage(scene.stage.table.out_of_reach()):
        scene.later(30)
    job.comes_to(JobState.COMPLETED, attempt=1, kinds=[])


@cell("table", patience_seconds=90, tables=("postgresql",))
def table_hung(scene: Scene) -> None:
    runs_through(scene, scene.stage.table.hung())


@cell("table", patience_seconds=90, tables=("postgresql",))
def table_hung_at_start(scene: Scene) -> None:
    runs_inside(scene, scene.stage.table.hung())


@cell("table", patience_seconds=90)
def table_full(scene: Scene) -> None:
    runs_through(scene, scene.stage.table.full())


@cell("table", patience_seconds=90)
def table_full_at_start(scene: Scene) -> None:
    runs_inside(scene, scene.stage.table.full())


@cell("server", patience_seconds=120)
def server_frozen(scene: Scene) -> None:
    """The server takes calls and does not answer for 20 seconds."""
    job = scene.job("tick", seconds=8, max_retries=0).until_at_work()
    scene.stage.server.freeze()
    scene.later(20)
    scene.stage.server.thaw()
    job.comes_to(JobState.COMPLETED, attempt=1, kinds=[])


def server_away(scene: Scene, seconds: float) -> None:
    """Two jobs run when the server goes: one ends while it is away, one after it is back."""
    scene.stage.said(f"the server is away for {seconds:.0f} s")
    inside = scene.job("tick", seconds=min(10.0, seconds / 2), max_retries=0)
    through = scene.job("tick", seconds=seconds + 40, max_retries=0)
    inside.until_at_work()
    through.until_at_work()
    scene.stage.server.kill(signal.SIGKILL, comes_back=False)
    begin = time.time()
    scene.later(seconds)
    scene.stage.server.wanted = True
    scene.stage.wait("the server answers", scene.stage.prefect.healthy, scene.stage.server)
    scene.excused.append((begin, time.time()))  # Prefect is the truth: without it nobody can say that a process died
    through.comes_to(JobState.COMPLETED, attempt=1, kinds=[])
    # Prefect's own client gives up after a while, so that the process ends without having said how.
    inside.comes_to(JobState.COMPLETED, JobState.FAILED, attempt=1)


@cell("server", patience_seconds=240)
def server_away_for_a_minute(scene: Scene) -> None:
    server_away(scene, 60)


@cell("server", patience_seconds=400, long=True)
def server_away_for_ten_minutes(scene: Scene) -> None:
    """Longer than any deadline that there is."""
    server_away(scene, 600)
