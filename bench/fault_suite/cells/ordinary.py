"""Jobs to which nothing bad happens: every move must be seen at once."""

from fault_suite.cell import cell
from fault_suite.scene import Scene
from prefect_narrative.jobs.states import JobState


@cell("ordinary", healthy=True, quick=True)
def completes(scene: Scene) -> None:
    """A job of ours from its creation to its result."""
    scene.job("tick", seconds=1).comes_to(JobState.COMPLETED, attempt=1, kinds=[])


@cell("ordinary", healthy=True)
def view_completes(scene: Scene) -> None:
    """A real job type, with a query and a publication."""
    view = scene.view("SELECT 1 AS n")
    view.must_publish = True
    view.comes_to(JobState.COMPLETED, attempt=1, kinds=[])


@cell("ordinary", healthy=True, quick=True)
def fails(scene: Scene) -> None:
    """A defect in the job's code."""
    scene.job("fail").comes_to(JobState.FAILED, attempt=1, kinds=["internal"])


@cell("ordinary", healthy=True)
def fails_then_completes(scene: Scene) -> None:
    """A failure that is tried again in the same process."""
    scene.job("flaky", failures=1).comes_to(JobState.COMPLETED, attempt=2, kinds=["external"])


@cell("ordinary", healthy=True)
def paused_and_resumed(scene: Scene) -> None:
    """A pause inside the process, which goes on running for us."""
    job = scene.job("pause").until("Paused")
    scene.later(1)
    scene.stage.prefect.resume(job.id)
    job.comes_to(JobState.COMPLETED, attempt=1, kinds=[])


@cell("ordinary", healthy=True)
def suspended_and_resumed(scene: Scene) -> None:
    """A job that gives its process up and is resumed in another."""
    job = scene.job("suspend").until("Suspended").until_row(JobState.PENDING)
    scene.later(1)
    scene.stage.prefect.resume(job.id)
    job.comes_to(JobState.COMPLETED, attempt=1, kinds=[])


@cell("ordinary", healthy=True)
def subflow(scene: Scene) -> None:
    """A job whose flow calls another job type's: the inner run has no row, or one that is right."""
    scene.job("parent", seconds=1).comes_to(JobState.COMPLETED, attempt=1, kinds=[])
