"""How a job's record is shown to people: as fields and tables."""

from collections.abc import Sequence
from datetime import UTC

from prefect_narrative.cli.money import usd
from prefect_narrative.cli.output import Output, cell, dumps, seconds
from prefect_narrative.jobs.record import Job, JobEvent, Usage, WaitingFor


def table_of(jobs: Sequence[Job], output: Output) -> None:
    """Write jobs as a table."""
    columns = ("job_id", "type", "dataset", "state", "queue", "run", "rows", "created_at")
    output.table(columns, [_row(job) for job in jobs])


def _row(job: Job) -> tuple[object, ...]:
    rows = (job.result or {}).get("rows")
    return (
        str(job.job_id),
        job.type,
        job.dataset,
        str(job.state),
        seconds(job.queue_seconds),
        seconds(job.run_seconds),
        rows if isinstance(rows, int) else None,
        job.created_at,
    )


def details(job: Job, output: Output) -> None:
    """Write one job's record for people."""
    executor = job.executor
    told: dict[str, object] = {
        "job_id": str(job.job_id),
        "type": job.type,
        "state": f"{job.state}, attempt {job.attempt}",
        "waiting for": _waiting(job.waiting_for) if job.waiting_for else None,
        "progress": _progress(job),
        "dataset": job.dataset,
        "sources": ", ".join(job.sources) or None,
        "asked by": f"{job.request_source.type} {job.request_source.name or ''}".strip(),
        "key": job.idempotency_key,
        "input": dumps(job.input),
        "result": None if job.result is None else dumps(job.result),
        "created": job.created_at,
        "started": job.started_at,
        "ended": job.ended_at,
        "queue, run": f"{seconds(job.queue_seconds)}, {seconds(job.run_seconds)}",
        "used": _usage(job.usage),
        "cost": _cost(job),
        "process": f"{executor.pid} on {executor.host}" if executor else None,
    }
    output.fields({name: value for name, value in told.items() if value is not None})
    for failure in job.failures:
        output.line(f"failure of attempt {failure.attempt}: {failure.message} ({failure.kind}, {failure.code})")
        output.line(f"  remedy: {failure.remedy}")


def _cost(job: Job) -> str | None:
    if job.cost_micro_cents_usd is not None:
        return f"{cell(usd(job.cost_micro_cents_usd))} USD"
    return "unknown" if job.started_at is not None and job.state.terminal else None


def _waiting(why: WaitingFor) -> str:
    told = f"{why.cause}: {why.fact}"
    if why.since is None or f"{why.since.astimezone(UTC):%Y-%m-%d %H:%M:%S}" in why.fact:
        return told
    return f"{told} (since {cell(why.since)})"


def _progress(job: Job) -> str | None:
    if job.progress is None or job.state.terminal:
        return None
    share = "" if job.progress.fraction is None else f"{job.progress.fraction:.0%} "
    return f"{share}{job.progress.message}"


def event_row(event: JobEvent) -> tuple[object, ...]:
    """Return one move as the cells of a table."""
    return (event.at, event.from_state, str(event.to_state), event.attempt, str(event.move), event.cause)


def _usage(usage: Usage) -> str | None:
    told = (
        usage.cpu_seconds is not None and f"{usage.cpu_seconds:.1f} s of CPU",
        usage.peak_memory_bytes is not None and f"{usage.peak_memory_bytes / 2**20:,.0f} MiB of memory",
        usage.read_rows is not None and f"read {usage.read_rows:,} rows",
        usage.written_rows is not None and f"wrote {usage.written_rows:,} rows",
    )
    return ", ".join(part for part in told if part) or None
