"""`calculate-costs`: what an operation would cost, what a job has cost, or what the jobs of a period have cost."""

from datetime import UTC, datetime
from typing import Annotated, ClassVar, Literal
from uuid import UUID

from prefect_narrative.blocks import load_plane
from prefect_narrative.flows.inputs import PlaneName
from prefect_narrative.flows.operations import (
    Operation,
    SourceSize,
    check_operation,
    history_of,
    is_measured,
    sources_of,
)
from prefect_narrative.flows.period import parse_period
from pydantic import BaseModel, Field

from prefect_narrative.costs import Cost, Item, Line, cost_of
from prefect_narrative.costs.estimating import Method, estimate
from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.jobs.charging import quantities_of
from prefect_narrative.jobs.context import current_job
from prefect_narrative.jobs.hooks import here
from prefect_narrative.jobs.job import job, step
from prefect_narrative.jobs.pricing import read_prices
from prefect_narrative.jobs.record import JobId
from prefect_narrative.jobs.spending import GroupBy
from prefect_narrative.jobs.states import JobState
from prefect_narrative.jobs.store import UnknownJobError

MOST_GROUPS = 200
"""Groups that a result names; the cheaper ones are told as one."""

Moment = Annotated[str, Field(min_length=1, max_length=60, examples=["P7D", "2026-03-01", "2026-03-01T12:00:00Z"])]


class CostQuestionError(NarrativeError, ValueError):
    """Costs are of an operation, of a job, or of a period: of one of the three."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "cost_question"
    remedy = "Give one of the three: operation={type, input}, job_id=ID, or since=TIME (with until and group_by)."


class JobNotEndedError(NarrativeError, ValueError):
    """A job has its cost when it has ended."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "job_not_ended"
    remedy = "Wait for its end with `narrative jobs wait ID`; or give its type and input as an operation."


class OperationEstimate(BaseModel):
    """How an operation's cost was estimated."""

    type: str
    method: Method
    jobs: int
    """How many jobs it was estimated by: the newest that completed, 20 at most."""
    lowest_micro_cents_usd: int | None
    """The cheapest of these jobs, at the prices of now."""
    highest_micro_cents_usd: int | None
    """The dearest."""
    unknown: list[Item]
    """What it will use of which nothing is known: it comes on top."""


class JobCost(BaseModel):
    """How a job's cost is known."""

    job_id: UUID
    type: str
    state: JobState
    attempts: int
    known_by: Literal["record", "usage", "never_started"] | None
    """record: each attempt's cost was recorded, at the prices of its time. usage: only what was used is recorded, and
    the prices are those of now. None: nothing was recorded, since its process was killed or the job is an old one."""


class GroupCost(BaseModel):
    """What the jobs of one group have cost."""

    group: str | None
    """None: they have no dataset, or no tags."""
    jobs: int
    unpriced: int
    """Jobs that started and have no known cost: they are not in the sum."""
    cost_micro_cents_usd: int
    breakdown: list[Line]


class PeriodCost(BaseModel):
    """The jobs that ended in a period."""

    since: datetime
    until: datetime
    """The first moment after it."""
    group_by: GroupBy
    jobs: int
    unpriced: int
    """Jobs that started and have no known cost: they are not in the sum."""
    groups: list[GroupCost]
    """The dearest first; each job is in exactly one."""


class CostsCalculated(BaseModel):
    """What something costs; one of the three says of what, and how it is known."""

    cost_micro_cents_usd: int | None
    """In 1/100,000,000 of a US dollar: the sum of the lines, and of a period's groups. None: it is not known."""
    breakdown: list[Line]
    sources: list[SourceSize]
    """What the operation or the job reads."""
    operation: OperationEstimate | None = None
    job: JobCost | None = None
    period: PeriodCost | None = None


@job(type="calculate-costs", label="costs of {job_id}{since}")
def calculate_costs(
    operation: Operation | None = None,
    job_id: UUID | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    group_by: Literal["type", "dataset", "requester", "tag"] | None = None,
    data_plane: PlaneName = "default",
) -> CostsCalculated:
    """Say what an operation would cost, what a job has cost, or what the jobs of a period have cost.

    Args:
        operation: A job to come, by its type and its input.
        job_id: A job that has ended.
        since: The beginning of a period, of whose jobs those count that ended in it. ISO 8601, in UTC where it names no
            zone; a duration such as P7D means so far back.
        until: The end of the period; empty: now.
        group_by: What the period's jobs are grouped by; empty: their types.
        data_plane: The data plane that the operation would work on, where its input does not say another.
    """
    given = {"operation": operation, "job_id": job_id, "since": since}
    named = [name for name, value in given.items() if value is not None]
    strays = [name for name, value in {"until": until, "group_by": group_by}.items() if value is not None]
    if len(named) != 1 or (strays and since is None):
        raise CostQuestionError(f"Given was {' and '.join([*named, *strays]) or 'nothing'}.")
    if operation is not None:
        return operation_cost(operation, data_plane)
    if job_id is not None:
        return job_cost(job_id)
    return period_cost(str(since), until, GroupBy(group_by or GroupBy.TYPE))


@step(name="estimate")
def operation_cost(operation: Operation, data_plane: str) -> CostsCalculated:
    """Estimate what an operation would cost, without running anything of it."""
    context = current_job()
    defaults = check_operation(operation)
    context.progress("looking at its sources", start=0.2, until=0.6)
    plane_name = str(operation.input.get("data_plane", data_plane))
    sources = sources_of(operation, lambda: context.use(load_plane(plane_name)))
    context.progress("looking at jobs like it", start=0.6)
    history = history_of(operation, defaults, here()[0])
    sizes = [one.bytes for one in sources if one.bytes is not None]
    found = estimate(history, sum(sizes) if sources else None, read_prices())
    context.describe(sources=[one.source for one in sources if one.rows is not None])
    return _told(
        found.cost,
        sources,
        operation=OperationEstimate(
            type=operation.type,
            method=found.method,
            jobs=found.jobs,
            lowest_micro_cents_usd=found.lowest,
            highest_micro_cents_usd=found.highest,
            unknown=list(found.unknown),
        ),
    )


@step(name="look up")
def job_cost(job_id: UUID) -> CostsCalculated:
    """Say what a job has cost that has ended."""
    store = here()[0]
    found = store.get(JobId(job_id))
    if found is None:
        raise UnknownJobError(f"There is no job {job_id}.")
    if not found.state.terminal:
        raise JobNotEndedError(f"Job {job_id} is {found.state}: what it takes is not known before its end.")
    known_by: Literal["record", "usage", "never_started"] | None = None
    cost = store.cost(JobId(job_id))
    if cost is not None:
        known_by = "record"
    elif is_measured(found.usage):
        known_by, cost = "usage", cost_of(quantities_of(found.type, found.usage), read_prices())
    elif found.started_at is None:
        known_by, cost = "never_started", Cost.of(())
    sources = [SourceSize(source=name, rows=None, bytes=None) for name in found.sources]
    told = JobCost(job_id=job_id, type=found.type, state=found.state, attempts=found.attempt, known_by=known_by)
    return _told(cost, sources, job=told)


@step(name="add up")
def period_cost(since: str, until: str | None, by: GroupBy) -> CostsCalculated:
    """Add up what the jobs have cost that ended in a period."""
    first, end = parse_period(since, until, datetime.now(UTC))
    spending = here()[0].spending(first, end, by).limited(MOST_GROUPS)
    period = PeriodCost(
        since=first,
        until=end,
        group_by=by,
        jobs=spending.jobs,
        unpriced=spending.unpriced,
        groups=[
            GroupCost(
                group=one.group,
                jobs=one.jobs,
                unpriced=one.unpriced,
                cost_micro_cents_usd=one.cost.cost_micro_cents_usd,
                breakdown=list(one.cost.breakdown),
            )
            for one in spending.groups
        ],
    )
    return _told(spending.cost, [], period=period)


def _told(
    cost: Cost | None,
    sources: list[SourceSize],
    *,
    operation: OperationEstimate | None = None,
    job: JobCost | None = None,
    period: PeriodCost | None = None,
) -> CostsCalculated:
    return CostsCalculated(
        cost_micro_cents_usd=None if cost is None else cost.cost_micro_cents_usd,
        breakdown=[] if cost is None else list(cost.breakdown),
        sources=sources,
        operation=operation,
        job=job,
        period=period,
    )
