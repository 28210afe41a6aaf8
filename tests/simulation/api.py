"""Prefect's API as reconcilers use it: `Runs`, over the model of the server instead of over HTTP."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Literal
from uuid import UUID

import httpx
from prefect.client.schemas.objects import FlowRun, StateType

from prefect_narrative.jobs.prefect_runs import observe
from prefect_narrative.jobs.record import Observation
from tests.simulation.actors import Gate
from tests.simulation.clocks import Clocks
from tests.simulation.runs import ACTIVE, OURS, GoneError, Run, Server, Status

TYPE = "refresh-materialized-view"
DEPLOYMENT = f"{TYPE}/narrative"


def prefect_is_down() -> httpx.HTTPError:
    """Return the error of a server that can't be reached."""
    return httpx.ConnectError("Prefect is down")


class Api:
    """What a reconciler asks of Prefect; each call is a step."""

    def __init__(self, server: Server, clocks: Clocks, gate: Gate, ended: Callable[[Run, str], None]) -> None:
        self._server = server
        self._clocks = clocks
        self._gate = gate
        self._ended = ended

    def now(self) -> datetime:
        """Return the time by the server's clock, to the second."""
        return self._gate.call("runs.now", None, lambda: self._clocks.server().replace(microsecond=0))

    def read(self, job_id: UUID) -> Observation | None:
        """Return how one run is shown."""

        def work() -> Observation | None:
            run = self._server.runs.get(job_id)
            shown = None if run is None else self._shown(run)
            return None if shown is None else self._observed(shown)

        return self._gate.call("runs.read", job_id, work)

    def known(self, job_ids: Iterable[UUID]) -> Mapping[UUID, Observation]:
        """Return how these runs are shown."""
        wanted = set(job_ids)
        if not wanted:
            return {}
        return self._gate.call(
            "runs.known", None, lambda: {one.job_id: one for one in self._found(wanted.__contains__)}
        )

    def is_ours(self, seen: Observation) -> bool:
        """Return whether a run is of a deployment of ours."""
        return seen.prefect.deployment_id == OURS

    def due(self, at: datetime) -> Iterator[Observation]:
        """Yield the runs that are not at rest and were due."""
        yield from self._ours("runs.due", lambda run: type_of(run) in ACTIVE and run.expected_start_time <= at)

    def asked_for(self, at: datetime) -> Iterator[Observation]:
        """Yield the runs of a later time, but for those that a schedule keeps ready."""

        def wanted(run: FlowRun) -> bool:
            return type_of(run) in ACTIVE and run.expected_start_time > at and not is_kept_ready(run)

        yield from self._ours("runs.asked_for", wanted)

    def ended(self, since: datetime) -> Iterator[Observation]:
        """Yield the runs that ended since a time."""
        yield from self._ours("runs.ended", lambda run: run.end_time is not None and run.end_time >= since)

    def history(self, job_id: UUID) -> list[str]:
        """Return the types of all states of a run, in the order of their times."""

        def work() -> list[str]:
            run = self._server.runs[job_id]
            return [state.type.value for state in sorted(run.states, key=lambda one: one.timestamp)]

        return self._gate.call("runs.history", job_id, work)

    def cancel(self, job_id: UUID, message: str) -> bool:
        """Ask for a run to be cancelled."""

        def work() -> bool:
            status, state = self._server.propose(self._server.runs[job_id], StateType.CANCELLING, message=message)
            return status is Status.ACCEPT or state.type is StateType.CANCELLED

        return self._gate.call("runs.cancel", job_id, lambda: self._unless_gone(work), is_deed=True)

    def end(self, job_id: UUID, state_id: UUID, type: Literal["CRASHED", "CANCELLED"], message: str) -> bool:
        """Move a run whose process is gone to its end."""

        def work() -> bool:
            run = self._server.runs[job_id]
            if run.is_deleted or run.state.id != state_id:
                return False
            accepted = self._server.propose(run, StateType(type), message=message)[0] is Status.ACCEPT
            if accepted:
                self._ended(run, type)
            return accepted

        return self._gate.call("runs.end", job_id, work, is_deed=True)

    def retry(self, job_id: UUID, state_id: UUID, message: str) -> bool:
        """Ask for another attempt."""

        def work() -> bool:
            run = self._server.runs[job_id]
            if run.is_deleted or run.state.id != state_id:
                return False
            status, _ = self._server.propose(run, StateType.SCHEDULED, "AwaitingRetry", message=message)
            return status is Status.ACCEPT

        return self._gate.call("runs.retry", job_id, work, is_deed=True)

    @staticmethod
    def _unless_gone(work: Callable[[], bool]) -> bool:
        try:
            return work()
        except GoneError as error:
            request = httpx.Request("POST", "http://prefect/set_state")
            raise httpx.HTTPStatusError("gone", request=request, response=httpx.Response(404)) from error

    def _ours(self, name: str, wanted: Callable[[FlowRun], bool]) -> list[Observation]:
        def of_ours(run: FlowRun) -> bool:
            return run.deployment_id == OURS and wanted(run)

        return self._gate.call(name, None, lambda: [self._observed(run) for run in self._all() if of_ours(run)])

    def _found(self, wanted: Callable[[UUID], bool]) -> list[Observation]:
        return [self._observed(run) for run in self._all() if wanted(run.id)]

    def _all(self) -> list[FlowRun]:
        shown = [one for run in self._server.runs.values() if (one := self._shown(run)) is not None]
        return sorted(shown, key=lambda run: (run.expected_start_time, run.id))

    def _observed(self, shown: FlowRun) -> Observation:
        assert shown.state is not None
        return self._server.once(shown.state.id, lambda: observed(shown))

    def _shown(self, run: Run) -> FlowRun | None:
        if run.is_deleted:
            return None
        return next((one for at, one in reversed(run.shown) if at <= self._clocks.ticks), None)


def is_kept_ready(run: FlowRun) -> bool:
    """Return whether a schedule has made a run, and nothing has happened to it since."""
    assert run.state is not None
    return bool(run.auto_scheduled) and run.state.name == "Scheduled"


def type_of(run: FlowRun) -> StateType:
    """Return the type of the state that a run is in."""
    assert run.state is not None
    return run.state.type


def observed(run: FlowRun) -> Observation:
    """Return what a run says, as `PrefectRuns` has it: with the name of its deployment."""
    seen = observe(run, type=TYPE)
    name = DEPLOYMENT if run.deployment_id == OURS else None
    return seen.model_copy(update={"prefect": seen.prefect.model_copy(update={"deployment": name})})
