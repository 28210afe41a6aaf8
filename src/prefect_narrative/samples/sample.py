"""What a sample is: rows as JSON, what they are of, how and when they were taken."""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from prefect_narrative.planes.plane import CheckedQuery, KeptSample
from prefect_narrative.planes.sensitive import REDACTED

MAX_ROWS = 1000
HASH_LENGTH = 12
"""Letters of a query's hash in the name of its sample."""


class SampleColumn(BaseModel):
    """A column of a sample."""

    model_config = ConfigDict(frozen=True)

    name: str
    type: str
    """In DuckDB's words; it decides how the values are written as JSON, see `planes.json_values`."""
    redacted: bool = False
    """Whether its values are sensitive, and not shown."""


class SampleHead(BaseModel):
    """What is known of a sample beside its rows."""

    model_config = ConfigDict(frozen=True)

    name: str
    """The dataset's name, or `query-` and a hash of the query: whoever asks again replaces the sample."""
    dataset: str | None
    """None: it is of a query."""
    query: str | None
    snapshot_id: int
    """The snapshot that was read."""
    method: Literal["random", "first"]
    seed: int | None
    """Of random rows: by which the same are found again."""
    rows: int
    of_rows: int | None
    """How many rows the dataset had; None where that was not counted."""
    columns: tuple[SampleColumn, ...]
    shortened: int
    """Values that were too long, of which the beginning is kept."""
    job_id: UUID
    sampled_at: datetime

    @property
    def redacted(self) -> tuple[str, ...]:
        """The columns whose values are not shown."""
        return tuple(column.name for column in self.columns if column.redacted)

    def redacting(self, sensitive: Sequence[bool]) -> Self:
        """Return the same with these columns redacted, too."""
        columns = tuple(
            column.model_copy(update={"redacted": column.redacted or hit})
            for column, hit in zip(self.columns, sensitive, strict=True)
        )
        return self.model_copy(update={"columns": columns})


class Sample(BaseModel):
    """A sample as it is shown: no sensitive value is in it."""

    model_config = ConfigDict(frozen=True)

    head: SampleHead
    rows: tuple[tuple[Any, ...], ...]
    """JSON values; `<redacted>` in the place of each sensitive one, NULL or not."""

    @classmethod
    def of(cls, head: SampleHead, rows: Sequence[Sequence[Any]]) -> Self:
        """Return a sample with what its head says is to be redacted."""
        hidden = [column.redacted for column in head.columns]
        return cls(
            head=head,
            rows=tuple(
                tuple(REDACTED if hit else value for value, hit in zip(row, hidden, strict=True)) for row in rows
            ),
        )

    def as_kept(self) -> KeptSample:
        """Return what the sample store keeps."""
        return KeptSample(self.head.name, self.head.model_dump(mode="json"), self.rows)


def name_of(query: CheckedQuery) -> str:
    """Return the name of a query's sample: the same for the same query, however it is laid out."""
    return f"query-{sha256(query.sql.encode()).hexdigest()[:HASH_LENGTH]}"
