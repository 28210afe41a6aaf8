"""A sample as a table artifact in Prefect, one for each sample: a newer one takes the place of the older."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from prefect_narrative.flows.artifacts import key_of, put_artifact, remove_artifacts

from prefect_narrative.planes.json_values import LENGTH, SHORTENED
from prefect_narrative.samples.sample import Sample

LONGEST_CELL = 200
"""Characters."""
LARGEST_TABLE = 1_000_000
"""Characters; rows that would make the table larger are left out of it."""


def show_sample(sample: Sample, data_plane: str, job_id: UUID) -> None:
    """Show a sample in the place of older ones of the same name."""
    rows = table(sample)
    put_artifact(
        key_of("sample", sample.head.name, data_plane),
        "table",
        json.dumps(rows),
        job_id,
        description(sample, len(rows)),
    )


def remove_sample(name: str, data_plane: str) -> None:
    """Remove what Prefect shows of a sample."""
    remove_artifacts(key_of("sample", name, data_plane))


def table(sample: Sample) -> list[dict[str, Any]]:
    """Return a sample's rows as Prefect's tables have them, as many as fit."""
    names = unique([column.name for column in sample.head.columns])
    rows, size = [], 0
    for row in sample.rows:
        cells = {name: cell(value) for name, value in zip(names, row, strict=True)}
        size += len(json.dumps(cells))
        if size > LARGEST_TABLE:
            break
        rows.append(cells)
    return rows


def description(sample: Sample, shown: int) -> str:
    """Return what stands above the table."""
    head = sample.head
    of = f"`{head.dataset}`" if head.dataset is not None else "a query"
    how = f"random rows (seed {head.seed})" if head.method == "random" else "first rows"
    told = [f"{head.rows:,} {how} of {of} in snapshot {head.snapshot_id}"]
    if head.of_rows is not None:
        told.append(f"of {head.of_rows:,}")
    if shown < head.rows:
        told.append(f"the first {shown:,} are shown here, all by `narrative samples show {head.name}`")
    if head.redacted:
        told.append(f"redacted: {', '.join(head.redacted)}")
    return "; ".join(told)


def unique(names: Sequence[str]) -> list[str]:
    """Return names of which no two are the same: those that come again get a number."""
    found: list[str] = []
    for name in names:
        number, given = 1, name
        while given in found:
            number += 1
            given = f"{name} ({number})"
        found.append(given)
    return found


def cell(value: Any) -> Any:
    """Return a value as it stands in a table: short, and nested ones as JSON."""
    if isinstance(value, dict) and set(value) == {SHORTENED, LENGTH} and isinstance(value[SHORTENED], str):
        return f"{value[SHORTENED][:LONGEST_CELL]}… ({value[LENGTH]:,})"
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and len(value) > LONGEST_CELL:
        return f"{value[:LONGEST_CELL]}…"
    return value
