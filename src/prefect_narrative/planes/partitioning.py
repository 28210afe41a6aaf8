"""By what a dataset's files are kept apart: values of columns, or the year, month or day of a date or time.

Each file holds the rows of one partition, so that its least and greatest values, which the lake keeps, tell a query
whether it must read the file. DuckLake's own SET PARTITIONED BY is not used: it takes staged files only where a
partition's values are text in their paths, and none where it is by year, month or day.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.planes.errors import nearest, shortened
from prefect_narrative.planes.names import quoted
from prefect_narrative.planes.plane import Column

PARTS_OF_TIME = ("year", "month", "day")
MAX_PARTITIONS = 1000
"""Each is a file or two, and adding them to the lake takes some milliseconds apiece while all other writers wait."""

_PART = re.compile(rf"({'|'.join(PARTS_OF_TIME)})\((.+)\)", re.IGNORECASE | re.DOTALL)
_TIME_TYPES = ("DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE")
_NESTED = ("STRUCT", "MAP", "JSON", "BLOB")


class InvalidPartitionError(NarrativeError, ValueError):
    """A dataset's files can't be kept apart by this."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "invalid_partition"
    remedy = "Give columns, or year(column), month(column), day(column) of a date or timestamp."


class TooManyPartitionsError(NarrativeError, ValueError):
    """The rows fall into more partitions than files can sensibly be kept apart by."""

    kind: ClassVar[FailureKind] = FailureKind.DATA
    code: ClassVar[str] = "too_many_partitions"
    remedy = "Partition by fewer or coarser keys: year(column) and month(column) instead of day(column)."


@dataclass(frozen=True)
class Partition:
    """One key by which files are kept apart."""

    column: str
    part: str | None = None
    """year, month or day of the column; None: its value."""

    def __str__(self) -> str:
        """Return it as a user writes it."""
        return self.column if self.part is None else f"{self.part}({self.column})"

    def sql(self, table: str | None = None) -> str:
        """Return it as an expression over the rows of a table that is called so in the statement."""
        column = quoted(self.column) if table is None else f"{table}.{quoted(self.column)}"
        return column if self.part is None else f"{self.part}({column})"


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
