"""Jobs that are killed: the data is old or new, what was published is published once, and the table becomes true."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from uuid import UUID

import pytest
from live_platform import Platform
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.states import AwaitingRetry, Crashed, Pending
from prefect_narrative.flows.create_dataset import create_dataset
from prefect_narrative.flows.create_materialized_view import create_materialized_view
from prefect_narrative.flows.refresh_materialized_view import refresh_materialized_view

from prefect_narrative.errors import FailureKind
from prefect_narrative.jobs.prefect_runs import PrefectRuns
from prefect_narrative.jobs.reconciler import look
from prefect_narrative.jobs.record import Job
from prefect_narrative.jobs.states import JobState, Move

LOOPS = int(os.environ.get("NARRATIVE_LOOPS", "2"))
ONE_RUN = Path(__file__).with_name("one_run.py")


def ask(flow: Flow[..., object], **inputs: object) -> UUID:
    with get_client(sync_client=True) as client:
        return client.create_flow_run(flow, parameters=inputs, state=Pending()).id


def start(platform: Platform, run_id: UUID, *how: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(ONE_RUN), str(run_id), *how],
        env=platform.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def crashed(platform: Platform, run_id: UUID) -> Job:
    """Do what a worker does when its child has died, then read the job."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run_id, Crashed(message="the process was killed"), force=True)
        record = look(platform.store(), PrefectRuns(client), run_id)
    assert record is not None
    return record


def retry(platform: Platform, run_id: UUID) -> Job:
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run_id, AwaitingRetry(), force=True)
        look(platform.store(), PrefectRuns(client), run_id)
        client.set_flow_run_state(run_id, Pending(), force=True)
    with start(platform, run_id) as process:
        process.communicate()
    record = platform.store().get(run_id)
    assert record is not None
    return record


def test_refresh_killed_anywhere_leaves_the_view_whole(platform: Platform) -> None:
    """The view's two columns and its definition come from one snapshot of its source, whatever was killed when."""
    moments = random.Random(20261123)
    rows = platform.imports / "ticks.csv"
    rows.write_text("n\n1\n")
    create_dataset(name="ticks", source="ticks.csv", write_mode="overwrite")
    query = "SELECT count(*) AS ticks, sum(n) AS total FROM ticks, range(2000000) GROUP BY ALL"
    create_materialized_view(name="ticking", query=query)
    published = 0
    for size in range(2, LOOPS + 2):
        rows.write_text("n\n" + "1\n" * size)
        create_dataset(name="ticks", source="ticks.csv", write_mode="overwrite")
        run_id = ask(refresh_materialized_view, view="ticking")
        with start(platform, run_id) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "started\n"
            time.sleep(moments.uniform(0, 2.5))
            process.kill()
        with platform.plane() as plane:
            ((ticks, total),) = plane.read(plane.check("SELECT ticks, total FROM ticking"), limit=2).rows
            was_published = plane.published(run_id)
        assert ticks == total, "the view is a mixture"
        assert ticks % 2000000 == 0
        if was_published is not None:
            published += 1
            assert ticks == size * 2000000, "published, but the view is the old one"
        ended = crashed(platform, run_id)
        assert ended.state in {JobState.FAILED, JobState.COMPLETED}
        if ended.state is JobState.FAILED:
            assert ended.failures[-1].kind is FailureKind.INFRASTRUCTURE
    last = refresh_materialized_view(view="ticking")
    assert last.rows == 1
    with platform.plane() as plane:
        ((ticks,),) = plane.read(plane.check("SELECT ticks FROM ticking"), limit=2).rows
    assert ticks == (LOOPS + 1) * 2000000


@pytest.mark.parametrize("flow", [create_dataset, refresh_materialized_view], ids=lambda flow: flow.name)
def test_kill_between_commit_and_result_publishes_once(platform: Platform, flow: Flow[..., object]) -> None:
    name = f"once_{flow.name.split('-')[0]}"
    (platform.imports / f"{name}.csv").write_text("n\n1\n2\n")
    create_dataset(name=name, source=f"{name}.csv")
    create_materialized_view(name=f"{name}_view", query=f"SELECT count(*) AS rows FROM {name}")
    create_dataset(name=name, source=f"{name}.csv", write_mode="append")
    inputs = (
        {"name": name, "source": f"{name}.csv", "write_mode": "append"}
        if flow is create_dataset
        else {"view": f"{name}_view"}
    )
    run_id = ask(flow, **inputs)
    with start(platform, run_id, "die-before-result") as process:
        process.communicate()
    assert process.returncode == -9
    with platform.plane() as plane:
        before = plane.published(run_id)
        snapshot = plane.snapshot()
    assert before is not None, "the kill came too early to prove anything"
    dead = crashed(platform, run_id)
    assert dead.state is JobState.FAILED
    assert dead.result is None

    again = retry(platform, run_id)
    assert again.state is JobState.COMPLETED, again.failures
    assert again.attempt == 2
    assert again.result is not None
    assert again.result["snapshot_id"] == before.snapshot_id
    assert [one.kind for one in again.failures] == [FailureKind.INFRASTRUCTURE]
    with platform.plane() as plane:
        assert plane.snapshot() == snapshot, "the retry wrote again"
        ((rows,),) = plane.read(plane.check(f"SELECT count(*) FROM {name}"), limit=1).rows
    assert rows == (6 if flow is create_dataset else 4)
    moves = [event.move for event in platform.store().events(run_id)]
    assert Move.REOPENING in moves
