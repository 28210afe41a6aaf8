"""An operation to come: whether it could be asked for, what is known of jobs like it, and how large its sources are."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from prefect.client.orchestration import get_client
from prefect.utilities.schema_tools.validation import validate
from pydantic import BaseModel, Field

from prefect_narrative.costs import Quantities
from prefect_narrative.costs.estimating import History
from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.jobs.charging import quantities_of
from prefect_narrative.jobs.prefect_runs import PrefectRuns
from prefect_narrative.jobs.record import Job, JobFilter, Usage
from prefect_narrative.jobs.states import JobState
from prefect_narrative.jobs.store import MAX_PAGE, JobReader
from prefect_narrative.planes.errors import nearest
from prefect_narrative.planes.importing import find_files
from prefect_narrative.planes.plane import Plane
from prefect_narrative.settings import Settings
from prefect_narrative.views.definition import source_names

SUBJECTS = ("dataset", "view", "name", "query", "source", "model", "into")
"""Inputs that say what an operation is about."""
LIMITS = ("timeout_seconds", "max_retries")
"""Inputs that change nothing of what an operation takes."""
MOST_JOBS = 20
"""So many of the newest jobs an estimate is made by."""


class UnknownOperationError(NarrativeError, LookupError):
    """No deployment makes jobs of that type."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "job_type_not_found"
    remedy = "Give the type of a deployed job, such as create-dataset; `narrative deploy` deploys ours."


class RefusedOperationError(NarrativeError, ValueError):
    """The operation's input breaks a rule of its type, so that it could not be asked for."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "refused_input"
    remedy = "Correct operation.input; the deployment's form in Prefect's UI shows what it takes."


class Operation(BaseModel, extra="forbid"):
    """A job that nobody has asked for yet."""

    type: str = Field(min_length=1, max_length=100, description="The job type.", examples=["refresh-materialized-view"])
    input: dict[str, Any] = Field(default_factory=dict, description="Its input, as it would be submitted.")


class SourceSize(BaseModel):
    """What an operation or a job reads."""

    source: str
    """A dataset, or the files that an import names."""
    rows: int | None
    """None: not known without reading."""
    bytes: int | None
    """Stored bytes, from metadata; None: not known."""


@dataclass(frozen=True)
class Defaults:
    """What the inputs of a type are where nobody says anything."""

    values: Mapping[str, Any]

    def told(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return what inputs say beyond the defaults."""
        return {
            name: value
            for name, value in given.items()
            if name not in LIMITS and not (name in self.values and self.values[name] == value)
        }


def check_operation(operation: Operation) -> Defaults:
    """Return the defaults of the operation's type.

    Raises:
        UnknownOperationError: no deployment makes such jobs, with the nearest names.
        RefusedOperationError: its input breaks a rule of the type.
    """
    with get_client(sync_client=True) as client:
        types = {name.rpartition("/")[0]: one for one, name in PrefectRuns(client).deployments().items()}
        if operation.type not in types:
            near = nearest(operation.type, types) or f" There are: {', '.join(sorted(types)) or 'none'}."
            raise UnknownOperationError(f"No deployment makes jobs of the type {operation.type!r}.{near}")
        deployment = client.read_deployment(types[operation.type])
    schema = deployment.parameter_openapi_schema or {}
    errors = validate({**deployment.parameters, **operation.input}, schema)
    if errors:
        told = "; ".join(
            f"{'.'.join(map(str, error.relative_path)) or operation.type}: {error.message[:200]}"
            for error in errors[:5]
        )
        raise RefusedOperationError(f"The operation would be refused: {told}.")
    properties = schema.get("properties", {})
    return Defaults(
        {name: one["default"] for name, one in properties.items() if "default" in one} | deployment.parameters
    )


def history_of(operation: Operation, defaults: Defaults, store: JobReader) -> History:
    """Return what the newest completed jobs like an operation took."""
    of_type = JobFilter(type=operation.type, state=frozenset({JobState.COMPLETED}))
    jobs = [job for job in store.page(of_type, limit=MAX_PAGE).jobs if job.usage.cpu_seconds is not None]
    wanted = defaults.told(operation.input)
    subject = _subject(wanted)
    told = [(job, defaults.told(job.input)) for job in jobs]
    return History(
        same_input=_taken(job for job, one in told if one == wanted),
        same_subject=_taken(job for job, one in told if subject and _subject(one) == subject),
        same_type=_taken(job for job, _ in told),
    )


def sources_of(operation: Operation, open_plane: Callable[[], Plane]) -> list[SourceSize]:
    """Return what an operation would read, from metadata: nothing where its input does not tell.

    Args:
        operation: The operation.
        open_plane: Opens the plane that it would work on; called where it is needed.

    Raises:
        DatasetNotFoundError: it names a dataset or view that does not exist, with the nearest names.
        QueryRefusedError: its query is not allowed.
        ImportRefusedError: its files can't be read.
    """
    given = operation.input
    if operation.type == "create-dataset":
        files = find_files(str(given["source"]), Settings().allowed_import_roots)
        return [SourceSize(source=str(given["source"]), rows=None, bytes=sum(file.bytes for file in files))]
    names: Iterable[str]
    if isinstance(query := given.get("query"), str):
        plane = open_plane()
        names = plane.check(query, deltas=given.get("write_mode") == "append").sources
    elif isinstance(view := given.get("view"), str):
        plane = open_plane()
        names = source_names(plane.dataset(view).properties)
    elif isinstance(dataset := given.get("dataset"), str):
        plane, names = open_plane(), (dataset,)
    else:
        return []
    found = [plane.dataset(name) for name in names]
    return [SourceSize(source=one.name, rows=one.rows, bytes=one.bytes) for one in found]


def is_measured(usage: Usage) -> bool:
    """Return whether anything is known of what a job has used that costs something."""
    return bool(quantities_of("", usage).parts())


def _subject(given: Mapping[str, Any]) -> dict[str, Any]:
    names = (*SUBJECTS, "data_plane")
    found = {name: given[name] for name in names if name in given}
    return found if found.keys() - {"data_plane"} else {}


def _taken(jobs: Iterable[Job]) -> list[Quantities]:
    return [quantities_of(job.type, job.usage) for job in jobs][:MOST_JOBS]
