"""What is kept of a view's groups so that they can be brought up to date.

One row a group: its keys, how many rows it has, and for each argument of an aggregate how many values, and as far as
is needed their sum, average, least and greatest. Insertions and deletions change counts and sums by adding. A bound
follows from what was inserted, unless a deleted value reaches it: then the group is computed from its rows again. So it
is where an average can't be told from sum and count.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from prefect_narrative.planes.names import quoted
from prefect_narrative.planes.nodes import Node
from prefect_narrative.planes.plane import Column
from prefect_narrative.views.grouping import PREFIX, ROWS, Groups, Result, key_name, result_name
from prefect_narrative.views.reasons import NotIncrementalError

WHOLE = frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"})
EXACT = WHOLE | {
    "BOOLEAN", "VARCHAR", "BLOB", "UUID", "DATE", "TIME", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "TIMESTAMP_NS",
}  # fmt: skip
"""Types of which equal values are the same bit by bit, and which files keep in their order; so are decimals."""
FLOATING = frozenset({"FLOAT", "DOUBLE"})
RESULTS: tuple[Result, ...] = ("count", "sum", "avg", "min", "max")
BOUNDS: tuple[Result, ...] = ("min", "max")

_DECIMAL = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)")


@dataclass(frozen=True)
class Kept:
    """What is kept of one argument of aggregates."""

    number: int
    results: frozenset[Result]
    value: str | None
    """The value's column among the rows that are grouped; None: the row itself."""
    condition: str | None
    """The column that says whether it counts; None: it always does."""
    type: str
    """The value's."""

    @property
    def names(self) -> list[str]:
        """Its columns."""
        return [result_name(self.number, result) for result in RESULTS if self.keeps(result)]

    def keeps(self, result: Result) -> bool:
        """Return whether it has a column for this; averages need a sum as well, and everything needs a count."""
        return result == "count" or result in self.results or (result == "sum" and "avg" in self.results)

    def name(self, result: Result) -> str:
        """Return the column for a result, as SQL."""
        return quoted(result_name(self.number, result))

    @property
    def bounds(self) -> list[Result]:
        """Which of least and greatest it keeps."""
        return [bound for bound in BOUNDS if bound in self.results]

    @property
    def scale(self) -> int:
        """Digits after the point."""
        found = _DECIMAL.fullmatch(self.type)
        return int(found[2]) if found else 0

    @property
    def sum_type(self) -> str:
        """In what the engine adds up."""
        return f"DECIMAL(38,{self.scale})" if _DECIMAL.fullmatch(self.type) else "HUGEINT"

    @property
    def filtered(self) -> str:
        """The FILTER of its aggregates."""
        return "" if self.condition is None else f" FILTER (WHERE {quoted(self.condition)})"


@dataclass(frozen=True)
class Results:
    """What is kept of groups."""

    keys: tuple[Column, ...]
    kept: tuple[Kept, ...]
    shown: tuple[Node, ...]
    having: Node | None
    columns: tuple[Column, ...]
    """The view's."""

    @property
    def names(self) -> list[str]:
        """The columns of the state."""
        return [*(key.name for key in self.keys), ROWS, *(name for one in self.kept for name in one.names)]

    @property
    def averaged(self) -> tuple[Kept, ...]:
        """What averages are taken of."""
        return tuple(one for one in self.kept if one.keeps("avg"))

    @property
    def bounded(self) -> bool:
        """Whether a deletion may make groups be computed again."""
        return any(one.keeps("min") or one.keeps("max") for one in self.kept)

    @property
    def told_by(self) -> tuple[str, ...]:
        """The view's columns that tell a group from every other one: its keys. Empty where they are not all shown."""
        found: dict[str, str] = {}
        for node, column in zip(self.shown, self.columns, strict=True):
            if node["class"] == "COLUMN_REF":
                found.setdefault(node["column_names"][-1], column.name)
        names = [key.name for key in self.keys]
        return tuple(found[name] for name in names) if names and set(names) <= set(found) else ()


def results_of(groups: Groups, rows: Sequence[Column], columns: Sequence[Column]) -> Results:
    """Return what is kept of groups.

    Args:
        groups: The query's parts.
        rows: The columns of the rows that are grouped.
        columns: The view's.

    Raises:
        NotIncrementalError: a key or a value is of a type that does not come out exactly equal.
    """
    types = {column.name: column.type for column in rows}
    keys = tuple(Column(key_name(number), types[key_name(number)]) for number in range(len(groups.keys)))
    for key in keys:
        if not _is_exact(key.type):
            raise NotIncrementalError(f"The query tells rows apart by a {key.type}.")
    kept = []
    for number, argument in enumerate(groups.arguments):
        value = None if argument.value is None else f"{PREFIX}a{number}"
        condition = None if argument.condition is None else f"{PREFIX}f{number}"
        kind = types[value] if value is not None else "BOOLEAN"
        for result in sorted(argument.results):
            _check_type(result, kind)
        kept.append(Kept(number, argument.results, value, condition, kind))
    return Results(keys, tuple(kept), groups.shown, groups.having, tuple(columns))


def _is_exact(kind: str) -> bool:
    return kind in EXACT or _DECIMAL.fullmatch(kind) is not None


def _check_type(result: Result, kind: str) -> None:
    if result == "count" or _DECIMAL.fullmatch(kind) or (kind in WHOLE and (result, kind) != ("avg", "UBIGINT")):
        return
    if result in {"sum", "avg"}:
        if kind == "BOOLEAN" and result == "sum":
            return
        why = "which depends on the order of addition" if kind in FLOATING else "which is not known to come out equal"
        raise NotIncrementalError(f"The query has the {result} of a {kind}, {why}.")
    if kind not in EXACT | FLOATING:
        raise NotIncrementalError(f"The query has the {result} of a {kind}.")
