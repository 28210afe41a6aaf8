"""The job of `overhead.py`: the same body as the bare flow, made a job type."""

from overhead_body import Worked, work

from prefect_narrative.jobs.job import job


@job(type="bench-job")
def narrative_job(rows: int) -> Worked:
    """Do the work.

    Args:
        rows: How many rows to aggregate.
    """
    return work(rows)


if __name__ == "__main__":
    narrative_job(rows=0)
