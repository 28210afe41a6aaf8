"""Errors as HTTP says them: a status, a code for programs, what was seen and which rule it breaks, what to do."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar
from uuid import UUID

from starlette.responses import Response

from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.jobs.store import InvalidCursorError, UnknownJobError

RETRY_AFTER_SECONDS = 2
"""What a caller is told to wait before it asks again for what can't be had now."""
LONGEST_QUOTE = 80
"""Characters of a caller's own value that an error repeats."""


class ApiError(NarrativeError):
    """A request can't be answered."""

    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    headers: ClassVar[Mapping[str, str]] = {}
    remedy = "This is a defect of ours: report it with what the reconciler's log says."


class MalformedRequestError(ApiError, ValueError):
    """This is no HTTP/1.1 request with one Host header and a head of at most 16 KiB."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "malformed_request"
    status = HTTPStatus.BAD_REQUEST
    remedy = "Send a GET whose address and headers are that short, by http and not https."


class InvalidParameterError(ApiError, ValueError):
    """A parameter breaks a rule."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "invalid_parameter"
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    remedy = "Correct the parameter; /openapi.json describes each."


class UnauthorizedError(ApiError, PermissionError):
    """The request shows no token that is accepted here."""

    kind: ClassVar[FailureKind] = FailureKind.ACCESS
    code: ClassVar[str] = "unauthorized"
    status = HTTPStatus.UNAUTHORIZED
    headers: ClassVar[Mapping[str, str]] = {"WWW-Authenticate": 'Bearer realm="narrative jobs"'}
    remedy = "Send the header `Authorization: Bearer TOKEN`, with what the reconciler has in NARRATIVE_API_TOKEN."


class HostRefusedError(ApiError, PermissionError):
    """The Host header does not name this machine's loopback."""

    kind: ClassVar[FailureKind] = FailureKind.ACCESS
    code: ClassVar[str] = "host_refused"
    status = HTTPStatus.FORBIDDEN
    remedy = "Call it as 127.0.0.1, [::1] or localhost; for other machines start the reconciler with --host."


class NoSuchPathError(ApiError, LookupError):
    """There is no such path."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "path_not_found"
    status = HTTPStatus.NOT_FOUND
    remedy = "/openapi.json describes the paths there are."


class ReadOnlyError(ApiError):
    """Jobs are only read here: GET is the one method."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "read_only"
    status = HTTPStatus.METHOD_NOT_ALLOWED
    headers: ClassVar[Mapping[str, str]] = {"Allow": "GET"}
    remedy = "Use GET; jobs are asked for through Prefect's API or `narrative submit`."


class Unavailable(ApiError, ConnectionError):  # noqa: N818 - a base: each of its errors says what is not there
    """The answer can't be had now."""

    kind: ClassVar[FailureKind] = FailureKind.EXTERNAL
    status = HTTPStatus.SERVICE_UNAVAILABLE
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": str(RETRY_AFTER_SECONDS)}


class TableUnavailableError(Unavailable):
    """The job table can't be read now."""

    code: ClassVar[str] = "job_table_unavailable"
    remedy = "Ask again; if it lasts, the reconciler's log says what is wrong with the database."


class PrefectUnavailableError(Unavailable):
    """The job table has no such job, and Prefect can't be asked now whether it has such a run."""

    code: ClassVar[str] = "prefect_unavailable"
    remedy = "Ask again; if it lasts, see that Prefect's server is up."


class TooManyWaitingError(Unavailable):
    """Too many callers wait already."""

    code: ClassVar[str] = "too_many_waiting"
    remedy = "Ask again later, or without `wait`."


_STATUS_OF_CORE: Mapping[type[NarrativeError], HTTPStatus] = {
    InvalidCursorError: HTTPStatus.UNPROCESSABLE_ENTITY,
    UnknownJobError: HTTPStatus.NOT_FOUND,
}


def quoted(value: object) -> str:
    """Return a caller's value as an error repeats it: printable, and not at length."""
    text = value if isinstance(value, str) else str(value)
    return repr(text) if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]!r}..."


def json_answer(
    content: bytes | Mapping[str, Any], status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a JSON answer that nobody keeps or takes for something else."""
    body = content if isinstance(content, bytes) else encoded(content)
    common = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return Response(body, status, {**common, **(headers or {})}, media_type="application/json")


def encoded(content: Mapping[str, Any]) -> bytes:
    """Return what is sent for a document: JSON in ASCII."""
    return json.dumps(content, allow_nan=False).encode("ascii")


def told(error: Exception) -> Response:
    """Return the answer that tells an error; what is not one of ours is told without its text."""
    if isinstance(error, ApiError):
        status, headers = error.status, error.headers
    elif isinstance(error, NarrativeError) and type(error) in _STATUS_OF_CORE:
        status, headers = _STATUS_OF_CORE[type(error)], {}
    else:
        return told(ApiError("The request could not be answered."))
    return json_answer({"error": shown(error)}, status, headers)


def shown(error: NarrativeError) -> dict[str, str]:
    """Return what a caller is told of an error."""
    return {"code": error.code, "message": str(error), "remedy": error.remedy}


def no_such_job(job_id: UUID | str) -> UnknownJobError:
    """Return the error that says that neither the table nor Prefect knows a job, and what a job's id is."""
    return UnknownJobError(
        f"There is no job {job_id}: a job's id is that of its flow run in Prefect.",
        remedy="Check the id; GET /v1/jobs lists the jobs there are.",
    )
