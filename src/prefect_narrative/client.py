"""The client: submit jobs, wait for them, read them; over Prefect's API and the job table."""

import difflib
import json
import logging
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, ClassVar, Self
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import PrefectHTTPStatusError

from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.jobs.prefect_runs import ONE_SHOT_KEY, PrefectRuns, observe
from prefect_narrative.jobs.projection import project
from prefect_narrative.jobs.reconciler import look
from prefect_narrative.jobs.record import SOURCE_TAG, Job, JobEvent, JobFilter, JobId, JobPage
from prefect_narrative.jobs.retries import has_ended
from prefect_narrative.jobs.sql import open_store
from prefect_narrative.jobs.states import JobState
from prefect_narrative.jobs.store import JobTableUnavailableError
from prefect_narrative.settings import Settings

logger = logging.getLogger(__name__)

POLL_EVERY = timedelta(seconds=0.5)


class PrefectUnavailableError(NarrativeError, ConnectionError):
    """Prefect's API can't be reached."""

    kind: ClassVar[FailureKind] = FailureKind.EXTERNAL
    code: ClassVar[str] = "prefect_unavailable"
    remedy = "Start it with `narrative up`, or set PREFECT_API_URL to the server's address."


class PrefectRefusedError(NarrativeError, PermissionError):
    """Prefect's API refuses the credentials."""

    kind: ClassVar[FailureKind] = FailureKind.ACCESS
    code: ClassVar[str] = "prefect_refused"
    remedy = "Set PREFECT_API_AUTH_STRING to what the server was started with."


class UnknownJobError(NarrativeError, LookupError):
    """Neither the job table nor Prefect knows a job of that id."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "job_not_found"
    remedy = "`narrative jobs list` shows the jobs there are."


class UnknownJobTypeError(NarrativeError, LookupError):
    """No deployment makes jobs of that type."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "job_type_not_found"
    remedy = "Run `narrative deploy`; for a type of your own, deploy its flow with the tag `narrative`."


class RefusedInputError(NarrativeError, ValueError):
    """The job's inputs break a rule of its type."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "refused_input"
    remedy = "Correct the input; the deployment's form in Prefect's UI shows what it takes."


class IdempotencyConflictError(NarrativeError, ValueError):
    """The key was given before, with other inputs."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "idempotency_conflict"
    remedy = "Use another key, or the same inputs."


class JobEndedError(NarrativeError, ValueError):
    """The job has ended, so there is nothing to cancel."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "job_ended"
    remedy = "Nothing; `narrative jobs show` tells how it ended."


class NotRetryableError(NarrativeError, ValueError):
    """The job can't be tried again."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "not_retryable"
    remedy = "Submit a new job with the same inputs."


class WaitTimeoutError(NarrativeError, TimeoutError):
    """The job had not ended in the time that the caller would wait."""

    kind: ClassVar[FailureKind] = FailureKind.RESOURCE
    code: ClassVar[str] = "wait_timed_out"
    remedy = "Wait again: the job goes on."


class Client:
    """Submits jobs and reads them. Use it as a context manager.

    Args:
        settings: Where the job table is; None: as the environment says.
        source: Who asks, for the record: `cli` or `api`.
    """

    def __init__(self, settings: Settings | None = None, *, source: str = "api") -> None:
        self._settings = settings or Settings()
        self._source = source
        self._closing = ExitStack()
        self._connected: SyncPrefectClient | None = None
        self._store = self._closing.enter_context(open_store(self._settings))

    def __enter__(self) -> Self:
        """Return this client, to be closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release connections."""
        self.close()

    def close(self) -> None:
        """Release connections."""
        self._closing.close()

    def submit(
        self,
        type: str,
        parameters: Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        again: bool = False,
    ) -> Job:
        """Ask for a job and return its record, pending.

        Args:
            type: The job's type, such as `create-dataset`.
            parameters: The job's inputs.
            idempotency_key: The same key with the same inputs gives the same job, however often it is asked for.
            again: Whether a key whose job is at rest may be used for a new one. The new job's key is the given one with
                `#2`, `#3`, ... behind it, since Prefect never forgets a key.

        Raises:
            UnknownJobTypeError: there is no deployment for that type.
            RefusedInputError: an input is unknown, missing or breaks a rule.
            IdempotencyConflictError: the key was given before, with other inputs.
            PrefectUnavailableError: Prefect can't be reached.
        """
        with self._prefect() as client:
            deployment = self._deployment(client, type)
            key, number = idempotency_key or f"{ONE_SHOT_KEY}{uuid.uuid4()}", 1
            while True:
                numbered = key if number == 1 else f"{key}#{number}"
                run, new = self._ask(client, deployment, parameters, numbered)
                if new:
                    break
                wanted = {**(deployment.parameters or {}), **parameters}
                if run.parameters != wanted:
                    raise IdempotencyConflictError(
                        f"The key {numbered!r} belongs to job {run.id}, which has other inputs.",
                        detail={"job_id": str(run.id)},
                    )
                if not (again and run.state is not None and run.state.is_final()):
                    break
                number += 1
        seen = observe(run, type=type)
        named = seen.prefect.model_copy(update={"deployment": f"{type}/{deployment.name}"})
        seen = seen.model_copy(update={"prefect": named})
        try:
            return self._store.apply(seen, cause=self._source)
        except JobTableUnavailableError as exc:
            logger.warning("Job %s is submitted; the job table will show it later: %s", run.id, exc)
            return project(None, seen, datetime.now(UTC), cause=self._source)[0].job()

    def get(self, job_id: UUID) -> Job:
        """Return a job's record; Prefect is asked first where the row is missing or the job is not at rest.

        Raises:
            UnknownJobError: there is no such job.
            PrefectUnavailableError: Prefect can't be reached, and the record could be old.
        """
        row = self._store.get(JobId(job_id))
        if row is not None and row.state.terminal:
            return row
        return self._looked_up(job_id)

    def cancel(self, job_id: UUID) -> Job:
        """Ask for a job to be cancelled, and return its record.

        A job that waits is `cancelled` at once; one that runs is `pending_cancellation` until its process has ended.

        Raises:
            JobEndedError: the job has ended.
            UnknownJobError: there is no such job.
            PrefectUnavailableError: Prefect can't be reached.
        """
        job = self._looked_up(job_id)
        if has_ended(job, datetime.now(UTC)):
            raise JobEndedError(f"Job {job_id} can't be cancelled: it is {job.state} since {job.ended_at}.")
        if job.state is JobState.PENDING_CANCELLATION:
            return job
        with self._prefect() as client:
            runs = PrefectRuns(client)
            if job.state.terminal:  # its process died, and another attempt is due
                taken = runs.end(job_id, job.prefect.state_id, "CANCELLED", "Cancelled before it was tried again.")
            else:
                taken = runs.cancel(job_id, f"Cancelled by {self._source}.")
        job = self._looked_up(job_id)
        if not taken and job.state is not JobState.CANCELLED:
            raise JobEndedError(f"Job {job_id} can't be cancelled: it is {job.state} by now.")
        return job

    def retry(self, job_id: UUID) -> Job:
        """Open a failed or cancelled job again for another attempt, and return its record, pending.

        Raises:
            NotRetryableError: the job has not ended, has completed, or no worker can take it.
            UnknownJobError: there is no such job.
            PrefectUnavailableError: Prefect can't be reached.
        """
        job = self._looked_up(job_id)
        if not job.state.terminal:
            raise NotRetryableError(
                f"Job {job_id} is {job.state}: only a job that has ended can be retried.",
                remedy="Wait for its end, or cancel it first.",
            )
        if job.state is JobState.COMPLETED:
            raise NotRetryableError(f"Job {job_id} has completed, and its result stands.")
        with self._prefect() as client:
            if not PrefectRuns(client).retry(job_id, job.prefect.state_id, f"Retried by {self._source}."):
                raise NotRetryableError(
                    f"Job {job_id} can't be retried: its run was deleted, has no deployment, or moved just now."
                )
        return self._looked_up(job_id)

    def _looked_up(self, job_id: UUID) -> Job:
        """Return a job's record as Prefect's run is at this moment."""
        with self._prefect() as client:
            row = look(self._store, PrefectRuns(client), job_id)
        if row is None:
            raise UnknownJobError(f"There is no job {job_id}.")
        return row

    def page(self, narrowed: JobFilter | None = None, *, cursor: str | None = None, limit: int = 50) -> JobPage:
        """Return a page of jobs, newest first, as the table has them."""
        return self._store.page(narrowed, cursor=cursor, limit=limit)

    def events(self, job_id: UUID) -> Sequence[JobEvent]:
        """Return a job's moves, oldest first."""
        return self._store.events(JobId(job_id))

    def watch(self, job_id: UUID, *, timeout: timedelta | None = None) -> Iterator[Job]:
        """Yield a job's record now and at each change, until it is at rest and is not tried again by itself.

        Raises:
            UnknownJobError: there is no such job.
            WaitTimeoutError: it was not at rest in time.
        """
        until = None if timeout is None else time.monotonic() + timeout.total_seconds()
        last: Job | None = None
        while True:
            job = self.get(job_id)
            if job != last:
                yield job
                last = job
            if has_ended(job, datetime.now(UTC)):
                return
            if until is not None and time.monotonic() >= until:
                raise WaitTimeoutError(f"Job {job_id} is still {job.state} after {timeout}.")
            time.sleep(POLL_EVERY.total_seconds())

    def _ask(
        self, client: SyncPrefectClient, deployment: DeploymentResponse, parameters: Mapping[str, Any], key: str
    ) -> tuple[FlowRun, bool]:
        try:
            json.dumps(dict(parameters), allow_nan=False, ensure_ascii=False).encode()
        except (TypeError, ValueError) as exc:
            raise RefusedInputError(f"An input can't be sent as JSON: {exc}.") from exc
        try:
            answer = client.request(
                "POST",
                "/deployments/{id}/create_flow_run",
                path_params={"id": deployment.id},
                json={
                    "parameters": dict(parameters),
                    "tags": [f"{SOURCE_TAG}{self._source}"],
                    "idempotency_key": key,
                    "state": {"type": "SCHEDULED"},
                },
            )
        except PrefectHTTPStatusError as exc:
            if exc.response.status_code in {409, 422}:
                raise RefusedInputError(_reason(exc.response)) from exc
            raise
        return FlowRun.model_validate(answer.json()), answer.status_code == httpx.codes.CREATED

    def _deployment(self, client: SyncPrefectClient, type: str) -> DeploymentResponse:
        ours = PrefectRuns(client).deployments()
        for deployment_id, name in ours.items():
            if name.rpartition("/")[0] == type:
                return client.read_deployment(deployment_id)
        known = sorted({name.rpartition("/")[0] for name in ours.values()})
        near = difflib.get_close_matches(type, known, n=3) or known
        hint = f" There are: {', '.join(near)}." if near else ""
        raise UnknownJobTypeError(f"No deployment makes jobs of the type {type!r}.{hint}")

    @contextmanager
    def _prefect(self) -> Iterator[SyncPrefectClient]:
        with reaching():
            if self._connected is None:
                self._connected = self._closing.enter_context(get_client(sync_client=True))
            yield self._connected


@contextmanager
def reaching() -> Iterator[None]:
    """Raise our errors where Prefect's API can't be reached or refuses.

    Raises:
        PrefectRefusedError: the credentials are wrong or missing.
        PrefectUnavailableError: the server is down, or no server is configured.
    """
    try:
        yield
    except PrefectHTTPStatusError as exc:
        if exc.response.status_code in {401, 403}:
            raise PrefectRefusedError(f"Prefect refused with {exc.response.status_code}.") from exc
        answer = f"Prefect answered {exc.response.status_code}: {_reason(exc.response)}"
        raise PrefectUnavailableError(answer) from exc
    except httpx.HTTPError as exc:
        raise PrefectUnavailableError(f"Prefect's API can't be reached: {exc}") from exc
    except ValueError as exc:
        if isinstance(exc, NarrativeError) or "PREFECT_API_URL" not in str(exc):
            raise
        raise PrefectUnavailableError("No Prefect server is configured, and no `narrative up` runs.") from exc


def _reason(response: httpx.Response) -> str:
    try:
        detail = response.json().get("detail")
    except (ValueError, AttributeError):
        return response.text[:1000]
    return detail if isinstance(detail, str) else str(detail)[:1000]
