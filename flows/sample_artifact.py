"""A sample as a table artifact in Prefect, one for each sample: a newer one takes the place of the older."""

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from prefect_narrative.planes.json_values import LENGTH, SHORTENED
from prefect_narrative.samples.sample import Sample

LONGEST_CELL = 200
"""Characters."""
LARGEST_TABLE = 1_000_000
"""Characters; rows that would make the table larger are left out of it."""


def key_of(name: str, data_plane: str) -> str:
    """Return the key of a sample's artifact: small letters, digits and hyphens.

    Names that would be alike, those with a dot and those of other planes than the default one, get a hash.
    """
    slug = name.replace("_", "-").replace(".", "-").strip("-")
    if data_plane == "default" and "." not in name:
        return f"sample-{slug}" if name.replace("_", "-") == slug else f"sample-{slug}-{_hash(name)}"
    return f"sample-{data_plane}-{slug}-{_hash(f'{data_plane}/{name}')}"


def show_sample(sample: Sample, data_plane: str, job_id: UUID) -> None:
    """Create the artifact of a sample, and remove those of older samples of the same name."""
    key = key_of(sample.head.name, data_plane)
    rows = table(sample)
    with get_client(sync_client=True) as client:
        made = client.create_artifact(
            ArtifactCreate(
                key=key,
                type="table",
                description=description(sample, len(rows)),
                data=json.dumps(rows),
                flow_run_id=job_id,
            )
        )
        _remove(client, key, keep=made.id)


def remove_artifacts(name: str, data_plane: str) -> None:
    """Remove what Prefect shows of a sample."""
    with get_client(sync_client=True) as client:
        _remove(client, key_of(name, data_plane), keep=None)


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


def _remove(client: SyncPrefectClient, key: str, keep: UUID | None) -> None:
    wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
    for one in client.read_artifacts(artifact_filter=wanted):
        if one.id != keep:
            client.delete_artifact(one.id)


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:8]
