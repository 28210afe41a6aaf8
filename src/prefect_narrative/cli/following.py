"""Watching a job until it has ended: a progress bar on a terminal, lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

from prefect_narrative.cli.exits import ExitCode
from prefect_narrative.cli.output import Output, clean, seconds, terminal
from prefect_narrative.cli.records import details
from prefect_narrative.client import Client
from prefect_narrative.jobs.document import record
from prefect_narrative.jobs.record import Job
from prefect_narrative.jobs.states import JobState

QUIET_SECONDS = 5.0
"""Lines about a job that only progresses come at most this often."""


def follow(client: Client, job_id: UUID, output: Output, timeout: float | None = None) -> Job:
    """Show how a job goes on and return its record when it has ended.

    Raises:
        WaitTimeoutError: it had not ended after `timeout` seconds.
    """
    try:
        with shown(output) as show:
            for job in client.watch(job_id, timeout=None if timeout is None else timedelta(seconds=timeout)):
                show(job)
    except KeyboardInterrupt:
        output.note(f"The job goes on: narrative jobs wait {job_id}")
        raise
    return job


def ended(job: Job, output: Output) -> ExitCode:
    """Write how a job has ended and return the exit code that says so."""
    if output.as_json:
        output.document(record(job))
    else:
        details(job, output)
    return ExitCode.OK if job.state is JobState.COMPLETED else ExitCode.FAILED


@contextmanager
def shown(output: Output) -> Iterator[Callable[[Job], None]]:
    """Yield what is to be called with each new record of one job or of several."""
    if output.as_json:
        yield lambda _job: None
    elif output.live:
        with _bars() as show:
            yield show
    else:
        yield _lines(output)


@contextmanager
def _bars() -> Iterator[Callable[[Job], None]]:
    from rich.progress import (  # noqa: PLC0415 - only where something is drawn
        BarColumn,
        Progress,
        SpinnerColumn,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    tasks: dict[UUID, TaskID] = {}
    with Progress(*columns, console=terminal()) as progress:

        def show(job: Job) -> None:
            if job.job_id not in tasks:
                tasks[job.job_id] = progress.add_task("", total=None)
            task = tasks[job.job_id]
            fraction = job.progress.fraction if job.progress else None
            if job.state.terminal:
                progress.update(task, description=sentence(job), total=1, completed=1)
                progress.stop_task(task)
            elif job.state is JobState.RUNNING and fraction is not None:
                progress.update(task, description=sentence(job), total=1, completed=fraction)
            else:
                progress.update(task, description=sentence(job), total=None)

        yield show


def _lines(output: Output) -> Callable[[Job], None]:
    last: dict[UUID, tuple[JobState, float]] = {}

    def show(job: Job) -> None:
        state, at = last.get(job.job_id, (None, 0.0))
        now = time.monotonic()
        if job.state is not state or now - at >= QUIET_SECONDS:
            last[job.job_id] = (job.state, now)
            output.note(sentence(job))

    return show


def sentence(job: Job) -> str:
    """Return how a job stands, on one line."""
    what = f"{job.type} {job.dataset or ''}".strip()
    match job.state:
        case JobState.PENDING:
            more = f": {job.waiting_for.fact}" if job.waiting_for else ""
        case JobState.RUNNING if job.progress is not None:
            share = "" if job.progress.fraction is None else f" {job.progress.fraction:.0%}"
            more = f"{share}: {job.progress.message}"
        case JobState.COMPLETED:
            more = f" in {seconds(job.run_seconds)}"
        case JobState.FAILED if job.failures:
            more = f": {job.failures[-1].message}"
        case _:
            more = ""
    return clean(f"{what}: {job.state}{more}")
