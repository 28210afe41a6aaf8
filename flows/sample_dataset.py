"""`sample-dataset`: keep some rows of a dataset, a view or a query to look at."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from prefect_narrative.blocks import load_plane
from prefect_narrative.flows.artifacts import shown_if_possible
from prefect_narrative.flows.inputs import Columns, DatasetName, PlaneName, Query
from prefect_narrative.flows.query_runs import tie_forecast
from prefect_narrative.flows.sample_artifact import show_sample
from pydantic import BaseModel, Field

from prefect_narrative.jobs.context import current_job
from prefect_narrative.jobs.job import job, step
from prefect_narrative.planes.plane import Plane, Published
from prefect_narrative.samples.sample import MAX_ROWS, Sample
from prefect_narrative.samples.showing import shown
from prefect_narrative.samples.taking import Request, take


class DatasetSampled(BaseModel):
    """What `sample-dataset` has kept; the rows lie in the sample store."""

    dataset: str | None
    """None: the sample is of a query."""
    snapshot_id: int
    """The snapshot that was read."""
    rows: int
    method: Literal["random", "first"]
    seed: int | None
    """Of random rows: by which the same are found again in the same snapshot."""
    sample: str
    """The name by which `narrative samples show` shows it: the dataset's, or one that follows from the query."""
    of_rows: int | None
    """How many rows there were; None where that was not counted."""
    columns: list[str]
    redacted: list[str]
    """Columns whose values are sensitive, and not shown."""
    shortened: int
    """Values that were too long, of which the beginning is kept."""


@job(type="sample-dataset", label="sample {dataset}{query}", dataset="dataset")
def sample_dataset(
    dataset: DatasetName | None = None,
    query: Query | None = None,
    rows: Annotated[int, Field(ge=1, le=MAX_ROWS)] = 100,
    method: Literal["random", "first"] = "random",
    seed: Annotated[int, Field(ge=0, lt=2**53)] | None = None,
    columns: Columns | None = None,
    as_of: Annotated[int, Field(ge=0)] | None = None,
    data_plane: PlaneName = "default",
) -> DatasetSampled:
    """Keep some rows of a dataset, a view or a query to look at; sensitive columns come out redacted.

    Args:
        dataset: The dataset or view to sample; or give a query.
        query: One SELECT over datasets by their names, in DuckDB's dialect, to sample the rows of.
        rows: How many rows, 1 to 1,000; all of them where there are no more.
        method: random takes each set of so many rows with the same chance; first takes those that come first.
        seed: Of random rows: the same seed takes the same rows of the same snapshot; empty: any.
        columns: Only these columns, in this order; empty: all.
        as_of: The snapshot to read; empty: the newest.
        data_plane: The data plane to read.
    """
    context = current_job()
    plane = context.use(load_plane(data_plane))
    published = plane.published(context.job_id)
    if published is None:
        context.progress("sampling", until=0.8)
        if query is not None and as_of is None:
            tie_forecast(query, data_plane)
        wanted = Request(dataset, query, rows, method, seed, columns, as_of)
        sample = take_sample(plane, wanted)
        context.progress("publishing", start=0.8, until=0.9)
        published = keep_sample(plane, sample)
    done = DatasetSampled.model_validate(published.result)
    context.progress("showing", start=0.9)
    show(plane, done.sample, data_plane)
    return done


@step(name="sample")
def take_sample(plane: Plane, wanted: Request) -> Sample:
    """Read the rows at one snapshot."""
    return take(plane, current_job().job_id, wanted, datetime.now(UTC))


@step(name="keep")
def keep_sample(plane: Plane, sample: Sample) -> Published:
    """Put the sample in the place of the one that was there, in one transaction with the job's result."""
    context = current_job()
    head = sample.head
    result = DatasetSampled(
        dataset=head.dataset,
        snapshot_id=head.snapshot_id,
        rows=head.rows,
        method=head.method,
        seed=head.seed,
        sample=head.name,
        of_rows=head.of_rows,
        columns=[column.name for column in head.columns],
        redacted=list(head.redacted),
        shortened=head.shortened,
    )
    return plane.publish(context.job_id, context.token, [], result.model_dump(mode="json"), keep=[sample.as_kept()])


@step(name="show")
def show(plane: Plane, name: str, data_plane: str) -> None:
    """Show the kept sample as a table in Prefect; it is kept all the same where that does not work."""
    context = current_job()
    kept = next((one for one in plane.samples() if one.name == name), None)
    if kept is None or kept.head.get("job_id") != str(context.job_id):
        return  # deleted, or another job's by now

    def show_it() -> None:
        show_sample(shown(plane, plane.kept_sample(name)), data_plane, context.job_id)

    shown_if_possible(f"The sample {name}", show_it)
