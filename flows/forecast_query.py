"""`forecast-query`: what a query would read, return, take and cost, before it runs."""

import logging
from contextlib import closing
from typing import Annotated

from prefect_narrative.blocks import load_plane
from prefect_narrative.flows.artifacts import shown_if_possible
from prefect_narrative.flows.forecast_artifact import show_forecast
from prefect_narrative.flows.inputs import PlaneName, Query
from prefect_narrative.flows.query_runs import (
    Fingerprints,
    past_runs,
    past_times,
    query_runs,
    settled,
    view_queries,
)
from pydantic import BaseModel, Field

from prefect_narrative.costs import Line, Quantities, cost_of
from prefect_narrative.forecasts.forecast import Forecast, forecast_once
from prefect_narrative.forecasts.history import Pace, learned, pace
from prefect_narrative.jobs.context import current_job
from prefect_narrative.jobs.hooks import here
from prefect_narrative.jobs.job import job, step
from prefect_narrative.jobs.pricing import read_prices
from prefect_narrative.planes.plane import Plane

logger = logging.getLogger(__name__)

AsOf = Annotated[int, Field(ge=0)] | Annotated[str, Field(min_length=1, max_length=40)]


class ForecastSource(BaseModel):
    """What a query would read of a dataset."""

    dataset: str
    table_id: int
    rows: int
    """That would be scanned, of all its scans."""
    bytes: int
    """Of the columns that are needed."""
    files: int
    of_rows: int
    """Rows that it has."""


class SampleTaken(BaseModel):
    """A sample that was taken, or brought up to date, for the forecast."""

    sample: str
    how: str
    rows: int
    seconds: float


class QueryForecast(BaseModel):
    """What is known of a query before it runs."""

    rows: int
    """That would come back."""
    rows_low: int
    """The interval holds the truth in 90 of 100 forecasts; its ends are the same where the rows are certain."""
    rows_high: int
    sampled_rows: float
    """What samples alone tell, without the query's own runs."""
    result_bytes: int | None
    scanned_rows: int
    scanned_bytes: int
    scanned_files: int
    expected_seconds: float | None
    """By the history of like queries; None: there is none."""
    expected_cpu_seconds: float | None
    expected_by: str
    """By which runs seconds and CPU are told."""
    cost_micro_cents_usd: int | None
    """At the prices of now: of what is scanned, and of the CPU where that is known. None: the prices are not known."""
    breakdown: list[Line]
    method: str
    limits: list[str]
    """What is not known."""
    fails: str | None
    """Why the query would fail; None: no reason was seen."""
    exact: bool
    """Whether the rows were counted by running the query."""
    snapshot_id: int
    as_of: int | str | None
    sources: list[ForecastSource]
    samples_taken: list[SampleTaken]
    sample_seconds: float
    """What the samples that were used took when they were taken."""
    forecast_seconds: float
    fingerprint: str


@job(type="forecast-query", label="forecast")
def forecast_query(
    query: Query,
    exact: bool = False,
    as_of: AsOf | None = None,
    data_plane: PlaneName = "default",
) -> QueryForecast:
    """Say what a query would read, return, take and cost, without running it.

    Args:
        query: One SELECT over datasets by their names, in DuckDB's dialect.
        exact: Whether the rows are counted for real, by running the query.
        as_of: The snapshot to read, by its number, or as it was at a time in ISO-8601; empty: the newest.
        data_plane: The data plane to read.
    """
    context = current_job()
    plane = context.use(load_plane(data_plane))
    context.on_end(lambda: plane.discard(context.job_id, context.token))
    context.progress("estimating", until=0.8)
    found = estimate(plane, query, exact, as_of)
    context.describe(sources=found.query.sources)
    context.progress("looking at runs before", start=0.8, until=0.9)
    done = reckon(plane, found, query, as_of, data_plane)
    context.progress("showing", start=0.9)
    show(query, done)
    return done


@step(name="estimate")
def estimate(plane: Plane, query: str, exact: bool, as_of: int | str | None) -> Forecast:
    """Look at metadata and at samples; those that are missing are taken."""
    context = current_job()
    return forecast_once(plane, context.job_id, context.token, query, exact=exact, as_of=as_of)


@step(name="reckon")
def reckon(plane: Plane, found: Forecast, query: str, as_of: int | str | None, data_plane: str) -> QueryForecast:
    """Look at runs of this query and of others, and at the prices."""
    rows, taken, limits, method, known = found.rows, None, list(found.limits), found.method, found.fingerprint
    try:
        store, _ = here()
        with closing(Fingerprints()) as fingerprints:
            known = fingerprints.of(query) or known
            runs = query_runs(store, data_plane, view_queries(plane), fingerprints)
        taken = pace(sum(one.bytes for one in found.scanned), past_times(runs, known))
        if as_of is None and not found.exact and not found.query.volatile and not found.query.random:
            forecasts = settled(store, data_plane, runs)
            past = past_runs(plane, runs, forecasts, known, found.query.sources, found.snapshot_id)
            rows, how = learned(rows, past) if found.fails is None else (rows, None)
            method = method if how is None else f"{how}; before: {method}"
    except Exception as error:  # a forecast is worth something without its history
        logger.warning("The history of queries could not be read: %s", error)
        limits.append("The history of queries could not be read.")
    cost = None
    try:
        quantities = Quantities(
            scan_bytes=sum(one.bytes for one in found.scanned), cpu_seconds=None if taken is None else taken.cpu_seconds
        )
        cost = cost_of(quantities, read_prices())
    except Exception as error:
        limits.append(f"What it costs is not known: {error}")
    if taken is None or taken.cpu_seconds is None:
        limits.append("No query has run yet that tells of seconds and CPU: the cost is of what is scanned alone.")
    width = found.result_bytes.rows / found.rows.rows if found.result_bytes and found.rows.rows else None
    return QueryForecast(
        rows=round(rows.rows),
        rows_low=int(rows.low),
        rows_high=-int(-rows.high // 1),
        sampled_rows=found.rows.rows,
        result_bytes=None if width is None else round(width * rows.rows),
        scanned_rows=sum(one.rows for one in found.scanned),
        scanned_bytes=sum(one.bytes for one in found.scanned),
        scanned_files=sum(one.files for one in found.scanned),
        expected_seconds=None if taken is None else taken.seconds,
        expected_cpu_seconds=None if taken is None else taken.cpu_seconds,
        expected_by=_told(taken),
        cost_micro_cents_usd=None if cost is None else cost.cost_micro_cents_usd,
        breakdown=[] if cost is None else list(cost.breakdown),
        method=method,
        limits=limits,
        fails=found.fails,
        exact=found.exact,
        snapshot_id=found.snapshot_id,
        as_of=as_of,
        sources=[
            ForecastSource(
                dataset=one.dataset,
                table_id=one.table_id,
                rows=one.rows,
                bytes=one.bytes,
                files=one.files,
                of_rows=one.of_rows,
            )
            for one in found.scanned
        ],
        samples_taken=[
            SampleTaken(sample=one.sample, how=one.how, rows=one.rows, seconds=one.seconds) for one in found.taken
        ],
        sample_seconds=found.sample_seconds,
        forecast_seconds=found.seconds,
        fingerprint=known,
    )


@step(name="show")
def show(query: str, done: QueryForecast) -> None:
    """Show the forecast as a page in Prefect; it is there all the same where that does not work."""
    context = current_job()
    shown_if_possible("The forecast", lambda: show_forecast(query, done.model_dump(), context.job_id))


def _told(taken: Pace | None) -> str:
    if taken is None:
        return "no run"
    runs = f"{taken.runs} run{'s' if taken.runs > 1 else ''}"
    return f"{runs} of the same query" if taken.same_query else f"{runs} of other queries, by the bytes they scanned"
