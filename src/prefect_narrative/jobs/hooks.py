"""State hooks: in the flow's own process, they bring each state that Prefect gives a run into the job table at once.

A hook never fails a run and never holds it up for long: when the job table can't be reached it says so in the log and
leaves the move to the reconciler. The engine calls hooks by position, the runner by these parameter names.
"""

import logging
import os
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from typing import Any

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State

from prefect_narrative.jobs.outbox import Outbox
from prefect_narrative.jobs.prefect_runs import observe
from prefect_narrative.jobs.store import JobStore
from prefect_narrative.settings import Settings

logger = logging.getLogger(__name__)

PATIENCE = timedelta(seconds=0.8)
"""How long a flow's process waits, in all, for a job table that does not answer: with what it then does instead, its
runs are delayed by less than a second."""

Hook = Callable[[Flow[Any, Any], FlowRun, State[Any]], None]


@lru_cache(maxsize=1)
def process_store(settings: Settings) -> JobStore:
    """Return this process's store, which connects when it is first used."""
    # Prefect also imports a flow for its hooks alone; mostly none is called, and SQLAlchemy would load for nothing.
    from prefect_narrative.jobs.impatient import ImpatientJobStore  # noqa: PLC0415
    from prefect_narrative.jobs.sql import SqlJobStore  # noqa: PLC0415

    settings.make_home()
    return ImpatientJobStore(SqlJobStore(settings.jobs_database_url), patience=PATIENCE)


def here() -> tuple[JobStore, Outbox]:
    """Return the job table and the outbox of this process, as its environment says."""
    settings = _settings_of(frozenset(one for one in os.environ.items() if one[0].startswith("NARRATIVE_")))
    return process_store(settings), Outbox(settings.outbox)


@lru_cache(maxsize=1)
def _settings_of(_environment: frozenset[tuple[str, str]]) -> Settings:
    """Return the settings that this process's environment gives; to read them takes as long as to write a row."""
    return Settings()


def follow(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Bring the state that a run just entered into the job table."""
    try:
        store, _ = here()
        store.apply(observe(flow_run, state, type=flow.name), cause="hook")
    except Exception as exc:  # a hook must never harm the run; the reconciler makes up for it
        _missed(flow_run, state, exc)


def follow_cancellation(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Bring a cancelled run into the job table; this hook's state has a made-up id, so the server is asked."""
    try:
        with get_client(sync_client=True) as client:
            fresh = client.read_flow_run(flow_run.id)
        store, _ = here()
        store.apply(observe(fresh, type=flow.name), cause="hook")
    except Exception as exc:  # as above
        _missed(flow_run, state, exc)


def _missed(flow_run: FlowRun, state: State[Any], why: Exception) -> None:
    told = {"job_id": str(flow_run.id), "action": "hook"}
    logger.warning("The job table missed that %s is %s: %s", flow_run.id, state.name, why, extra=told)


HOOKS: dict[str, list[Hook]] = {
    "on_running": [follow],
    "on_completion": [follow],
    "on_failure": [follow],
    "on_crashed": [follow],
    "on_cancellation": [follow_cancellation],
}
"""What `@job` gives to its flow."""
