"""Runs of queries in the job table: which jobs have run a query, what came back, and which forecast came before.

Nothing is written for this: a job's input has its query, or names the view whose query it ran, and its result has the
rows. A forecast is settled by the first run of the same query that was asked for after it.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from prefect_narrative.forecasts.fingerprints import fingerprint
from prefect_narrative.forecasts.history import PastRun, Taken
from prefect_narrative.jobs.context import current_job
from prefect_narrative.jobs.hooks import here
from prefect_narrative.jobs.record import Job, JobFilter, JobId
from prefect_narrative.jobs.states import JobState
from prefect_narrative.jobs.store import MAX_PAGE, JobReader
from prefect_narrative.planes.errors import QueryRefusedError
from prefect_narrative.planes.plane import Plane, SourceVersion
from prefect_narrative.planes.syntax import Parser

logger = logging.getLogger(__name__)

RUNNING_TYPES = ("create-materialized-view", "refresh-materialized-view", "sample-dataset", "forecast-query")
"""Job types that run a query, or may."""
FORECAST = "forecast-query"


@dataclass(frozen=True)
class QueryRun:
    """A job that ran a query as a whole."""

    job: Job
    fingerprint: str
    rows: int | None
    """That came back; None: not known."""


@dataclass(frozen=True)
class Settled:
    """A forecast, and the run that followed it."""

    forecast: Job
    run: QueryRun

    @property
    def rows(self) -> float:
        """The rows that were forecast."""
        return float((self.forecast.result or {}).get("rows", 0))

    @property
    def q_error(self) -> float:
        """By which factor the forecast was off, from 1; no rows count as one."""
        one, other = max(1.0, self.rows), max(1.0, float(self.run.rows or 0))
        return max(one / other, other / one)

    @property
    def covered(self) -> bool:
        """Whether the rows lay in the forecast's interval."""
        result = self.forecast.result or {}
        return bool(result.get("rows_low", 0) <= (self.run.rows or 0) <= result.get("rows_high", 0))


class Fingerprints:
    """Fingerprints of queries as texts, each told once."""

    def __init__(self) -> None:
        self._parser = Parser()
        self._known: dict[str, str | None] = {}

    def close(self) -> None:
        """Release the parser."""
        self._parser.close()

    def of(self, text: str) -> str | None:
        """Return a query's fingerprint; None where it can't be read."""
        if text not in self._known:
            try:
                self._known[text] = fingerprint(self._parser.sql(self._parser.tree(text)))
            except QueryRefusedError:
                self._known[text] = None
        return self._known[text]


def completed(store: JobReader, type: str, data_plane: str) -> Sequence[Job]:
    """Return the newest completed jobs of a type on a plane."""
    wanted = JobFilter(type=type, data_plane=data_plane, state=frozenset({JobState.COMPLETED}))
    return store.page(wanted, limit=MAX_PAGE).jobs


def query_runs(
    store: JobReader, data_plane: str, views: Mapping[str, str], fingerprints: Fingerprints
) -> list[QueryRun]:
    """Return the runs of queries, the newest first.

    Args:
        store: The job table.
        data_plane: The plane.
        views: The query of each view.
        fingerprints: Tells queries apart.
    """
    found = []
    for kind in RUNNING_TYPES:
        for job in completed(store, kind, data_plane):
            query = _query_of(job, views)
            known = None if query is None else fingerprints.of(query)
            if known is not None:
                found.append(QueryRun(job, known, _rows_of(job)))
    return sorted(found, key=lambda one: one.job.created_at, reverse=True)


def settled(store: JobReader, data_plane: str, runs: Sequence[QueryRun]) -> list[Settled]:
    """Return the forecasts of a plane with the first run after each that tells the rows, the newest first."""
    found = []
    for forecast in completed(store, FORECAST, data_plane):
        result = forecast.result or {}
        if result.get("exact") or result.get("as_of") is not None:
            continue
        after = [
            run
            for run in runs
            if run.fingerprint == result.get("fingerprint")
            and run.rows is not None
            and run.job.job_id != forecast.job_id
            and run.job.created_at >= forecast.created_at
        ]
        if after:
            found.append(Settled(forecast, after[-1]))
    return found


def past_runs(
    plane: Plane, runs: Sequence[QueryRun], forecasts: Sequence[Settled], known: str, sources: Sequence[str], at: int
) -> list[PastRun]:
    """Return what a query's own runs returned, the newest first."""
    mine = [run for run in runs if run.fingerprint == known and run.rows is not None]
    before = {one.run.job.job_id: (one.forecast.result or {}).get("sampled_rows") for one in forecasts}
    return [
        PastRun(
            int(run.rows or 0),
            before.get(run.job.job_id),
            unchanged=number == 0 and _unchanged(plane, run, sources, at),
        )
        for number, run in enumerate(mine)
    ]


def past_times(runs: Sequence[QueryRun], known: str) -> list[Taken]:
    """Return what runs took, the newest first."""
    return [
        Taken(
            scanned_bytes=run.job.usage.read_bytes or 0,
            seconds=seconds,
            cpu_seconds=run.job.usage.cpu_seconds,
            same_query=run.fingerprint == known,
        )
        for run in runs
        if (seconds := run.job.run_seconds) is not None
    ]


def view_queries(plane: Plane) -> dict[str, str]:
    """Return the query of each view."""
    found = {}
    for one in plane.descriptions():
        definition: Any = one.properties.get("definition")
        if one.kind == "view" and isinstance(definition, Mapping) and isinstance(definition.get("query"), str):
            found[one.name] = definition["query"]
    return found


def tie_forecast(query: str, data_plane: str) -> JobId | None:
    """Say in this job's record which job has forecast the query that it runs; it does not matter if that fails."""
    try:
        store, _ = here()
        forecasts = completed(store, FORECAST, data_plane)
        if not forecasts:
            return None
        with closing(Fingerprints()) as fingerprints:
            known = fingerprints.of(query)
        for job in forecasts:
            if known is not None and (job.result or {}).get("fingerprint") == known:
                found = JobId(job.job_id)
                current_job().describe(forecast_job_id=found)
                return found
    except Exception as error:
        logger.warning("It could not be told which job has forecast this query: %s", type(error).__name__)
    return None


def _query_of(job: Job, views: Mapping[str, str]) -> str | None:
    """Return the query that a job ran as a whole; None where it ran none."""
    result = job.result or {}
    if job.type == "refresh-materialized-view":
        return views.get(str(job.input.get("view"))) if result.get("action") == "full" else None
    if job.type == FORECAST and not result.get("exact"):
        return None
    if job.type == "create-materialized-view" and job.input.get("write_mode", "overwrite") != "overwrite":
        return None
    query = job.input.get("query")
    return query if isinstance(query, str) and not job.input.get("as_of") else None


def _rows_of(job: Job) -> int | None:
    rows = (job.result or {}).get("rows")
    if not isinstance(rows, int | float):
        return None
    if job.type == "sample-dataset" and rows >= int(job.input.get("rows", 100)):
        return None  # there may have been more
    return int(rows)


def _unchanged(plane: Plane, run: QueryRun, sources: Sequence[str], at: int) -> bool:
    """Return whether all that a run read is still as it was; only a run that says what it read can tell."""
    result = run.job.result or {}
    if run.job.type != FORECAST or not isinstance(result.get("snapshot_id"), int):
        return False
    tables = {one["dataset"]: one.get("table_id") for one in result.get("sources", ())}
    seen = [SourceVersion(name, tables[name], result["snapshot_id"]) for name in sources if tables.get(name)]
    return len(seen) == len(sources) and not any(one.changed for one in plane.freshness(seen, at))
