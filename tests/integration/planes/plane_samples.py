"""Sample datasets, and short ways to make and read one."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from prefect_narrative.planes import Plane, Published, Write, open_plane
from prefect_narrative.settings import Settings

OPENERS: dict[str, Callable[[str, Path, Settings], Plane]] = {"ducklake": open_plane}
"""Every kind of plane; the contract suite runs over all of them."""

SAMPLES = {
    "orders": """
        SELECT i AS order_id, i % 7 AS customer_id, (i * 37 % 101)::DECIMAL(10, 2) / 4 AS amount,
               DATE '2024-01-01' + (i % 60)::INTEGER AS ordered_on,
               TIMESTAMP '2024-01-01 00:00:00' + to_minutes(i * 13) AS ordered_at,
               CASE WHEN i % 5 = 0 THEN NULL ELSE 'item ' || (i % 4) END AS item,
               [i, i + 1] AS tags, {'city': 'c' || (i % 3), 'zip': i % 10} AS address,
               i / 3.0 AS ratio
        FROM range(200) AS source(i)
    """,
    "customers": """
        SELECT i AS customer_id, 'customer ' || i AS name, i % 2 = 0 AS active,
               TIMESTAMP '2024-01-01 00:00:00' + to_hours(i) AS since
        FROM range(9) AS source(i)
    """,
    "sales.regions": "SELECT i AS region_id, 'region ' || i AS name FROM range(3) AS source(i)",
}

INLINES = "CALL lake.set_option('data_inlining_row_limit', 10)"
"""Lets small writes to any table of the lake go into its catalog, as they do in other programs' lakes."""


def settings_for(home: Path, **values: Any) -> Settings:
    """Return settings that keep everything below one folder."""
    return Settings(home=home, **{"threads": 2, "memory_limit": "512MB", **values})


def make_dataset(
    plane: Plane,
    name: str,
    query: str,
    mode: str = "replace",
    job_id: UUID | None = None,
    result: Mapping[str, Any] | None = None,
    **write: Any,
) -> Published:
    """Publish a query's rows as a dataset, as a job of its own."""
    job = job_id or uuid4()
    plane.claim(job, 1)
    stage = plane.stage_query(job, 1, name, plane.check(query), at=plane.snapshot())
    return plane.publish(job, 1, [Write(name, mode, stage, **write)], result or {"rows": stage.rows})  # type: ignore[arg-type]


def rows_of(plane: Plane, query: str, at: int | None = None) -> list[tuple[Any, ...]]:
    """Return all rows of a query."""
    return list(plane.read(plane.check(query, at), limit=1_000_000, at=at).rows)
