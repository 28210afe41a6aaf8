"""Taking a sample: rows of a dataset, a view or a query at one snapshot, with nothing sensitive in them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.planes.json_values import is_shortened
from prefect_narrative.planes.plane import CheckedQuery, Plane, SampleMethod
from prefect_narrative.samples.sample import MAX_ROWS, Sample, SampleColumn, SampleHead, name_of
from prefect_narrative.views.sensitivity import Sensitivity

LARGEST_BYTES = 50_000_000
"""Bytes of a sample's rows as JSON."""


class SampleSourceError(NarrativeError, ValueError):
    """A sample is of a dataset or of a query."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "sample_source"
    remedy = "Give one of the two: dataset=NAME, or query='SELECT ...'."


class SampleSizeError(NarrativeError, ValueError):
    """A sample has 1 to 1,000 rows."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "sample_size"
    remedy = "Ask for 1 to 1,000 rows; what is more belongs into a view."


class SampleTooLargeError(NarrativeError, ValueError):
    """The sample is too large to be kept."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "sample_too_large"
    remedy = "Ask for fewer rows, or name fewer columns."


@dataclass(frozen=True)
class Request:
    """What somebody wants to see."""

    dataset: str | None = None
    query: str | None = None
    """Instead of a dataset."""
    rows: int = 100
    method: SampleMethod = "random"
    seed: int | None = None
    """None: one that follows from the job's id, so that another attempt takes the same rows."""
    columns: Sequence[str] | None = None
    """None: all."""
    as_of: int | None = None
    """The snapshot to read; None: the newest."""


def take(plane: Plane, job_id: UUID, wanted: Request, now: datetime) -> Sample:
    """Return a sample, which is not kept yet.

    Raises:
        SampleSourceError: neither a dataset nor a query is named, or both are.
        SampleSizeError: the number of rows is out of bounds.
        SampleTooLargeError: the rows would not be a sample any more.
        DatasetNotFoundError: there is no such dataset, with the nearest names.
        ColumnNotFoundError: there is no such column, with the nearest names.
        SnapshotNotFoundError: the snapshot does not exist, or has expired.
        QueryRefusedError: the query is not allowed.
        SensitiveRowsError: sensitive values decide which rows the query yields.
    """
    if (wanted.dataset is None) == (wanted.query is None):
        told = "neither of them" if wanted.dataset is None else f"dataset={wanted.dataset!r} and a query"
        raise SampleSourceError(f"A sample is of a dataset or of a query, and given was {told}.")
    if not 1 <= wanted.rows <= MAX_ROWS:
        raise SampleSizeError(f"A sample has 1 to {MAX_ROWS:,} rows, not {wanted.rows:,}.")
    at = plane.snapshot() if wanted.as_of is None else wanted.as_of
    seed = job_id.int % 2**53 if wanted.seed is None else wanted.seed
    sensitivity = Sensitivity(plane, at)
    source: str | CheckedQuery
    if wanted.query is not None:
        source = plane.check(wanted.query, at)
        name = name_of(source)
        outputs = sensitivity.of_query(source)
        hidden = {column.name.casefold() for column in plane.describe(source, at) if outputs.has(column.name)}
    else:
        source = name = plane.dataset(str(wanted.dataset), at).name
        hidden = set(sensitivity.of_dataset(name))
    found = plane.sample(
        source, at=at, rows=wanted.rows, method=wanted.method, seed=seed, columns=wanted.columns, hidden=hidden
    )
    _check_size(found.rows)
    head = SampleHead(
        name=name,
        dataset=None if wanted.query is not None else name,
        query=wanted.query,
        snapshot_id=at,
        method=wanted.method,
        seed=seed if wanted.method == "random" else None,
        rows=len(found.rows),
        of_rows=found.of_rows,
        columns=tuple(
            SampleColumn(name=column.name, type=column.type, redacted=column.name.casefold() in hidden)
            for column in found.columns
        ),
        shortened=sum(is_shortened(value) for row in found.rows for value in row),
        job_id=job_id,
        sampled_at=now,
    )
    return Sample.of(head, found.rows)


def _check_size(rows: Sequence[Sequence[object]]) -> None:
    size = 0
    for row in rows:
        size += len(json.dumps(row))
        if size > LARGEST_BYTES:
            raise SampleTooLargeError(
                f"The sample's rows have more than {LARGEST_BYTES:,} bytes as JSON; {len(rows):,} rows of "
                f"{len(row):,} columns were asked for."
            )
