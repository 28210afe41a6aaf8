"""A job's record as programs get it, from the command line and over HTTP: made of JSON's own types."""

from typing import Any

from prefect_narrative.jobs.record import Job


def record(job: Job) -> dict[str, Any]:
    """Return a job's record for programs, with its queue and run time; times are ISO 8601 in UTC."""
    return {**job.model_dump(mode="json"), "queue_seconds": job.queue_seconds, "run_seconds": job.run_seconds}
