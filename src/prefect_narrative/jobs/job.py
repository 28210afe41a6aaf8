"""`@job`: makes a typed function a job type, which is a Prefect flow that keeps its row in the job table."""

import inspect
import logging
import os
import re
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial, wraps
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, ClassVar, ParamSpec, TypeVar, cast, get_type_hints
from uuid import UUID

from prefect import Flow, flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.objects import FlowRun, FlowRunPolicy
from prefect.context import FlowRunContext
from prefect.utilities.timeout import timeout
from pydantic import BaseModel, Field

from prefect_narrative.errors import FailureKind, NarrativeError, SupersededError
from prefect_narrative.jobs.context import JobContext
from prefect_narrative.jobs.hooks import HOOKS, here
from prefect_narrative.jobs.leaving import leave
from prefect_narrative.jobs.orphans import outlive_readers
from prefect_narrative.jobs.pricing import Pricing
from prefect_narrative.jobs.record import Executor, Progress
from prefect_narrative.jobs.retries import MAX_RETRIES, backoff

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R", bound=BaseModel)
T = TypeVar("T")

LEAVE_SECONDS = 2.0
"""How long an attempt that has to leave waits for its end."""
JOB_TYPE_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


class JobTimeoutError(NarrativeError, TimeoutError):
    """The job ran longer than it may."""

    kind: ClassVar[FailureKind] = FailureKind.RESOURCE
    code: ClassVar[str] = "timed_out"
    remedy = "Give the run a higher timeout_seconds, or less to do."


class InvalidJobTypeError(NarrativeError, TypeError):
    """A function can't be made a job type."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "invalid_job_type"
    remedy = "Give it a type like `import-weather`, annotate each parameter, and return a pydantic model."


@dataclass(frozen=True)
class JobType:
    """What is known of a job type beside its flow."""

    name: str
    result: type[BaseModel]
    timeout: timedelta
    dataset_parameter: str | None
    """The input that names the dataset written or described."""
    label: str
    """Run name, a format string over the inputs."""


JOB_TYPES: dict[str, JobType] = {}
"""The job types whose modules this process has imported, by name."""

_TIMEOUT_NOTE = "Longest time that the run may take, in seconds; empty: {default} seconds."
_RETRIES_NOTE = "How often a failure that may end otherwise next time is tried again; empty: 2 times."
_LIMITS = (
    inspect.Parameter(
        "timeout_seconds",
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[int | None, Field(gt=0, le=30 * 24 * 3600)],
    ),
    inspect.Parameter(
        "max_retries",
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[int | None, Field(ge=0, le=20)],
    ),
)


def job(
    *,
    type: str,
    label: str | None = None,
    dataset: str | None = None,
    timeout: timedelta = timedelta(hours=1),
) -> Callable[[Callable[P, R]], Flow[P, R]]:
    """Make a function a job type.

    The function's parameters are the job's inputs: their annotations become the form in Prefect's UI and the check of
    what callers send. What it returns, a pydantic model, is the job's result. Inside it, `current_job()` gives the
    attempt's context. Each job type also takes `timeout_seconds` and `max_retries`, so that a deployment or a run may
    set other values than the type's.

    Args:
        type: The job type's name, such as `create-dataset`; also the flow's name.
        label: The run's name as a format string over the inputs, such as `create {name}`. None: the type alone.
        dataset: The parameter that names the dataset which the job writes or describes, if one does.
        timeout: Longest time that a run may take by default.

    Returns:
        A decorator whose result is a Prefect flow.

    Raises:
        InvalidJobTypeError: the type's name, a parameter or the return annotation is not as it must be.
    """

    def decorate(function: Callable[P, R]) -> Flow[P, R]:
        known = _job_type(function, type, label, dataset, timeout)
        body = _body(function, known)
        made: Flow[P, R] = flow(  # type: ignore[call-overload]
            name=known.name,
            flow_run_name=partial(_run_name, known),
            validate_parameters=True,
            persist_result=False,
            log_prints=False,
            **{moment: list(hooks) for moment, hooks in HOOKS.items()},
        )(body)
        JOB_TYPES[known.name] = known
        return made

    return decorate


def step(*, name: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Make a function a part of a job that operators see: a Prefect task whose result is neither cached nor stored.

    Args:
        name: What it does, as a verb.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        return cast("Callable[P, T]", task(name=name, cache_policy=NO_CACHE, persist_result=False)(function))

    return decorate


def _job_type(
    function: Callable[..., Any], name: str, label: str | None, dataset: str | None, longest: timedelta
) -> JobType:
    if not JOB_TYPE_NAME.fullmatch(name):
        raise InvalidJobTypeError(f"{name!r} is no name for a job type: small letters, digits and hyphens.")
    if inspect.iscoroutinefunction(function):
        raise InvalidJobTypeError(
            f"{function.__name__} is async: a job's body is a plain function, so that its query can be interrupted.",
            remedy="Write it with def; run what is async inside it with asyncio.run.",
        )
    hints = get_type_hints(function, include_extras=True)
    result = hints.get("return")
    if not (inspect.isclass(result) and issubclass(result, BaseModel)):
        raise InvalidJobTypeError(f"{function.__name__} returns {result!r}, not a pydantic model.")
    parameters = inspect.signature(function).parameters
    for parameter in parameters.values():
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY}:
            raise InvalidJobTypeError(f"{function.__name__} takes {parameter}: inputs are named one by one.")
        if parameter.name not in hints:
            raise InvalidJobTypeError(f"{function.__name__} does not say the type of {parameter.name!r}.")
        if parameter.name in {limit.name for limit in _LIMITS}:
            raise InvalidJobTypeError(f"{parameter.name!r} is an input that every job type has; choose another name.")
    if dataset is not None and dataset not in parameters:
        raise InvalidJobTypeError(f"{function.__name__} has no parameter {dataset!r} to take the dataset's name from.")
    try:
        (label or name).format(**dict.fromkeys([*parameters, *(limit.name for limit in _LIMITS)], ""))
    except (LookupError, ValueError, AttributeError) as exc:
        raise InvalidJobTypeError(
            f"The label {label!r} is no format string over the inputs of {function.__name__}: {exc!r}.",
            remedy=f"Use inputs as they are, such as {{{next(iter(parameters), 'name')}}}; write a brace twice.",
        ) from exc
    return JobType(name=name, result=result, timeout=longest, dataset_parameter=dataset, label=label or name)


def _body(function: Callable[..., Any], known: JobType) -> Callable[..., Any]:
    """Return the function with everything around it that makes it a job."""
    signature = inspect.signature(function)
    hints = get_type_hints(function, include_extras=True)

    @wraps(function)
    def body(*args: Any, **kwargs: Any) -> Any:
        outlive_readers()
        limits = {limit.name: kwargs.pop(limit.name, None) for limit in _LIMITS}
        inputs = signature.bind(*args, **kwargs)
        inputs.apply_defaults()
        with _context(known, inputs.arguments) as context:
            return _attempt(context, known, limits, lambda: function(*inputs.args, **inputs.kwargs))

    parameters = [parameter.replace(annotation=hints[parameter.name]) for parameter in signature.parameters.values()]
    body.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*parameters, *_LIMITS], return_annotation=known.result
    )
    body.__annotations__ = hints | {limit.name: limit.annotation for limit in _LIMITS}
    body.__doc__ = _with_limits(inspect.getdoc(function) or known.name, known)
    return body


def _with_limits(text: str, known: JobType) -> str:
    """Return a docstring that also describes the inputs that every job type has: Prefect's forms are made from it."""
    notes = (
        f"    timeout_seconds: {_TIMEOUT_NOTE.format(default=int(known.timeout.total_seconds()))}\n"
        f"    max_retries: {_RETRIES_NOTE}\n"
    )
    if "\nArgs:\n" in text:
        return text.replace("\nArgs:\n", "\nArgs:\n" + notes, 1)
    return f"{text}\n\nArgs:\n{notes}"


def _run_name(known: JobType, parameters: Mapping[str, Any] | None = None) -> str:
    run = FlowRunContext.get()
    values = parameters or (run.parameters if run else {}) or {}
    return known.label.format(**{name: _short(value) for name, value in values.items()}).strip()


def _short(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _context(known: JobType, inputs: Mapping[str, Any]) -> JobContext:
    run_context = FlowRunContext.get()
    run = run_context.flow_run if run_context else None
    if run is None:
        raise RuntimeError(f"{known.name} was called outside a flow run")
    store, outbox = here()
    dataset = inputs.get(known.dataset_parameter) if known.dataset_parameter else None
    return JobContext(
        run.id,
        store,
        outbox,
        attempt_hint=max(1, run.run_count),
        executor=Executor(
            host=socket.gethostname(),
            pid=os.getpid(),
            worker=os.environ.get("PREFECT__WORKER_NAME"),
            pool=run.work_pool_name,
            queue=run.work_queue_name,
        ),
        dataset=dataset if isinstance(dataset, str) else None,
        data_plane=plane if isinstance(plane := inputs.get("data_plane"), str) else None,
        code_version=_code_version(),
        show=_ProgressArtifact(run).show,
        leave=leave,
        price=Pricing(known.name).cost,
    )


def _code_version() -> str | None:
    try:
        return version("prefect-narrative")
    except PackageNotFoundError:
        return None


def _attempt(
    context: JobContext, known: JobType, limits: Mapping[str, int | None], call: Callable[[], BaseModel]
) -> BaseModel:
    """Run the body once, within its time, and keep its result or why it failed."""
    seconds = limits["timeout_seconds"] or known.timeout.total_seconds()
    retries = _Retries(context.job_id, MAX_RETRIES if limits["max_retries"] is None else limits["max_retries"])
    retries.settle()
    try:
        with timeout(seconds, timeout_exc_type=_OutOfTime):
            result = call()
        if not isinstance(result, known.result):
            raise InvalidJobTypeError(f"{known.name} returned {type(result).__name__}, not {known.result.__name__}.")
        context.keep_result(result.model_dump(mode="json"))
    except _OutOfTime as exc:
        late = JobTimeoutError(
            f"{known.name} ran for more than {seconds:g} seconds, the longest that this run may take."
        )
        context.keep_failure(late)
        raise late from exc
    except SupersededError as exc:
        # Prefect's run is another attempt's now, or cancelled: what became of this one is nobody's news.
        leave(str(exc))
        time.sleep(LEAVE_SECONDS)  # the signal ends it; where it can't, the attempt fails as any other
        context.keep_failure(exc)
        raise
    except Exception as exc:
        failure = context.keep_failure(exc)
        if failure.retryable:
            retries.allow_one()
        raise
    return result


class _OutOfTime(TimeoutError):  # noqa: N818  an inner signal, translated at once
    """Prefect's timer rang."""


class _Retries:
    """Prefect's retries, steered by what failed: the engine tries again only after a failure that allows it.

    Prefect retries a failed flow while the run's policy says so, whatever failed. So the policy says no, and is opened
    for one more attempt at each failure that may end otherwise. An operator's Retry starts a new process, and with it
    the count anew.
    """

    _used: ClassVar[dict[UUID, int]] = {}

    def __init__(self, job_id: UUID, most: int) -> None:
        self._job_id = job_id
        self._most = most

    def settle(self) -> None:
        """Close the policy again when this attempt is a retry of ours: a forced state must not be retried."""
        if self._used.get(self._job_id):
            self._set(FlowRunPolicy(retries=0, retry_delay=0))

    def allow_one(self) -> None:
        """Open the policy for one more attempt, if there is one left."""
        used = self._used.get(self._job_id, 0)
        if used >= self._most:
            return
        self._used[self._job_id] = used + 1
        delay = backoff(used)
        # Prefect compares with the count of all runs so far, an operator's retries included: the bound is ours.
        self._set(FlowRunPolicy(retries=1_000_000, retry_delay=int(delay.total_seconds())))

    def _set(self, policy: FlowRunPolicy) -> None:
        try:
            with get_client(sync_client=True) as client:
                client.update_flow_run(self._job_id, empirical_policy=policy)
        except Exception as exc:
            logger.warning("Prefect was not told whether to retry %s: %s", self._job_id, exc)


class _ProgressArtifact:
    """The bar that Prefect's UI shows on a run that takes long."""

    def __init__(self, run: FlowRun) -> None:
        self._run = run
        self._artifact_id: UUID | None = None

    def show(self, progress: Progress) -> None:
        """Create the artifact, or bring it up to date."""
        percent = round(100 * (progress.fraction or 0.0), 1)
        with get_client(sync_client=True) as client:
            if self._artifact_id is None:
                made = client.create_artifact(
                    ArtifactCreate(
                        type="progress",
                        description=progress.message,
                        data=percent,
                        flow_run_id=self._run.id,
                    )
                )
                self._artifact_id = made.id
            else:
                client.update_artifact(
                    self._artifact_id,
                    ArtifactUpdate(description=progress.message, data=percent),
                )
