"""The bare Prefect flow of `overhead.py`: what a user would write without us. It imports nothing of ours."""

from overhead_body import Worked, work
from prefect import flow


@flow(name="bench-bare", persist_result=False)
def bare(rows: int) -> Worked:
    """Do the work.

    Args:
        rows: How many rows to aggregate.
    """
    return work(rows)


if __name__ == "__main__":
    bare(rows=0)
