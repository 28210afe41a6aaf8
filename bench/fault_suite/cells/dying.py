"""Flow, worker, reconciler and server are killed, with -9 and with -15, alone and together."""

import signal
import time
from pathlib import Path

from fault_suite.cell import DEATH_AIM_SECONDS, ELSEWHERE_AIM_SECONDS, cell
from fault_suite.cells.cancelling import HEAVY
from fault_suite.parts import may, runs
from fault_suite.scene import Actor, PromiseBrokenError, Scene
from fault_suite.stage import Stage
from fault_suite.tables import ImpossibleHereError
from prefect_narrative.jobs.states import JobState

DIED = ("infrastructure",)


def at_work(scene: Scene, seconds: float = 120) -> Actor:
    return scene.job("tick", seconds=seconds, max_retries=0).until_at_work()


@cell("killed", aim_seconds=DEATH_AIM_SECONDS, quick=True)
def flow_killed(scene: Scene) -> None:
    job = at_work(scene)
    job.signal(signal.SIGKILL)
    job.comes_to(JobState.FAILED, attempt=1, kinds=DIED)


@cell("killed", aim_seconds=DEATH_AIM_SECONDS)
def flow_terminated(scene: Scene) -> None:
    job = at_work(scene)
    job.signal(signal.SIGTERM)
    job.comes_to(JobState.FAILED, attempt=1, kinds=DIED)


@cell("killed", aim_seconds=DEATH_AIM_SECONDS)
def query_killed(scene: Scene) -> None:
    """In the middle of a real job's query."""
    job = scene.view(HEAVY, max_retries=0).until_at_work()
    scene.later(2)
    job.signal(signal.SIGKILL)
    job.must_publish = False
    job.comes_to(JobState.FAILED, attempt=1, kinds=DIED)


@cell("killed", aim_seconds=DEATH_AIM_SECONDS)
def query_terminated(scene: Scene) -> None:
    job = scene.view(HEAVY, max_retries=0).until_at_work()
    scene.later(2)
    job.signal(signal.SIGTERM)
    job.must_publish = False
    job.comes_to(JobState.FAILED, attempt=1, kinds=DIED)


@cell("killed", aim_seconds=DEATH_AIM_SECONDS, patience_seconds=90)
def flow_killed_and_tried_again(scene: Scene) -> None:
    """With retries, as most jobs have: the same job completes in a second attempt."""
    job = scene.job("tick", seconds=4).until_at_work()
    job.signal(signal.SIGKILL)
    job.comes_to(JobState.COMPLETED, attempt=2, kinds=DIED)


@cell("killed", aim_seconds=DEATH_AIM_SECONDS)
def flow_killed_while_starting(scene: Scene) -> None:
    """It has a process, which has not begun the flow."""
    job = scene.job("tick", seconds=60, max_retries=0)
    scene.stage.wait("its process is there", lambda: job.pid is not None)
    scene.later(0.5)
    job.signal(signal.SIGKILL)
    job.comes_to(JobState.FAILED, attempt=1)


@cell("killed", aim_seconds=DEATH_AIM_SECONDS)
def flow_killed_awaiting_retry(scene: Scene) -> None:
    """Its process dies while it sleeps until its next attempt: another process makes that one."""
    job = scene.job("flaky", failures=1).until("AwaitingRetry").until_row(JobState.PENDING)
    scene.later(1)
    job.signal(signal.SIGKILL)
    job.comes_to(JobState.COMPLETED)


@cell("killed", aim_seconds=DEATH_AIM_SECONDS)
def subflow_killed(scene: Scene) -> None:
    """A process dies that runs a job type inside another: neither is shown as running for ever."""
    job = scene.job("parent", seconds=120, max_retries=0).until_at_work()
    scene.later(3)
    job.signal(signal.SIGKILL)
    job.comes_to(JobState.FAILED, attempt=1, kinds=DIED)


@cell("killed", aim_seconds=DEATH_AIM_SECONDS)
def worker_and_flow_killed(scene: Scene) -> None:
    job = at_work(scene)
    scene.stage.worker.kill(signal.SIGKILL)
    job.signal(signal.SIGKILL)
    job.comes_to(JobState.FAILED, attempt=1, kinds=DIED)


@cell("killed", aim_seconds=DEATH_AIM_SECONDS, patience_seconds=90)
def worker_and_flow_killed_and_tried_again(scene: Scene) -> None:
    job = scene.job("tick", seconds=4).until_at_work()
    scene.stage.worker.kill(signal.SIGKILL)
    job.signal(signal.SIGKILL)
    job.comes_to(JobState.COMPLETED, attempt=2, kinds=DIED)


@cell("killed", aim_seconds=DEATH_AIM_SECONDS)
def worker_killed(scene: Scene) -> None:
    """The flow lives on as an orphan; how it ends is the truth, be it by a broken pipe."""
    job = at_work(scene, seconds=6)
    scene.stage.worker.kill(signal.SIGKILL)
    job.comes_to(JobState.COMPLETED, JobState.FAILED, attempt=1)


@cell("killed", aim_seconds=DEATH_AIM_SECONDS)
def worker_killed_under_query(scene: Scene) -> None:
    job = scene.view("SELECT count(*) AS n FROM range(20000) a(x) JOIN range(60000) b(y) ON x + y > 0", max_retries=0)
    job.until_at_work()
    scene.stage.worker.kill(signal.SIGKILL)
    job.comes_to(JobState.COMPLETED, JobState.FAILED, attempt=1)


@cell("killed", aim_seconds=DEATH_AIM_SECONDS)
def worker_terminated(scene: Scene) -> None:
    """It takes the flow's process with it and tells nobody."""
    job = at_work(scene)
    scene.stage.worker.kill(signal.SIGTERM)
    job.comes_to(JobState.FAILED, attempt=1, kinds=DIED)


@cell("killed", aim_seconds=DEATH_AIM_SECONDS)
def orphan_killed(scene: Scene) -> None:
    """An orphan dies after its worker: nobody is there to report it."""
    job = at_work(scene)
    scene.stage.worker.kill(signal.SIGKILL)
    scene.later(3)
    if job.pid is not None:
        job.signal(signal.SIGKILL)
    job.comes_to(JobState.FAILED, attempt=1, kinds=DIED)


@cell("killed", patience_seconds=90)
def orphan_cancelled(scene: Scene) -> None:
    """Nobody carries out a cancelling whose worker is dead: the process itself does."""
    job = at_work(scene)
    scene.stage.worker.kill(signal.SIGKILL)
    begin = time.time()
    scene.stage.prefect.cancel(job.id)
    job.comes_to(JobState.CANCELLED, attempt=1)

    def left() -> None:
        took = (job.recording.died or [time.time()])[-1] - begin
        if took > 30:
            raise PromiseBrokenError(f"it went on for {took:.0f} s")

    scene.checks.append(left)


@cell("killed", patience_seconds=400, long=True)
def worker_killed_while_starting(scene: Scene) -> None:
    """A run that was taken and never started is named and ended, after five minutes."""
    job = scene.job("tick", seconds=60, max_retries=0)
    scene.stage.wait("its process is there", lambda: job.pid is not None)
    scene.stage.worker.kill(signal.SIGKILL)
    job.signal(signal.SIGKILL)
    job.comes_to(JobState.FAILED, attempt=1)


@cell("killed")
def reconciler_killed_and_completes(scene: Scene) -> None:
    """The reconciler is away for ten seconds, in which a job ends whose hooks are lost."""
    job = scene.job("deaf-to-end", seconds=3, max_retries=0).until_at_work()
    scene.stage.reconciler.kill(signal.SIGKILL, comes_back=False)
    job.until("Completed")
    scene.later(3)
    scene.stage.reconciler.wanted = True
    job.comes_to(JobState.COMPLETED, attempt=1, kinds=[])


@cell("killed")
def reconciler_killed_and_cancelled(scene: Scene) -> None:
    job = at_work(scene)
    scene.stage.reconciler.kill(signal.SIGKILL)
    scene.stage.prefect.cancel(job.id)
    job.comes_to(JobState.CANCELLED, attempt=1)


@cell("killed")
def reconciler_killed_and_deleted(scene: Scene) -> None:
    job = at_work(scene)
    scene.stage.reconciler.kill(signal.SIGKILL)
    scene.stage.prefect.delete(job.id)
    job.comes_to(JobState.CANCELLED, attempt=1)


@cell("killed")
def reconciler_terminated_and_flow_killed(scene: Scene) -> None:
    job = at_work(scene)
    scene.stage.reconciler.kill(signal.SIGTERM)
    scene.stage.worker.kill(signal.SIGKILL)
    job.signal(signal.SIGKILL)
    job.comes_to(JobState.FAILED, attempt=1, kinds=DIED)


@cell("killed")
def reconciler_killed_before_creation(scene: Scene) -> None:
    """A run is made, and waits, while nobody listens."""
    scene.stage.reconciler.kill(signal.SIGKILL)
    job = scene.job("lonely")
    job.comes_to(JobState.PENDING, attempt=1)


@cell("killed", patience_seconds=120)
def server_killed(scene: Scene) -> None:
    """A job runs through it and ends after it."""
    job = at_work(scene, seconds=25)
    scene.stage.server.kill(signal.SIGKILL)
    job.comes_to(JobState.COMPLETED, attempt=1, kinds=[])


@cell("killed", patience_seconds=120)
def server_killed_at_the_end(scene: Scene) -> None:
    """A job ends while the server is away."""
    job = at_work(scene, seconds=2)
    scene.stage.server.kill(signal.SIGKILL)
    job.comes_to(JobState.COMPLETED, attempt=1, kinds=[])


@cell("killed", patience_seconds=120)
def server_terminated(scene: Scene) -> None:
    job = at_work(scene, seconds=25)
    scene.stage.server.kill(signal.SIGTERM)
    job.comes_to(JobState.COMPLETED, attempt=1, kinds=[])


@cell("killed", patience_seconds=120)
def server_killed_while_cancelling(scene: Scene) -> None:
    job = at_work(scene)
    scene.stage.prefect.cancel(job.id)
    scene.stage.server.kill(signal.SIGKILL)
    job.comes_to(JobState.CANCELLED, attempt=1)


@cell("killed", patience_seconds=120)
def server_and_flow_killed(scene: Scene) -> None:
    """The process dies while Prefect can't be told."""
    job = at_work(scene)
    scene.stage.server.kill(signal.SIGKILL)
    job.signal(signal.SIGKILL)
    job.comes_to(JobState.FAILED, attempt=1, kinds=DIED)


@cell("killed", patience_seconds=120)
def all_killed(scene: Scene) -> None:
    """Everything at once, and everything is started again."""
    job = at_work(scene)
    stage = scene.stage
    for part in (stage.reconciler, stage.worker, stage.server):
        part.kill(signal.SIGKILL)
    job.signal(signal.SIGKILL)
    job.comes_to(JobState.FAILED, attempt=1, kinds=DIED)


def new_boot(stage: Stage) -> str:
    """Return a shell command after which a process sees that its machine was started anew."""
    if not may("unshare", "--mount", "true"):
        raise ImpossibleHereError("this user may not make a namespace")
    boot = stage.folder / "another-boot-id"
    boot.write_text("00000000-1111-2222-3333-444444444444\n")
    return f"mount --bind {boot} /proc/sys/kernel/random/boot_id"


@cell("killed", patience_seconds=120)
def machine_started_anew(scene: Scene) -> None:
    """Worker, flow and reconciler die with their machine; the reconciler that comes back sees another boot id."""
    stage = scene.stage
    boot = new_boot(stage)
    job = at_work(scene)
    stage.reconciler.kill(signal.SIGKILL, comes_back=False)
    stage.worker.kill(signal.SIGKILL)
    job.signal(signal.SIGKILL)
    stage.reconciler.start(before=["unshare", "--mount", "sh", "-c", f'{boot} && exec "$@"', "sh"])
    job.comes_to(JobState.FAILED, attempt=1, kinds=DIED)


def start_worker_elsewhere(stage: Stage) -> None:
    """Have the worker on what looks like another machine: other names, ids and processes."""
    boot = new_boot(stage)
    machine = stage.folder / "another-machine-id"
    machine.write_text("0123456789abcdef0123456789abcdef\n")
    stage.worker.kill(signal.SIGTERM, comes_back=False)
    named = (
        f"mount --bind {machine} /etc/machine-id && hostname elsewhere" if Path("/etc/machine-id").exists() else "true"
    )
    namespaces = ["--mount", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child"]
    stage.worker.start(before=["unshare", *namespaces, "sh", "-c", f'{named} && {boot} && exec "$@"', "sh"])


@cell("elsewhere", aim_seconds=ELSEWHERE_AIM_SECONDS, patience_seconds=180)
def machine_elsewhere_killed(scene: Scene) -> None:
    """A machine dies that nobody can look into: its silence tells."""
    start_worker_elsewhere(scene.stage)
    job = at_work(scene, seconds=600)
    scene.later(2)
    scene.stage.worker.kill(signal.SIGKILL)
    job.comes_to(JobState.FAILED, attempt=1, kinds=DIED)


@cell("elsewhere", aim_seconds=ELSEWHERE_AIM_SECONDS, patience_seconds=240)
def flow_elsewhere_lives(scene: Scene) -> None:
    """On another machine, for longer than any silence may last: nothing healthy is declared dead."""
    start_worker_elsewhere(scene.stage)
    at_work(scene, seconds=120).comes_to(JobState.COMPLETED, attempt=1, kinds=[])


@cell("elsewhere", aim_seconds=ELSEWHERE_AIM_SECONDS, patience_seconds=120)
def flow_elsewhere_declared_dead(scene: Scene) -> None:
    """It is stopped before its commit, is declared dead for its silence, and goes on: it can't publish any more."""
    start_worker_elsewhere(scene.stage)
    gate = scene.new_path("gate")
    job = scene.job("publish", name=scene.new_name("late"), gate=str(gate), max_retries=0).until_at_work()
    scene.stage.wait("it is about to publish", Path(f"{gate}.staged1").exists)
    pid = job.pid
    assert pid is not None
    with job.frozen():
        gate.touch()
        job.until_row(JobState.FAILED, seconds=150)
    scene.stage.wait("it has ended", lambda: not runs(pid))
    job.must_publish = False
    job.comes_to(JobState.FAILED, attempt=1, kinds=DIED)
