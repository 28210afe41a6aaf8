"""The application: its paths, and what each of them answers."""

import logging
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from prefect_narrative.api import ENDED_HEADER, HEALTH_PATH, JOBS_PATH, STALE_HEADER
from prefect_narrative.api.access import Access
from prefect_narrative.api.errors import (
    ApiError,
    NoSuchPathError,
    ReadOnlyError,
    TableUnavailableError,
    encoded,
    json_answer,
    quoted,
    told,
)
from prefect_narrative.api.long_poll import MOST_WAITING, LongPoll
from prefect_narrative.api.openapi import ANSWERS, describe
from prefect_narrative.api.parameters import Id, Listing, Wait, only, refused
from prefect_narrative.api.reading import Found, Reading
from prefect_narrative.errors import NarrativeError
from prefect_narrative.jobs.document import record
from prefect_narrative.jobs.record import Job, JobFilter, JobId
from prefect_narrative.jobs.retries import has_ended
from prefect_narrative.jobs.store import JobReader

logger = logging.getLogger(__name__)

ABOUT = "The jobs of the platform: states, results, moves. A job's id is the id of its flow run in Prefect."
HEALTH_SECONDS = 2.0
"""How long the health waits for the job table before it says that the table does not answer."""
NO_JOB = JobId(UUID(int=0))


class JobApi:
    """The HTTP job API over one job table.

    Args:
        store: The job table.
        look: Asks Prefect how a run is, brings that into the table and returns the job, None where neither knows it;
            raises an error of kind `external` or `access` where Prefect can't be asked.
        seconds_since_sweep: Seconds since the last time that everything was looked at; infinite before the first.
        token: What callers must show; None: nothing.
        loopback: Whether it is served on loopback only.
        most_waiting: How many callers may wait at once for the end of a job.
    """

    def __init__(
        self,
        store: JobReader,
        look: Callable[[UUID], Job | None],
        seconds_since_sweep: Callable[[], float],
        *,
        token: str | None = None,
        loopback: bool = True,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._reading = Reading(store, look, seconds_since_sweep)
        self._long_poll = LongPoll(self._reading.jobs, most=most_waiting)
        self.app = self._made(token, loopback=loopback)

    def let_go(self) -> None:
        """Answer every caller that waits, now and from now on; called in the server's loop before it ends."""
        self._long_poll.close()

    def close(self) -> None:
        """Begin nothing more."""
        self._reading.close()

    async def list_jobs(self, listing: Annotated[Listing, Query()]) -> Response:
        """List jobs, newest first, a page at a time."""

        def read(store: JobReader) -> bytes:
            page = store.page(listing.narrowed, cursor=listing.cursor, limit=listing.limit)
            return encoded({"jobs": [record(job) for job in page.jobs], "cursor": page.cursor})

        return json_answer(await self._reading.table(read), headers=_staleness(self._reading.behind))

    async def show_job(self, request: Request, job_id: Id, wait: Wait = 0) -> Response:
        """Show one job's record, or wait for its end."""
        found = await self._reading.job(job_id)
        if wait and not _ended(found):
            ended = await self._long_poll.ended(job_id, wait, lambda: _gone(request))
            found = Found(ended) if ended is not None else await self._reading.job(job_id)
        told = {ENDED_HEADER: str(_ended(found)).lower(), **_staleness(found.stale)}
        return json_answer(record(found.job), headers=told)

    async def show_events(self, job_id: Id) -> Response:
        """Show every move of one job, oldest first."""
        found = await self._reading.job(job_id)
        events = await self._reading.table(lambda store: store.events(JobId(job_id)))
        moves = [event.model_dump(mode="json") for event in events]
        return json_answer({"events": moves}, headers=_staleness(found.stale))

    async def show_health(self) -> Response:
        """Say whether the job table answers, and how long ago everything was looked at last. Needs no token."""
        status, table = HTTPStatus.OK, "ok"
        try:
            await self._reading.table(lambda store: store.get(NO_JOB), seconds=HEALTH_SECONDS)
        except TableUnavailableError:
            status, table = TableUnavailableError.status, "unavailable"
        seconds = self._reading.seconds_since_sweep
        return json_answer({"table": table, "last_sweep_seconds": seconds, "pid": os.getpid()}, status)

    def _made(self, token: str | None, *, loopback: bool) -> FastAPI:
        app = FastAPI(
            title="Narrative jobs",
            version="1",
            description=ABOUT,
            openapi_url=None,  # ours is served below, for GET alone
            docs_url=None,  # these pages would load scripts from the network
            redoc_url=None,
            redirect_slashes=False,
        )
        filters = only(*JobFilter.model_fields, "limit", "cursor", repeatable=("state",))
        for path, answer, check in (
            (JOBS_PATH, self.list_jobs, filters),
            (f"{JOBS_PATH}/{{job_id}}", self.show_job, only("wait")),
            (f"{JOBS_PATH}/{{job_id}}/events", self.show_events, only()),
            (HEALTH_PATH, self.show_health, only()),
        ):
            app.add_api_route(
                path,
                answer,
                methods=["GET"],
                dependencies=[Depends(check)],
                operation_id=answer.__name__,
                responses=ANSWERS[answer.__name__],
                response_class=Response,
            )
        document: list[Mapping[str, Any]] = []

        async def show_openapi() -> Response:
            if not document:
                document.append(describe(app, needs_token=token is not None))
            return json_answer(document[0])

        app.add_api_route("/openapi.json", show_openapi, methods=["GET"], include_in_schema=False)
        app.add_middleware(Access, token=token, loopback=loopback)
        for kind in (NarrativeError, RequestValidationError, HTTPException, Exception):
            app.add_exception_handler(kind, _answered)
        return app


async def _answered(request: Request, error: Exception) -> Response:
    """Answer an error, whoever raised it."""
    if isinstance(error, RequestValidationError):
        return told(refused(error))
    if isinstance(error, HTTPException):
        return told(_said_by_router(request, error))
    answer = told(error)
    if answer.status_code == HTTPStatus.INTERNAL_SERVER_ERROR and isinstance(error, NarrativeError):
        logger.error("A request could not be answered", exc_info=error)  # the server itself logs what is not ours
    return answer


def _said_by_router(request: Request, error: HTTPException) -> ApiError:
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return ReadOnlyError(f"The method {quoted(request.method)} is not allowed: jobs are only read here.")
    return NoSuchPathError(f"There is no path {quoted(request.scope['path'])}.")


def _ended(found: Found) -> bool:
    return has_ended(found.job, datetime.now(UTC))


def _staleness(stale: bool) -> Mapping[str, str]:
    return {STALE_HEADER: "true"} if stale else {}


async def _gone(request: Request) -> None:
    """Return when the caller has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        continue
