"""Calls of the hook that follows a run's state into the job table, as the engine makes them in a flow's process."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

import harness


def hook_calls(jobs: int) -> Iterator[float]:
    """Call the hook for so many jobs, once for Running and once for Completed, and give the seconds of each call."""
    from overhead_job import narrative_job
    from prefect.client.schemas.objects import FlowRun
    from prefect.states import Completed, Running

    from prefect_narrative.jobs.hooks import follow, here
    from prefect_narrative.jobs.record import Executor, JobId
    from prefect_narrative.jobs.states import JobState

    store, _ = here()
    executor = Executor(host="bench", pid=os.getpid())
    for _ in range(jobs):
        now = datetime.now(UTC)
        run = FlowRun(id=uuid4(), flow_id=uuid4(), name="bench", created=now, start_time=now, parameters={"rows": 0})
        running, job_id = Running(timestamp=now), JobId(run.id)
        yield harness.seconds(lambda run=run, state=running: follow(narrative_job, run, state))[0]
        # What the job itself writes between the two, so that the second call finds a row as it is in real life.
        attempt = store.begin_attempt(job_id, executor)
        store.stage_result(job_id, attempt.token, {"rows": 0, "groups": 0})
        completed = Completed(timestamp=datetime.now(UTC))
        yield harness.seconds(lambda run=run, state=completed: follow(narrative_job, run, state))[0]
        record = store.get(job_id)
        if record is None or record.state is not JobState.COMPLETED:
            raise RuntimeError(f"the hook has not brought {job_id} to completed")
