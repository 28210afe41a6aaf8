"""What both flows of `overhead.py` do: one aggregation by the query engine, as many rows as one asks for."""

from pydantic import BaseModel

PROBE_ROWS = 4_000_000


class Worked(BaseModel):
    """What the body returns."""

    rows: int
    groups: int


def work(rows: int) -> Worked:
    """Aggregate so many made-up rows on one thread; with 0 rows do nothing at all."""
    if rows == 0:
        return Worked(rows=0, groups=0)
    import duckdb

    query = "SELECT i % 1000 AS key, count(*), sum(sqrt(i)), avg(hash(i) % 97) FROM range(?) AS rows(i) GROUP BY key"
    with duckdb.connect(config={"threads": 1}) as engine:
        return Worked(rows=rows, groups=len(engine.execute(query, [rows]).fetchall()))
