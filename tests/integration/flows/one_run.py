"""A process that works on one flow run, as a worker's child does: `python one_run.py RUN_ID [HOW]`.

It says `started` once the job's body runs. With `die-before-result` it kills itself when the data is committed and the
result is about to be stored. It says `stopping` and stops itself (SIGSTOP) with `stop-before-publishing` when its data
is staged, with `stop-before-commit` when it holds the publish lock and all but the commit is done.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect_narrative.flows.create_dataset import create_dataset
from prefect_narrative.flows.refresh_materialized_view import refresh_materialized_view

from prefect_narrative.jobs.context import JobContext
from prefect_narrative.planes import publishing
from prefect_narrative.planes.ducklake import DuckLakePlane

FLOWS = {flow.name: flow for flow in (create_dataset, refresh_materialized_view)}


def stopped_before(work: Callable[..., Any]) -> Callable[..., Any]:
    def stop_and_work(*values: Any, **named: Any) -> Any:
        sys.stdout.write("stopping\n")
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGSTOP)
        return work(*values, **named)

    return stop_and_work


def main(run_id: str, *how: str) -> None:
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(run_id))
        name = client.read_flow(run.flow_id).name
    enter = JobContext.__enter__

    def say(context: JobContext) -> JobContext:
        sys.stdout.write("started\n")
        sys.stdout.flush()
        return enter(context)

    JobContext.__enter__ = say  # type: ignore[method-assign]
    if "die-before-result" in how:
        JobContext.keep_result = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
    if "stop-before-publishing" in how:
        DuckLakePlane.publish = stopped_before(DuckLakePlane.publish)  # type: ignore[method-assign]
    if "stop-before-commit" in how:
        publishing.commit = stopped_before(publishing.commit)
    run_flow(FLOWS[name], flow_run=run, parameters=run.parameters, return_type="state")


if __name__ == "__main__":
    main(*sys.argv[1:])
