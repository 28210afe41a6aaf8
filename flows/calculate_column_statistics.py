"""`calculate-column-statistics`: measure a dataset's columns, and keep what was found."""

from datetime import UTC, datetime
from typing import Annotated

from prefect_narrative.blocks import load_plane
from prefect_narrative.flows.artifacts import shown_if_possible
from prefect_narrative.flows.inputs import ColumnName, DatasetName, PlaneName
from prefect_narrative.flows.statistics_artifact import show_profile
from pydantic import BaseModel, Field

from prefect_narrative.jobs.context import current_job
from prefect_narrative.jobs.job import job, step
from prefect_narrative.planes.column_statistics import Statistic
from prefect_narrative.planes.plane import Plane, Published
from prefect_narrative.profiles.calculating import Request, calculate
from prefect_narrative.profiles.dataset_profile import DEFAULT_HISTOGRAM, HistogramInput, Statistics
from prefect_narrative.profiles.quality import flags
from prefect_narrative.profiles.reading import profile


class ColumnSummary(BaseModel):
    """How a column is, in figures; the statistics themselves lie in the statistics store."""

    column: str
    type: str
    value_count: int | None = None
    """Values that are not NULL. None: it was not asked for; so below."""
    null_value_count: int | None = None
    completeness: float | None = None
    count_distinct: int | None = None
    column_stored_bytes: int | None = None
    flags: list[str] = []
    """What is remarkable: empty, many nulls, NaN, constant, unique, skewed."""
    redacted: bool = False
    """Whether its values are sensitive, so that nothing was calculated from which one could be told."""


class ColumnsMeasured(BaseModel):
    """What `calculate-column-statistics` has kept; the values lie in the statistics store."""

    dataset: str
    snapshot_id: int
    """The snapshot that was read."""
    rows: int
    statistics: list[Statistic]
    """Those that were asked for; of each column its type has some."""
    columns: list[ColumnSummary]


@job(type="calculate-column-statistics", label="measure columns of {dataset}", dataset="dataset")
def calculate_column_statistics(
    dataset: DatasetName,
    columns: Annotated[list[ColumnName], Field(min_length=1, max_length=2000, examples=[["city", "amount"]])]
    | None = None,
    statistics: Annotated[list[Statistic], Field(min_length=1, max_length=12, examples=[["mean", "histogram"]])]
    | None = None,
    histogram: HistogramInput = DEFAULT_HISTOGRAM,
    as_of: Annotated[int, Field(ge=0)] | None = None,
    data_plane: PlaneName = "default",
) -> ColumnsMeasured:
    """Measure a dataset's columns in one snapshot; look at the outcome with `narrative profile`.

    Args:
        dataset: The dataset or view.
        columns: Only these; empty: all.
        statistics: Only these of the twelve; empty: all that each column's type has.
        histogram: max_bins is the most bins of a histogram; overflow says whether values in no bin are counted.
        as_of: The snapshot to read; empty: the newest.
        data_plane: The data plane that the dataset lives in.
    """
    context = current_job()
    plane = context.use(load_plane(data_plane))
    published = plane.published(context.job_id)
    if published is None:
        measured = measure(plane, Request(dataset, columns, statistics, histogram, as_of))
        context.progress("publishing", start=0.9)
        published = keep(plane, measured)
    done = ColumnsMeasured.model_validate(published.result)
    context.progress("showing", start=0.95)
    show(plane, done, data_plane)
    return done


@step(name="measure")
def measure(plane: Plane, wanted: Request) -> Statistics:
    """Read the columns at one snapshot."""
    context = current_job()

    def tell(what: str, start: float, until: float) -> None:
        context.progress(what, start=0.9 * start, until=0.9 * until)

    return calculate(plane, context.job_id, wanted, datetime.now(UTC), tell)


@step(name="keep")
def keep(plane: Plane, measured: Statistics) -> Published:
    """Put the statistics beside those of other snapshots, in one transaction with the job's result."""
    context = current_job()
    head = measured.head
    result = ColumnsMeasured(
        dataset=head.dataset,
        snapshot_id=head.snapshot_id,
        rows=head.rows,
        statistics=list(head.statistics),
        columns=[
            ColumnSummary(
                column=column.name,
                type=column.type,
                flags=list(flags(column.statistics, head.rows)),
                redacted=column.redacted,
                **{name: column.statistics[name] for name in _SUMMARISED if name in column.statistics},
            )
            for column in measured.columns
        ],
    )
    return plane.publish(context.job_id, context.token, [], result.model_dump(mode="json"), keep=[measured.as_kept()])


@step(name="show")
def show(plane: Plane, done: ColumnsMeasured, data_plane: str) -> None:
    """Show the profile in Prefect; the statistics are kept all the same where that does not work."""
    context = current_job()

    def show_it() -> None:
        show_profile(profile(plane, done.dataset, done.snapshot_id), data_plane, context.job_id)

    shown_if_possible(f"What was measured of {done.dataset}", show_it)


_SUMMARISED: tuple[Statistic, ...] = (
    "value_count", "null_value_count", "completeness", "count_distinct", "column_stored_bytes",
)  # fmt: skip
