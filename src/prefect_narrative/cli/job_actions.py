"""`narrative jobs cancel|retry`: what a person does about one job."""

from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import UUID

from prefect_narrative.cli.exits import ExitCode
from prefect_narrative.cli.jobs import connected, identify
from prefect_narrative.cli.options import Json, Timeout, Wait, check_timeout
from prefect_narrative.cli.output import Output
from prefect_narrative.jobs.record import Job

if TYPE_CHECKING:
    from prefect_narrative.client import Client


def cancel(job: str, /, *, wait: Wait = False, timeout: Timeout = None, as_json: Json = False) -> int:
    """Cancel a job. One that waits is cancelled at once; one that runs when its process has ended.

    What the job has not published by then is thrown away. Exit code 2 where the job has ended already.

    Args:
        job: The job's id; the first eight or more characters of a recent one are enough.
        wait: Wait until the job has ended; exit code 0 when it was cancelled.
        timeout: With --wait: wait at most this many seconds. [for ever]
        as_json: Print the job's record as JSON.
    """
    return _act(lambda client, job_id: client.cancel(job_id), job, wait, timeout, as_json, wanted="cancelled")


def retry(job: str, /, *, wait: Wait = False, timeout: Timeout = None, as_json: Json = False) -> int:
    """Open a failed or cancelled job again: the same job, with its inputs, as its next attempt.

    Exit code 2 where the job has not ended, or has completed.

    Args:
        job: The job's id; the first eight or more characters of a recent one are enough.
        wait: Wait until the job has ended, and say how; exit code 0 when it completed.
        timeout: With --wait: wait at most this many seconds. [for ever]
        as_json: Print the job's record as JSON.
    """
    return _act(lambda client, job_id: client.retry(job_id), job, wait, timeout, as_json, wanted="completed")


def _act(
    what: "Callable[[Client, UUID], Job]", text: str, wait: bool, timeout: float | None, as_json: bool, *, wanted: str
) -> int:
    check_timeout(timeout, wait=wait)
    output = Output(as_json=as_json)
    with connected() as client:
        from prefect_narrative.cli.following import follow  # noqa: PLC0415 - it needs Prefect
        from prefect_narrative.cli.records import details  # noqa: PLC0415
        from prefect_narrative.jobs.document import record  # noqa: PLC0415

        found = what(client, identify(text, client))
        if wait:
            found = follow(client, found.job_id, output, timeout)
    if as_json:
        output.document(record(found))
    elif wait:
        details(found, output)
    else:
        output.line(f"{found.job_id} {found.state}")
    return ExitCode.OK if not wait or found.state == wanted else ExitCode.FAILED
