"""How a view is shown to people, and given to programs."""

from datetime import UTC, datetime
from typing import Any

from prefect_narrative.cli.output import Output, cell
from prefect_narrative.cli.output import seconds as duration
from prefect_narrative.cli.view_facts import Schedules, action_of, figure, reason_of
from prefect_narrative.jobs.record import Job
from prefect_narrative.views.drift import Drift
from prefect_narrative.views.overview import FreshnessState, SourceStanding, ViewStanding

COLUMNS = ("view", "rows", "freshness", "refreshed", "last", "schedule", "next")


def row(view: ViewStanding, schedules: Schedules | None, last: Job | None, now: datetime) -> tuple[object, ...]:
    """Return a view as the cells of a table."""
    return (
        view.name,
        view.dataset.rows,
        freshness(view.state, view.since, now),
        ago(view.definition.refreshed_at, now),
        action_of(last) if last else None,
        schedule_words(view, schedules),
        ahead(schedules.next_tick(view.name), now) if schedules else None,
    )


def schedule_words(view: ViewStanding, schedules: Schedules | None) -> str | None:
    """Return when a view is refreshed, as it is in Prefect, and in which ways that differs from its definition."""
    wanted = view.definition.schedule
    if schedules is None:
        return None if wanted is None else str(wanted)
    told = ", ".join(one.told for one in schedules.of_view(view.name)) or (None if wanted is None else str(wanted))
    kinds = list(dict.fromkeys(one.kind for one in schedules.drift(view)))
    return told if not kinds else f"{told} ({', '.join(kinds)})"


def details(view: ViewStanding, schedules: Schedules | None, last: Job | None, output: Output, now: datetime) -> None:
    """Write everything about a view for people."""
    definition = view.definition
    told: dict[str, object] = {
        "view": view.name,
        "display name": definition.display_name,
        "description": definition.description,
        "tags": ", ".join(definition.tags) or None,
        "rows": view.dataset.rows,
        "bytes": view.dataset.bytes,
        "columns": ", ".join(f"{column.name} {column.type}" for column in view.dataset.columns),
        "freshness": freshness(view.state, view.since, now),
        "refreshed": _at(definition.refreshed_at, now),
        "last job": _job(last) if last else None,
        "reason": reason_of(last) if last else None,
        "time": f"depends on the time ({', '.join(definition.volatile)})" if definition.volatile else None,
        "write mode": _write_mode(view),
        "partitioned by": ", ".join(definition.partitioned_by) or None,
        "expire": definition.expire,
        "sensitive": ", ".join(one for one in definition.column_names if one.casefold() in definition.hidden) or None,
        "schedule": schedule_words(view, schedules) or "none: refreshed when somebody asks",
        "next": _at(schedules.next_tick(view.name), now) if schedules else None,
        "made from": ", ".join(view.ancestors) or None,
        "read by": ", ".join(view.dependants) or None,
        "query": definition.query,
    }
    output.fields({name: value for name, value in told.items() if value is not None})
    if view.sources:
        output.line()
        rows = [(one.name, one.kind, freshness(one.state, one.since, now)) for one in view.sources]
        output.table(("source", "kind", "freshness"), rows)
    for one in schedules.drift(view) if schedules else ():
        output.line()
        differing(one, output)


def differing(one: Drift, output: Output) -> None:
    """Write how a definition and Prefect differ, and what to do."""
    output.line(f"{one.view}: schedule {one.kind}: {one.message}")
    output.line(f"  remedy: {one.remedy}")


HISTORY_COLUMNS = ("at", "job", "action", "run", "added", "taken", "rows", "by", "reason")


def history_row(job: Job) -> tuple[object, ...]:
    """Return a job of a view as the cells of a table."""
    return (
        job.started_at or job.created_at,
        str(job.job_id)[:8],
        action_of(job),
        duration(job.run_seconds),
        figure(job, "inserted_rows"),
        figure(job, "deleted_rows"),
        figure(job, "rows"),
        job.request_source.type,
        reason_of(job),
    )


def document(view: ViewStanding, schedules: Schedules | None, last: Job | None) -> dict[str, Any]:
    """Return a view for programs."""
    definition = view.definition
    return {
        "view": view.name,
        "rows": view.dataset.rows,
        "bytes": view.dataset.bytes,
        "snapshot_id": view.dataset.snapshot_id,
        "columns": [{"name": column.name, "type": column.type} for column in view.dataset.columns],
        "definition": definition.model_dump(
            mode="json",
            include={
                "query", "display_name", "description", "tags", "write_mode", "merge_on", "partitioned_by", "expire",
                "extended_stats", "sensitive_columns", "inherited", "refresh_schedule", "timezone", "volatile",
                "refreshed_at",
            },
        ),
        "freshness": view.state,
        "stale_since": view.since,
        "sources": [source_document(one) for one in view.sources],
        "lineage": {
            "sources": [one.name for one in view.sources],
            "ancestors": list(view.ancestors),
            "readers": list(view.readers),
            "dependants": list(view.dependants),
        },
        "last_job": job_document(last) if last else None,
        "schedules": _schedules(view, schedules),
    }  # fmt: skip


def source_document(one: SourceStanding) -> dict[str, Any]:
    """Return a source of a view for programs."""
    return {"dataset": one.name, "kind": one.kind, "freshness": one.state, "stale_since": one.since}


def job_document(job: Job) -> dict[str, Any]:
    """Return what a job has done with its view, for programs."""
    return {
        "job_id": str(job.job_id),
        "type": job.type,
        "state": str(job.state),
        "action": figure(job, "action"),
        "reason": reason_of(job),
        "inserted_rows": figure(job, "inserted_rows"),
        "deleted_rows": figure(job, "deleted_rows"),
        "rows": figure(job, "rows"),
        "estimate": figure(job, "estimate"),
        "seconds": figure(job, "seconds"),
        "asked_by": job.request_source.type,
        "scheduled_for": job.scheduled_for,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "ended_at": job.ended_at,
        "run_seconds": job.run_seconds,
    }


def drift_document(one: Drift) -> dict[str, str]:
    """Return how a definition and Prefect differ, for programs."""
    return {"kind": one.kind, "view": one.view, "message": one.message, "remedy": one.remedy}


def _schedules(view: ViewStanding, schedules: Schedules | None) -> dict[str, Any] | None:
    if schedules is None:
        return None
    standing = [
        {
            "schedule_id": str(one.schedule_id),
            "name": one.slug,
            "cron": one.cron,
            "timezone": one.timezone,
            "told": one.told,
            "active": one.active,
            "next_tick": schedules.next_ticks.get(one.schedule_id),
        }
        for one in schedules.of_view(view.name)
    ]
    return {
        "standing": standing,
        "next_tick": schedules.next_tick(view.name),
        "drift": [drift_document(one) for one in schedules.drift(view)],
    }


def freshness(state: FreshnessState, since: datetime | None, now: datetime) -> str:
    """Return how fresh something is, for people: `stale for 3 min 20 s`."""
    return str(state) if since is None else f"{state} for {span(since, now)}"


def ago(moment: datetime | None, now: datetime) -> str | None:
    """Return how long ago something was, for people."""
    return None if moment is None else f"{span(moment, now)} ago"


def ahead(moment: datetime | None, now: datetime) -> str | None:
    """Return in how long something will be, for people."""
    return None if moment is None else f"in {span(now, moment)}"


def span(first: datetime, last: datetime) -> str:
    """Return a span of time for people, in its two greatest units at most: `3 d 4 h`."""
    rest = max(0, round((last - first).total_seconds()))
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count or (parts and len(parts) < 2):
            parts.append(f"{count} {unit}")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if not part.startswith("0 ")) or "0 s"


def _at(moment: datetime | None, now: datetime) -> str | None:
    if moment is None:
        return None
    return f"{cell(moment.astimezone(UTC))}, {ago(moment, now) if moment <= now else ahead(moment, now)}"


def _job(job: Job) -> str:
    return f"{action_of(job)} in {duration(job.run_seconds)}, job {job.job_id}"


def _write_mode(view: ViewStanding) -> str:
    definition = view.definition
    return f"append, merged on {', '.join(definition.merge_on)}" if definition.merge_on else definition.write_mode
