"""By what a dataset's files are kept apart: values of columns, or the year, month or day of a date or time."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.planes.errors import nearest, shortened
from prefect_narrative.planes.names import quoted
from prefect_narrative.planes.plane import Column

PARTS_OF_TIME = ("year", "month", "day")

_PART = re.compile(rf"({'|'.join(PARTS_OF_TIME)})\((.+)\)", re.IGNORECASE | re.DOTALL)
_TIME_TYPES = ("DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE")
_NESTED = ("STRUCT", "MAP", "JSON", "BLOB")


class InvalidPartitionError(NarrativeError, ValueError):
    """A dataset's files can't be kept apart by this."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "invalid_partition"
    remedy = "Give columns, or year(column), month(column), day(column) of a date or timestamp."


@dataclass(frozen=True)
class Partition:
    """One key by which files are kept apart."""

    column: str
    part: str | None = None
    """year, month or day of the column; None: its value."""

    def __str__(self) -> str:
        """Return it as a user writes it."""
        return self.column if self.part is None else f"{self.part}({self.column})"

    @property
    def sql(self) -> str:
        """It as an expression."""
        return quoted(self.column) if self.part is None else f"{self.part}({quoted(self.column)})"


def partitions(words: Sequence[str], columns: Sequence[Column]) -> tuple[Partition, ...]:
    """Return what a user's words mean for a dataset with these columns.

    Args:
        words: Each a column's name, letter case aside, or year, month or day of one: `year(sold_at)`.
        columns: The dataset's.

    Raises:
        InvalidPartitionError: there is no such column, its type does not do, or a word is there twice.
    """
    by_name = {column.name.casefold(): column for column in columns}
    found: list[Partition] = []
    for word in words:
        part, name = None, word.strip()
        if name.casefold() not in by_name and (written := _PART.fullmatch(name)):
            part, name = written[1].lower(), written[2].strip()
        column = by_name.get(name.casefold())
        if column is None:
            raise InvalidPartitionError(
                f"There is no column {shortened(name, 80)!r} to partition by.{nearest(name.casefold(), by_name)}"
            )
        if part is not None and column.type not in _TIME_TYPES:
            raise InvalidPartitionError(f"{word!r}: {column.name} is {column.type}, neither a date nor a timestamp.")
        if part is None and (column.type.endswith("]") or column.type.startswith(_NESTED)):
            raise InvalidPartitionError(f"{column.name} is {shortened(column.type, 80)}: no value to partition by.")
        partition = Partition(column.name, part)
        if partition in found:
            raise InvalidPartitionError(f"{str(partition)!r} is there twice.", remedy="Name each partition key once.")
        found.append(partition)
    return tuple(found)
