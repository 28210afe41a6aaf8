"""`narrative views list|show|history`: what materialized views are, how fresh they are, and what became of them."""

from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

from prefect_narrative.cli.datasets import DEFAULT_PLANE, open_plane
from prefect_narrative.cli.exits import ExitCode, UsageError
from prefect_narrative.cli.options import Json
from prefect_narrative.cli.output import Output
from prefect_narrative.cli.view_facts import history as jobs_of
from prefect_narrative.cli.view_facts import last_refresh, schedules
from prefect_narrative.cli.view_records import (
    COLUMNS,
    HISTORY_COLUMNS,
    details,
    differing,
    document,
    drift_document,
    history_row,
    job_document,
    row,
)
from prefect_narrative.jobs.store import MAX_PAGE
from prefect_narrative.settings import Settings
from prefect_narrative.views.overview import standing_of, standings


def list_views(*, data_plane: str = DEFAULT_PLANE, as_json: Json = False) -> int:
    """List materialized views: how fresh they are, what their last refresh did, and when the next one comes.

    Args:
        data_plane: The data plane's name.
        as_json: Print them as JSON.
    """
    output, settings = Output(as_json=as_json), Settings()
    with open_plane(data_plane) as plane:
        found = standings(plane)
    known = schedules(data_plane, settings, output)
    from prefect_narrative.jobs.sql import open_store  # noqa: PLC0415 - 0.3 s, not for those who ask for help

    with open_store(settings) as store:
        last = {view.name: last_refresh(store, view.name, data_plane) for view in found}
    orphans = known.orphans(found) if known else ()
    if as_json:
        views = [document(view, known, last[view.name]) for view in found]
        output.document({"data_plane": data_plane, "views": views, "orphans": [drift_document(one) for one in orphans]})
        return ExitCode.OK
    now = datetime.now(UTC)
    if found:
        output.table(COLUMNS, [row(view, known, last[view.name], now) for view in found])
    else:
        output.note("No views.")
    for one in (*(one for view in found if known for one in known.drift(view)), *orphans):
        differing(one, output)
    return ExitCode.OK


def show(view: str, /, *, data_plane: str = DEFAULT_PLANE, as_json: Json = False) -> int:
    """Show everything about one view: its definition, its freshness, its schedule, its lineage.

    Args:
        view: The view's name.
        data_plane: The data plane's name.
        as_json: Print it as JSON.
    """
    output, settings = Output(as_json=as_json), Settings()
    with open_plane(data_plane) as plane:
        found = standing_of(plane, view)
    known = schedules(data_plane, settings, output, of=view)
    from prefect_narrative.jobs.sql import open_store  # noqa: PLC0415 - 0.3 s, not for those who ask for help

    with open_store(settings) as store:
        last = last_refresh(store, view, data_plane)
    if as_json:
        output.document(document(found, known, last))
    else:
        details(found, known, last, output, datetime.now(UTC))
    return ExitCode.OK


def history(
    view: str,
    /,
    *,
    limit: Annotated[int, Parameter(alias="-n")] = 20,
    data_plane: str = DEFAULT_PLANE,
    as_json: Json = False,
) -> int:
    """List the jobs that have made and refreshed a view, newest first: what each did, why, and how long it took.

    Args:
        view: The view's name; also of one that was dropped.
        limit: Most jobs, 1 to 500.
        data_plane: The data plane's name.
        as_json: Print them as JSON.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise UsageError(f"A history shows 1 to {MAX_PAGE} jobs, not {limit}.", remedy="Give --limit a number of jobs.")
    from prefect_narrative.jobs.sql import open_store  # noqa: PLC0415 - 0.3 s, not for those who ask for help

    output, settings = Output(as_json=as_json), Settings()
    with open_store(settings) as store:
        found = jobs_of(store, view, data_plane, limit)
    if not found:
        with open_plane(data_plane) as plane:
            standing_of(plane, view)  # raises with the nearest names
    if as_json:
        output.document({"view": view, "data_plane": data_plane, "jobs": [job_document(job) for job in found]})
    elif found:
        output.table(HISTORY_COLUMNS, [history_row(job) for job in found])
    else:
        output.note("No job has made or refreshed it as far as the job table goes back.")
    return ExitCode.OK
