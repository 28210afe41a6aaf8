"""Prefect's flow runs, read as observations: the one place that knows what Prefect's fields mean for the job record."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Any, Literal
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
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import OrchestrationResult, SetStateStatus
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import AwaitingRetry, Cancelled, Cancelling, Crashed

from prefect_narrative.jobs.record import PARENT_TAG, SOURCE_TAG, Observation, PrefectState, RequestSource
from prefect_narrative.jobs.states import JobState, state_of
from prefect_narrative.jobs.waiting import Waiting, of_state

logger = logging.getLogger(__name__)

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
        # Prefect gives a run that ended before it ran its end for a start; and where another end follows one, it keeps
        # the time of the first.
        started_at=(run.start_time if run.run_count else None)
        or (state.timestamp if ours is JobState.RUNNING else None),
        ended_at=state.timestamp if ours.terminal else None,
        waiting_for=of_state(state),
        held=_is_held(run, state),
    )


def _is_held(run: FlowRun, state: State[Any]) -> bool:
    """Return whether a process has the run, so that no worker would take it."""
    if state.type is StateType.SCHEDULED:
        return run.empirical_policy.retry_type == "in_process"
    in_process = not state.state_details.pause_reschedule
    return state.type in {StateType.RUNNING, StateType.CANCELLING} or (state.type is StateType.PAUSED and in_process)


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


def _is_kept_ready(run: FlowRun) -> bool:
    """Return whether a schedule has made a run, and nothing has happened to it since."""
    state = run.state
    return run.auto_scheduled and state is not None and (state.type, state.name) == (StateType.SCHEDULED, "Scheduled")


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


OUR_TAG = "narrative"
"""A deployment with this tag, or with this name, makes jobs; every run of it belongs into the job table."""
PAGE = 200
OURS_FOR = timedelta(seconds=2)
"""How long the list of our deployments is believed; what is deployed later is seen by the next sweep."""
_ACTIVE_TYPES = [
    StateType.SCHEDULED,
    StateType.PENDING,
    StateType.RUNNING,
    StateType.PAUSED,
    StateType.CANCELLING,
]


class PrefectRuns:
    """Prefect's flow runs, asked for through its API and given as observations: `Runs`, as a Protocol says it.

    Args:
        client: A synchronous Prefect client; its owner closes it. One thread at a time.
    """

    def __init__(self, client: SyncPrefectClient) -> None:
        self._client = client
        self._flow_names: dict[UUID, str] = {}
        self._ours: dict[UUID, str] = {}
        self._ours_read_at = -math.inf
        self._waiting = Waiting(client)
        self._now: datetime | None = None

    def now(self) -> datetime:
        """Return the time by the clock of Prefect's server, to the second; what pending runs wait for is asked anew."""
        self._waiting.forget()
        self._now = parsedate_to_datetime(self._client.request("GET", "/health").headers["date"])
        return self._now

    def read(self, job_id: UUID) -> Observation | None:
        """Return how one run is, or None where Prefect has no such run."""
        self._waiting.forget()
        try:
            run = self._client.read_flow_run(job_id)
            return self._observed(run)
        except ObjectNotFound:
            return None

    def known(self, job_ids: Iterable[UUID]) -> dict[UUID, Observation]:
        """Return how these runs are; those that Prefect does not have, or that can't be understood, are left out."""
        found: dict[UUID, Observation] = {}
        wanted = iter(job_ids)
        while ids := list(islice(wanted, PAGE)):
            found |= {one.job_id: one for one in self._runs(FlowRunFilter(id=FlowRunFilterId(any_=ids)))}
        return found

    def is_ours(self, seen: Observation) -> bool:
        """Return whether a run is a job: one of a deployment of ours."""
        deployment = seen.prefect.deployment_id
        if deployment is None:
            return False
        return deployment in self._ours or deployment in self.deployments()

    def history(self, job_id: UUID) -> list[str]:
        """Return the types of all states that a run has been in, oldest first; empty where there is no such run."""
        states = self._client.read_flow_run_states(job_id)
        return [state.type.value for state in sorted(states, key=lambda one: one.timestamp)]

    def cancel(self, job_id: UUID, message: str) -> bool:
        """Ask Prefect to cancel a run; say whether it took that: not where the run has ended.

        A run whose process must be ended first is Cancelling from now on. One that has none is Cancelled at once.
        """
        answer = self._propose(job_id, Cancelling(message=message))
        if answer.status is SetStateStatus.ACCEPT:
            return True
        return answer.state is not None and answer.state.type is StateType.CANCELLED

    def end(self, job_id: UUID, state_id: UUID, type: Literal["CRASHED", "CANCELLED"], message: str) -> bool:
        """Move a run whose process is gone to its end, if it is still in the state of that id; say whether it was."""
        if self._is_in(job_id, state_id) is None:
            return False
        # Not forced: where the run comes to rest meanwhile, the server refuses.
        end: State[Any] = Crashed(message=message) if type == "CRASHED" else Cancelled(message=message)
        return self._propose(job_id, end).status is SetStateStatus.ACCEPT

    def retry(self, job_id: UUID, state_id: UUID, message: str) -> bool:
        """Ask for another attempt at a run that a worker can take, if it is still in that state; say whether it was."""
        run = self._is_in(job_id, state_id)
        if run is None or run.deployment_id is None:
            return False
        return self._propose(job_id, AwaitingRetry(message=message)).status is SetStateStatus.ACCEPT

    def _propose(self, job_id: UUID, state: State[Any]) -> OrchestrationResult[Any]:
        return self._client.set_flow_run_state(job_id, state)

    def _is_in(self, job_id: UUID, state_id: UUID) -> FlowRun | None:
        """Return a run if it is in the state of that id."""
        try:
            run = self._client.read_flow_run(job_id)
        except ObjectNotFound:
            return None
        return run if run.state is not None and run.state.id == state_id else None

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
        self._ours, self._ours_read_at = found, time.monotonic()
        return found

    def due(self, at: datetime) -> Iterator[Observation]:
        """Yield the runs that are not at rest and were due at a time."""
        yield from self._of_ours(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_ACTIVE_TYPES)),
            expected_start_time=FlowRunFilterExpectedStartTime(before_=at),
        )

    def asked_for(self, at: datetime) -> Iterator[Observation]:
        """Yield the runs of a later time than this that are jobs already: all but those that a schedule keeps ready."""
        yield from self._of_ours(
            keep=lambda run: not _is_kept_ready(run),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_ACTIVE_TYPES)),
            expected_start_time=FlowRunFilterExpectedStartTime(after_=at),
        )

    def ended(self, since: datetime) -> Iterator[Observation]:
        """Yield the runs that ended since a time."""
        yield from self._of_ours(end_time=FlowRunFilterEndTime(after_=since))

    def _of_ours(self, keep: Callable[[FlowRun], bool] = lambda _: True, **narrowed: Any) -> Iterator[Observation]:
        if time.monotonic() - self._ours_read_at > OURS_FOR.total_seconds():
            self.deployments()
        if self._ours:
            ours = FlowRunFilterDeploymentId(any_=list(self._ours))
            yield from self._runs(FlowRunFilter(deployment_id=ours, **narrowed), keep)

    def _runs(self, narrowed: FlowRunFilter, keep: Callable[[FlowRun], bool] = lambda _: True) -> Iterator[Observation]:
        offset = 0
        while page := self._client.read_flow_runs(
            flow_run_filter=narrowed, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=PAGE, offset=offset
        ):
            yield from (one for run in page if run.state is not None and keep(run) and (one := self._legible(run)))
            if len(page) < PAGE:
                return
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
        seen = observe(run, type=self._flow_name(run.flow_id))
        name = self._ours.get(run.deployment_id) if run.deployment_id else None
        waiting_for = self._waiting.reason(run, self._now or datetime.now(UTC))
        named = seen.prefect.model_copy(update={"deployment": name})
        return seen.model_copy(update={"prefect": named, "waiting_for": waiting_for})

    def _flow_name(self, flow_id: UUID) -> str:
        if flow_id not in self._flow_names:
            self._flow_names[flow_id] = self._client.read_flow(flow_id).name
        return self._flow_names[flow_id]
