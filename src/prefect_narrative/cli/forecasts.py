"""`narrative forecasts list|accuracy`: what was forecast, and how near it came to what followed."""

import statistics
from contextlib import closing
from typing import TYPE_CHECKING

from prefect_narrative.cli.datasets import DEFAULT_PLANE, open_plane
from prefect_narrative.cli.exits import ExitCode
from prefect_narrative.cli.money import usd
from prefect_narrative.cli.options import Json
from prefect_narrative.cli.output import Output
from prefect_narrative.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect_narrative.flows.query_runs import Settled
    from prefect_narrative.jobs.record import Job

LIST_COLUMNS = ("forecast", "rows", "from", "to", "scanned_bytes", "seconds", "usd", "came", "query")
ACCURACY_COLUMNS = ("type", "runs", "q median", "q worst", "in the interval")
SHOWN = 20
LONGEST_QUERY = 50
"""Characters of a query in a list for people."""


def list_forecasts(*, data_plane: str = DEFAULT_PLANE, as_json: Json = False) -> int:
    """List forecasts with what came of the query then, newest first.

    Args:
        data_plane: The data plane's name.
        as_json: Print them as JSON.
    """
    output = Output(as_json=as_json)
    jobs, found = _settled(data_plane)
    came = {one.forecast.job_id: one for one in found}
    if as_json:
        told = []
        for job in jobs:
            run = came.get(job.job_id)
            told.append(
                {
                    "job_id": str(job.job_id),
                    "query": job.input.get("query"),
                    **(job.result or {}),
                    "run": None if run is None else _document(run),
                }
            )
        output.document({"data_plane": data_plane, "forecasts": told})
    elif jobs:
        output.table(LIST_COLUMNS, [_row(job, came.get(job.job_id)) for job in jobs[:SHOWN]])
    else:
        output.note("No forecasts: narrative submit forecast-query query='SELECT ...' --wait")
    return ExitCode.OK


def accuracy(*, data_plane: str = DEFAULT_PLANE, as_json: Json = False) -> int:
    """Compare forecasts with the first run of the same query after each, by the type of job that ran it.

    The q-error is by which factor the rows were off, from 1.

    Args:
        data_plane: The data plane's name.
        as_json: Print the figures as JSON.
    """
    output = Output(as_json=as_json)
    jobs, found = _settled(data_plane)
    types = sorted({one.run.job.type for one in found})
    groups = [(name, [one for one in found if one.run.job.type == name]) for name in types]
    figures = [
        {
            "type": name,
            "runs": len(ones),
            "q_median": statistics.median(one.q_error for one in ones),
            "q_worst": max(one.q_error for one in ones),
            "covered": sum(one.covered for one in ones),
        }
        for name, ones in groups
    ]
    if as_json:
        settled = [{"forecast_job_id": str(one.forecast.job_id), **_document(one)} for one in found]
        output.document({"data_plane": data_plane, "forecasts": len(jobs), "by_type": figures, "settled": settled})
    elif figures:
        rows = [
            (
                one["type"],
                one["runs"],
                f"{one['q_median']:.2f}",
                f"{one['q_worst']:.2f}",
                f"{one['covered']} of {one['runs']}",
            )
            for one in figures
        ]
        output.table(ACCURACY_COLUMNS, rows)
        output.note(f"{len(jobs) - len(found):,} of {len(jobs):,} forecasts: no run of the query has followed yet.")
    else:
        output.note(f"{len(jobs):,} forecasts, and no run of any of their queries has followed yet.")
    return ExitCode.OK


def _settled(data_plane: str) -> tuple["Sequence[Job]", "list[Settled]"]:
    from prefect_narrative.flows.query_runs import (  # noqa: PLC0415 - not for those who ask for help
        FORECAST,
        Fingerprints,
        completed,
        query_runs,
        settled,
        view_queries,
    )
    from prefect_narrative.jobs.sql import open_store  # noqa: PLC0415

    with open_plane(data_plane) as plane:
        views = view_queries(plane)
    with open_store(Settings()) as store, closing(Fingerprints()) as fingerprints:
        runs = query_runs(store, data_plane, views, fingerprints)
        return completed(store, FORECAST, data_plane), settled(store, data_plane, runs)


def _document(one: "Settled") -> dict[str, object]:
    return {
        "run_job_id": str(one.run.job.job_id),
        "type": one.run.job.type,
        "rows": one.run.rows,
        "q_error": one.q_error,
        "covered": one.covered,
    }


def _row(job: "Job", run: "Settled | None") -> tuple[object, ...]:
    result = job.result or {}
    cost = result.get("cost_micro_cents_usd")
    query = " ".join(str(job.input.get("query", "")).split())
    return (
        str(job.job_id),
        result.get("rows"),
        result.get("rows_low"),
        result.get("rows_high"),
        result.get("scanned_bytes"),
        result.get("expected_seconds"),
        None if cost is None else usd(int(cost)),
        None if run is None else run.run.rows,
        query if len(query) <= LONGEST_QUERY else f"{query[:LONGEST_QUERY]}…",
    )
