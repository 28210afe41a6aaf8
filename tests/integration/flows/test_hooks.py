"""The state hooks, called in both of the ways in which Prefect calls them."""

from uuid import UUID

import pytest
from live_platform import Platform
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.states import Cancelled, Crashed, Running

from prefect_narrative.jobs.hooks import HOOKS, Hook
from prefect_narrative.jobs.sql import SqlJobStore
from prefect_narrative.jobs.states import JobState
from prefect_narrative.jobs.store import JobTableUnavailableError

MOVED = {
    "on_running": (Running(), JobState.RUNNING),
    "on_crashed": (Crashed(), JobState.FAILED),
    "on_cancellation": (Cancelled(), JobState.CANCELLED),
}


@flow(name="hooked")
def hooked() -> None:
    """A flow that is never run."""


@pytest.mark.parametrize(("moment", "hook"), [(moment, hook) for moment in MOVED for hook in HOOKS[moment]])
@pytest.mark.parametrize("by_keyword", [False, True], ids=["engine", "runner"])
def test_each_hook_brings_the_move_into_the_table(
    platform: Platform, moment: str, hook: Hook, by_keyword: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The engine calls a hook by position; the runner, which speaks for dead processes, by Prefect's own names."""
    state, expected = MOVED[moment]
    with get_client(sync_client=True) as client:
        run_id = client.create_flow_run(hooked).id
        client.set_flow_run_state(run_id, state, force=True)
        run = client.read_flow_run(run_id)
    assert run.state is not None
    if by_keyword:
        hook(flow=hooked, flow_run=run, state=run.state)
    else:
        hook(hooked, run, run.state)
    row = platform.store().get(UUID(str(run_id)))
    assert row is not None
    assert (row.state, row.type) == (expected, "hooked")
    assert platform.store().events(row.job_id)[-1].cause == "hook"


def test_hook_never_fails_its_run(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def down(*_: object, **__: object) -> None:
        raise JobTableUnavailableError("the table is down")

    monkeypatch.setattr(SqlJobStore, "apply", down)
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(client.create_flow_run(hooked).id)
    assert run.state is not None
    for hooks in HOOKS.values():
        for hook in hooks:
            hook(flow=hooked, flow_run=run, state=run.state)
    assert "the table is down" in caplog.text
