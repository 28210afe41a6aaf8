"""Prefect's flow runs, read as observations: the one place that knows what Prefect's fields mean for the job record."""

import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterEndTime,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import AwaitingRetry

from prefect_narrative.jobs.record import Observation, PrefectState, RequestSource, WaitingFor
from prefect_narrative.jobs.states import JobState, state_of

logger = logging.getLogger(__name__)

SOURCE_TAG = "source:"
"""A tag with this prefix says who asked for a run, where Prefect does not: `source:cli`."""
PARENT_TAG = "parent:"
"""A tag with this prefix holds the id of the job that submitted the run."""
ONE_SHOT_KEY = "once:"
"""Prefix of the idempotency keys that our client makes up, so that a request which it repeats makes one run."""
_UI_MESSAGE = "Run from the Prefect UI"
_SOURCES = frozenset({"api", "operator", "schedule", "cli", "job"})


def observe(
    run: FlowRun,
    state: State[Any] | None = None,
    *,
    type: str,
    trusted: bool = True,
) -> Observation:
    """Return what a flow run says about its job.

    Args:
        run: The flow run.
        state: The state it is in; None: the run's own.
        type: The job's type, which is the flow's name.
        trusted: False where Prefect made the state's id up, as in `on_cancellation` hooks.

    Raises:
        ValueError: the run has no state yet.
    """
    state = state or run.state
    if state is None:
        raise ValueError(f"flow run {run.id} has no state yet")
    ours = state_of(state.type.value, suspended=bool(state.state_details.pause_reschedule))
    parameters = dict(run.parameters or {})
    return Observation(
        job_id=run.id,
        type=type,
        state=ours,
        prefect=PrefectState(
            state_id=state.id,
            type=state.type.value,
            name=state.name or state.type.value.title(),
            timestamp=state.timestamp,
            deployment_id=run.deployment_id,
        ),
        message=state.message,
        trusted=trusted,
        input=parameters,
        tags=tuple(sorted(set(run.tags))),
        request_source=_request_source(run, state),
        idempotency_key=_key(run),
        parent_job_id=_parent(run),
        data_plane=plane if isinstance(plane := parameters.get("data_plane"), str) else None,
        created_at=run.created,
        scheduled_for=run.expected_start_time,
        started_at=run.start_time or (state.timestamp if ours is JobState.RUNNING else None),
        ended_at=(run.end_time or state.timestamp) if ours.terminal else None,
        waiting_for=_waiting_for(state) if ours is JobState.PENDING else None,
    )


def _request_source(run: FlowRun, state: State[Any]) -> RequestSource | None:
    if run.auto_scheduled or (run.created_by is not None and run.created_by.type == "SCHEDULE"):
        return RequestSource(type="schedule", name=run.created_by.display_value if run.created_by else None)
    for tag in run.tags:
        source = tag.removeprefix(SOURCE_TAG)
        if source != tag and source in _SOURCES:
            return RequestSource(type=source)
    if (state.message or "").startswith(_UI_MESSAGE):
        return RequestSource(type="operator")
    # A run made in the UI says so in its first state only: later states must not undo what that one told.
    return RequestSource(type="job") if run.parent_task_run_id else None


def _key(run: FlowRun) -> str | None:
    made_up = run.auto_scheduled or (run.idempotency_key or "").startswith(ONE_SHOT_KEY)
    return None if made_up else run.idempotency_key


def _parent(run: FlowRun) -> UUID | None:
    for tag in run.tags:
        if tag.startswith(PARENT_TAG):
            try:
                return UUID(tag.removeprefix(PARENT_TAG))
            except ValueError:
                continue
    return None


def _waiting_for(state: State[Any]) -> WaitingFor | None:
    at = state.state_details.scheduled_time
    match state.name:
        case "AwaitingRetry" if at is not None:
            return WaitingFor(
                cause="backoff", fact=f"next attempt at {at:%Y-%m-%d %H:%M:%S} UTC", since=state.timestamp
            )
        case "AwaitingConcurrencySlot":
            return WaitingFor(cause="limit", fact="waits for a slot of a concurrency limit", since=state.timestamp)
        case "Suspended":
            return WaitingFor(cause="suspended", fact="waits to be resumed", since=state.timestamp)
        case "Pending" | "Submitting" | "InfrastructurePending":
            return WaitingFor(cause="starting", fact="a worker has taken it and starts it", since=state.timestamp)
        case _ if at is not None:
            return WaitingFor(
                cause="worker", fact=f"due since {at:%Y-%m-%d %H:%M:%S} UTC, no worker has taken it yet", since=at
            )
    return None


OUR_TAG = "narrative"
"""A deployment with this tag, or with this name, makes jobs; every run of it belongs into the job table."""
PAGE = 200
_ACTIVE_TYPES = [
    StateType.SCHEDULED,
    StateType.PENDING,
    StateType.RUNNING,
    StateType.PAUSED,
    StateType.CANCELLING,
]


class PrefectRuns:
    """Prefect's flow runs, asked for through its API and given as observations.

    Args:
        client: A synchronous Prefect client; its owner closes it.
    """

    def __init__(self, client: SyncPrefectClient) -> None:
        self._client = client
        self._flow_names: dict[UUID, str] = {}

    def read(self, job_id: UUID) -> Observation | None:
        """Return what Prefect says of one run, or None where it has no such run."""
        try:
            run = self._client.read_flow_run(job_id)
        except ObjectNotFound:
            return None
        return self._observed(run)

    def retry(self, job_id: UUID, state_id: UUID) -> bool:
        """Ask for another attempt at a run that a worker can take, if it is still in that state; say whether it was."""
        try:
            run = self._client.read_flow_run(job_id)
        except ObjectNotFound:
            return False
        if run.state is None or run.state.id != state_id or run.deployment_id is None:
            return False
        self._client.set_flow_run_state(job_id, AwaitingRetry(message="Its process died: it is tried again."))
        return True

    def deployments(self) -> dict[UUID, str]:
        """Return the ids and names (`flow/deployment`) of the deployments that make jobs."""
        found: dict[UUID, str] = {}
        for narrowed in (
            DeploymentFilter(name=DeploymentFilterName(any_=[OUR_TAG])),
            DeploymentFilter(tags=DeploymentFilterTags(all_=[OUR_TAG])),
        ):
            offset = 0
            while page := self._client.read_deployments(deployment_filter=narrowed, limit=PAGE, offset=offset):
                found |= {one.id: f"{self._flow_name(one.flow_id)}/{one.name}" for one in page}
                offset += PAGE
        return found

    def active(self, deployments: Iterable[UUID], *, due_before: datetime) -> Iterator[Observation]:
        """Yield the runs of these deployments that are not at rest and were due before a time."""
        yield from self._runs(
            FlowRunFilter(
                deployment_id=FlowRunFilterDeploymentId(any_=list(deployments)),
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_ACTIVE_TYPES)),
                expected_start_time=FlowRunFilterExpectedStartTime(before_=due_before),
            )
        )

    def asked_for(self, deployments: Iterable[UUID], *, due_after: datetime) -> Iterator[Observation]:
        """Yield the runs of these deployments that somebody asked for, for a time that is still to come."""
        yield from self._runs(
            FlowRunFilter(
                deployment_id=FlowRunFilterDeploymentId(any_=list(deployments)),
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
                expected_start_time=FlowRunFilterExpectedStartTime(after_=due_after),
            ),
            keep=lambda run: not run.auto_scheduled,
        )

    def ended(self, deployments: Iterable[UUID], *, since: datetime) -> Iterator[Observation]:
        """Yield the runs of these deployments that ended since a time."""
        yield from self._runs(
            FlowRunFilter(
                deployment_id=FlowRunFilterDeploymentId(any_=list(deployments)),
                end_time=FlowRunFilterEndTime(after_=since),
            )
        )

    def _runs(self, narrowed: FlowRunFilter, keep: Callable[[FlowRun], bool] = lambda _: True) -> Iterator[Observation]:
        offset = 0
        while page := self._client.read_flow_runs(
            flow_run_filter=narrowed, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=PAGE, offset=offset
        ):
            yield from (one for run in page if run.state is not None and keep(run) and (one := self._legible(run)))
            offset += PAGE

    def _legible(self, run: FlowRun) -> Observation | None:
        """Return what a run says, or None where that can't be told: one odd run must not hide the others."""
        try:
            return self._observed(run)
        except ObjectNotFound:  # its flow was deleted meanwhile, and the run with it
            return None
        except (LookupError, TypeError, ValueError):
            logger.exception("Run %s can't be understood", run.id, extra={"job_id": str(run.id)})
            return None

    def _observed(self, run: FlowRun) -> Observation:
        return observe(run, type=self._flow_name(run.flow_id))

    def _flow_name(self, flow_id: UUID) -> str:
        if flow_id not in self._flow_names:
            self._flow_names[flow_id] = self._client.read_flow(flow_id).name
        return self._flow_names[flow_id]
