"""`narrative jobs list|show|wait`: the job table for people and programs."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from cyclopts import Parameter

from prefect_narrative.cli.connection import connect
from prefect_narrative.cli.exits import ExitCode, NotFoundError, UsageError
from prefect_narrative.cli.options import Json, Timeout
from prefect_narrative.cli.output import Output
from prefect_narrative.cli.records import details, event_row, table_of
from prefect_narrative.jobs.document import record
from prefect_narrative.jobs.record import Job, JobFilter, JobId
from prefect_narrative.jobs.states import JobState
from prefect_narrative.jobs.store import MAX_PAGE, JobReader
from prefect_narrative.settings import Settings

if TYPE_CHECKING:
    from prefect_narrative.client import Client

SHORTEST_PREFIX = 8


def list_jobs(
    *,
    state: Annotated[tuple[JobState, ...], Parameter(negative="", name_transform=str.lower)] = (),
    type: str | None = None,
    dataset: str | None = None,
    data_plane: str | None = None,
    tag: str | None = None,
    source: str | None = None,
    created_from: datetime | None = None,
    created_before: datetime | None = None,
    ended_from: datetime | None = None,
    ended_before: datetime | None = None,
    limit: Annotated[int, Parameter(alias="-n")] = 20,
    cursor: str | None = None,
    as_json: Json = False,
) -> int:
    """List jobs, newest first.

    Args:
        state: Only jobs in this state; repeatable.
        type: Only jobs of this type.
        dataset: Only jobs that write or describe this dataset.
        data_plane: Only jobs on this data plane.
        tag: Only jobs with this tag.
        source: Only jobs asked for by: api, operator, schedule, cli, job.
        created_from: Created at this time or later; ISO 8601, UTC where it names no zone.
        created_before: Created before this time.
        ended_from: Ended at this time or later.
        ended_before: Ended before this time.
        limit: Most jobs on the page, 1 to 500.
        cursor: Where the page before this one ended.
        as_json: Print the jobs' records and the next page's cursor as JSON.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise UsageError(f"A page has 1 to {MAX_PAGE} jobs, not {limit}.", remedy="Use --cursor for more.")
    narrowed = JobFilter(
        state=frozenset(state) or None,
        type=type,
        dataset=dataset,
        data_plane=data_plane,
        tag=tag,
        request_source=source,
        created_from=in_utc(created_from),
        created_before=in_utc(created_before),
        ended_from=in_utc(ended_from),
        ended_before=in_utc(ended_before),
    )
    from prefect_narrative.jobs.sql import open_store  # noqa: PLC0415 - 0.3 s, not for those who ask for help

    with open_store(Settings()) as store:
        page = store.page(narrowed, cursor=cursor, limit=limit)
    output = Output(as_json=as_json)
    if as_json:
        output.document({"jobs": [record(job) for job in page.jobs], "cursor": page.cursor})
    elif page.jobs:
        table_of(page.jobs, output)
        if page.cursor:
            output.note(f"More: --cursor {page.cursor}")
    else:
        output.note("No jobs.")
    return ExitCode.OK


def show(job: str, /, *, as_json: Json = False) -> int:
    """Show everything about one job.

    Args:
        job: The job's id; the first eight or more characters of a recent one are enough.
        as_json: Print the record and its events as JSON.
    """
    output = Output(as_json=as_json)
    with connected() as client:
        found, current = _newest(client, identify(job, client))
        events = client.events(found.job_id)
    if not current:
        output.note("Prefect can't be reached: this is what was known last.")
    if as_json:
        output.document({**record(found), "events": [event.model_dump(mode="json") for event in events]})
        return ExitCode.OK
    details(found, output)
    output.line()
    output.table(("at", "from", "to", "attempt", "move", "cause"), [event_row(event) for event in events])
    return ExitCode.OK


def wait(job: str, /, *, timeout: Timeout = None, as_json: Json = False) -> int:
    """Wait until a job has ended; exit code 0 when it completed, 1 when it failed or was cancelled.

    Args:
        job: The job's id; the first eight or more characters of a recent one are enough.
        timeout: Wait at most this many seconds. [for ever]
        as_json: Print the record at the end as JSON.
    """
    output = Output(as_json=as_json)
    with connected() as client:
        from prefect_narrative.cli.following import ended, follow  # noqa: PLC0415 - it needs Prefect

        return ended(follow(client, identify(job, client), output, timeout), output)


def identify(text: str, reader: "JobReader | Client") -> UUID:
    """Return the id that a text means: an id, or the beginning of exactly one of the newest jobs' ids.

    Raises:
        UsageError: it is neither an id nor eight or more characters of one, or several jobs begin with it.
        NotFoundError: none of the newest jobs begins with it.
    """
    try:
        return UUID(text)
    except ValueError:
        pass
    if not re.fullmatch(rf"[0-9a-fA-F-]{{{SHORTEST_PREFIX},36}}", text):
        raise UsageError(f"{text!r} is not a job's id.", remedy="`narrative jobs list` shows the ids.")
    found = [job.job_id for job in reader.page(limit=MAX_PAGE).jobs if str(job.job_id).startswith(text.lower())]
    if not found:
        raise NotFoundError(f"None of the newest {MAX_PAGE} jobs has an id that begins with {text!r}.")
    if len(found) > 1:
        raise UsageError(f"{len(found)} jobs have an id that begins with {text!r}.", remedy="Give more of it.")
    return found[0]


def in_utc(moment: datetime | None) -> datetime | None:
    """Return a time in UTC; one that names no zone is meant in UTC."""
    if moment is None:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


@contextmanager
def connected() -> "Iterator[Client]":
    """Yield a client of the server that is meant; what can't be reached is told in our words."""
    settings = Settings()
    connect(settings)
    from prefect_narrative.client import Client, reaching  # noqa: PLC0415 - Prefect reads its settings on import

    with reaching(), Client(settings, source="cli") as client:
        yield client


def _newest(client: "Client", job_id: UUID) -> tuple[Job, bool]:
    """Return a job, and whether Prefect could be asked where it had to be."""
    from prefect_narrative.client import PrefectUnavailableError, reaching  # noqa: PLC0415 - it needs Prefect
    from prefect_narrative.jobs.sql import open_store  # noqa: PLC0415

    try:
        with reaching():
            return client.get(job_id), True
    except PrefectUnavailableError:
        with open_store(Settings()) as store:
            known = store.get(JobId(job_id))
        if known is None:
            raise
        return known, False
