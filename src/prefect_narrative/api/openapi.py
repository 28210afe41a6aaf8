"""The API's description for programs and people: what each path answers, each field explained, with examples."""

import ast
import inspect
import re
import textwrap
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, computed_field

from prefect_narrative.api import ENDED_HEADER, HEALTH_PATH, STALE_HEADER
from prefect_narrative.api.errors import (
    InvalidParameterError,
    TableUnavailableError,
    UnauthorizedError,
    no_such_job,
    shown,
)
from prefect_narrative.errors import NarrativeError
from prefect_narrative.jobs import record


class JobRecord(record.Job):
    """Everything that is known of one job."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def queue_seconds(self) -> float | None:
        """Seconds from when the job could start until it did; null before."""
        return super().queue_seconds

    @computed_field  # type: ignore[prop-decorator]
    @property
    def run_seconds(self) -> float | None:
        """Seconds from first start to end; null before the end, or where it never started."""
        return super().run_seconds


class JobList(BaseModel):
    """A page of jobs, newest first."""

    jobs: list[JobRecord]
    """The jobs' records."""
    cursor: str | None
    """Give it to the next call for the next page; null at the end."""


class JobMoves(BaseModel):
    """The moves of one job."""

    events: list[record.JobEvent]
    """The moves, oldest first."""


class Health(BaseModel):
    """How the API itself is."""

    table: Literal["ok", "unavailable"]
    """Whether the job table answers."""
    last_sweep_seconds: float | None
    """Seconds since everything in Prefect was compared with the table; null before the first time. Some 2 is usual."""
    pid: int
    """Process id of the reconciler that answers."""


class Told(BaseModel):
    """What went wrong."""

    code: str
    """Stable, for programs, such as `job_not_found`."""
    message: str
    """What was seen, and which rule it breaks."""
    remedy: str
    """What to do about it."""


class Refusal(BaseModel):
    """The answer where there is no other."""

    error: Told
    """What went wrong."""


EXAMPLE: Mapping[str, Any] = {
    "job_id": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
    "type": "refresh-materialized-view",
    "idempotency_key": None,
    "parent_job_id": None,
    "request_source": {"type": "api", "name": None},
    "tags": ["nightly"],
    "state": "completed",
    "attempt": 1,
    "waiting_for": None,
    "progress": {"fraction": 1.0, "message": "publishing", "at": "2026-03-01T12:00:07Z"},
    "failures": [],
    "input": {"view": "by_city", "mode": "auto"},
    "result": {"dataset": "by_city", "action": "full", "snapshot_id": 12, "rows": 3},
    "data_plane": "default",
    "dataset": "by_city",
    "sources": ["trips"],
    "executor": {"host": "worker-1", "pid": 4711, "worker": "w1", "pool": "narrative", "queue": "default"},
    "code_version": "0.1.0",
    "usage": {
        "cpu_seconds": 0.8,
        "peak_memory_bytes": 188743680,
        "read_rows": 120,
        "written_rows": 3,
        "read_bytes": 104857600,
        "written_bytes": 4096,
    },
    "cost_micro_cents_usd": 6348656,
    "forecast_job_id": None,
    "created_at": "2026-03-01T12:00:00Z",
    "scheduled_for": "2026-03-01T12:00:00Z",
    "started_at": "2026-03-01T12:00:05Z",
    "updated_at": "2026-03-01T12:00:08Z",
    "ended_at": "2026-03-01T12:00:08Z",
    "prefect": {
        "state_id": "0b9a3c3e-54c0-4b37-8b1c-6f3a3f3a9a11",
        "type": "COMPLETED",
        "name": "Completed",
        "timestamp": "2026-03-01T12:00:08Z",
        "deployment_id": "5f0e9a35-0f0b-4d46-9a52-6a6f5f8f7f10",
        "deployment": "refresh-materialized-view/narrative",
    },
    "version": 4,
    "token": 1,
    "queue_seconds": 5.0,
    "run_seconds": 3.0,
}
"""A job's record, as an example."""
_MOVE = {
    "job_id": EXAMPLE["job_id"],
    "number": 2,
    "from_state": "pending",
    "to_state": "running",
    "move": "normal",
    "at": "2026-03-01T12:00:05Z",
    "cause": "hook",
    "attempt": 1,
}


def _answer(
    model: type[BaseModel], description: str, example: Mapping[str, Any], headers: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    content = {"application/json": {"example": example}}
    return {"model": model, "description": description, "content": content, "headers": dict(headers or {})}


def _refusal(error: NarrativeError) -> dict[str, Any]:
    description = (type(error).__doc__ or "").splitlines()[0]
    return _answer(Refusal, description, {"error": shown(error)})


_REFUSALS: Mapping[int | str, dict[str, Any]] = {
    401: _refusal(UnauthorizedError("The request has no Authorization header.")),
    422: _refusal(InvalidParameterError("limit = '501': input should be less than or equal to 500.")),
    503: _refusal(TableUnavailableError()),
}
_OF_ONE_JOB = {404: _refusal(no_such_job(EXAMPLE["job_id"])), **_REFUSALS}
_STALE = {
    STALE_HEADER: {
        "description": "`true` where the answer may be old, because Prefect could not be asked; else absent.",
        "schema": {"type": "string", "enum": ["true"]},
    }
}
_ENDED = {
    ENDED_HEADER: {
        "description": "Whether the job is at rest and nobody is about to try it again by itself.",
        "schema": {"type": "string", "enum": ["true", "false"]},
    }
}
ANSWERS: Mapping[str, dict[int | str, dict[str, Any]]] = {
    "list_jobs": {200: _answer(JobList, "A page of jobs.", {"jobs": [EXAMPLE], "cursor": None}, _STALE), **_REFUSALS},
    "show_job": {200: _answer(JobRecord, "The job's record.", EXAMPLE, {**_ENDED, **_STALE}), **_OF_ONE_JOB},
    "show_events": {200: _answer(JobMoves, "The job's moves.", {"events": [_MOVE]}, _STALE), **_OF_ONE_JOB},
    "show_health": {
        200: _answer(Health, "The job table answers.", {"table": "ok", "last_sweep_seconds": 0.8, "pid": 4711}),
        503: _answer(
            Health, "The job table does not answer.", {"table": "unavailable", "last_sweep_seconds": 95.2, "pid": 4711}
        ),
        422: _REFUSALS[422],
    },
}
"""What each operation answers, by status."""


def describe(app: FastAPI, *, needs_token: bool) -> dict[str, Any]:
    """Return the OpenAPI document of the app; the fields' descriptions are the docstrings below them."""
    document = get_openapi(
        title=app.title, version=app.version, openapi_version="3.1.0", description=app.description, routes=app.routes
    )
    models = {**vars(record), **globals()}
    for name, schema in document["components"]["schemas"].items():
        for field, description in docstrings_of(models.get(name)).items():
            schema["properties"][field].setdefault("description", description)
    for operations in document["paths"].values():
        for status, answer in ANSWERS[operations["get"]["operationId"]].items():
            content = operations["get"]["responses"][str(status)]["content"]["application/json"]
            content["example"] = answer["content"]["application/json"]["example"]  # FastAPI left out what is null
    if needs_token:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path, operations in document["paths"].items():
            if path != HEALTH_PATH:
                operations["get"]["security"] = [{"token": []}]
    return document


def docstrings_of(model: Any) -> dict[str, str]:
    """Return the docstrings that stand below a model's fields, those of its bases included, in JSON's words.

    They are read from the source, as pydantic would too; but only here, where they are wanted, and not in each process
    that imports the records.
    """
    found: dict[str, str] = {}
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return found
    for one in reversed(model.__mro__):
        if one.__module__ in {record.__name__, __name__}:
            body = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0]
            for field, below in pairwise(body.body if isinstance(body, ast.ClassDef) else ()):
                match field, below:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                        found[name] = re.sub(r"\bNone\b", "null", inspect.cleandoc(text))
    return found
