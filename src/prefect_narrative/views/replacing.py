"""What replacing a view's definition does to the views that read it, found out without running anything."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import sqlglot
from sqlglot import exp

from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.planes.errors import shortened
from prefect_narrative.planes.names import dataset_name
from prefect_narrative.planes.plane import CheckedQuery, Column, Plane
from prefect_narrative.views.definition import ViewDefinition
from prefect_narrative.views.lineage import Lineage


class DependantsBreakError(NarrativeError, ValueError):
    """Views that read this one would fail or change with its new columns."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "dependants_break"
    remedy = (
        "Keep the columns that they read, or replace them first; force=true replaces the view all the same: each of "
        "them keeps its rows until its next refresh, which fails or changes its columns."
    )


@dataclass(frozen=True)
class Broken:
    """A view that would not survive."""

    view: str
    why: str


def broken_by(
    plane: Plane, view: str, old: Sequence[Column], new: Sequence[Column], lineage: Lineage, at: int
) -> tuple[Broken, ...]:
    """Return the views that read this one and would fail or change if it had the columns `new` instead of `old`.

    A view that can't be bound as things are is left out: it is broken already.

    Args:
        plane: Where they live.
        view: The view that is to be replaced.
        old: Its columns.
        new: What its new query yields.
        lineage: All views.
        at: The snapshot that is looked at.
    """
    kept = {column.name.casefold(): column.type for column in new}
    gone = [column.name for column in old if column.name.casefold() not in kept]
    retyped = {
        name: f"{column.name} is {shortened(kept[name], 80)}, no longer {shortened(column.type, 80)}"
        for column in old
        if (name := column.name.casefold()) in kept and kept[name] != column.type
    }
    if not gone and not retyped and len(kept) == len(old):
        return ()  # a column more may double a name somewhere
    found = []
    for reader in lineage.readers(view):
        why = _why(plane, reader, view, new, retyped, at)
        if why is not None:
            found.append(Broken(reader, why))
    return tuple(found)


def check_dependants(view: str, broken: Sequence[Broken]) -> None:
    """Raise unless no view would break.

    Raises:
        DependantsBreakError: with each view and why.
    """
    if broken:
        told = "; ".join(f"{one.view}: {one.why}" for one in broken)
        raise DependantsBreakError(
            f"{view!r} can't be replaced so: {shortened(told)}.",
            detail={"dependants": {one.view: one.why for one in broken}},
        )


def _why(plane: Plane, reader: str, view: str, new: Sequence[Column], retyped: dict[str, str], at: int) -> str | None:
    definition = ViewDefinition.of(plane.dataset(reader, at))
    try:
        query = plane.check(definition.query, at, deltas=definition.write_mode == "append")
        before = {column.name.casefold(): column for column in plane.describe(query, at)}
    except NarrativeError:
        return None
    try:
        described = plane.describe(query, at, {view: new})
    except NarrativeError as error:
        return str(error)
    after = [(column.name.casefold(), column.type) for column in described]
    for name in (column.casefold() for column in definition.column_names if column.casefold() in before):
        types = [kind for other, kind in after if other == name]
        if not types:
            return f"its column {before[name].name} would be gone"
        if len(types) > 1:
            return f"it would have {len(types)} columns called {before[name].name}"
        if types[0] != before[name].type:
            return f"its column {before[name].name} would be {types[0]}, no longer {before[name].type}"
    read = _columns_named(query, view)
    return next((why for name, why in retyped.items() if name in read), None)


def _columns_named(query: CheckedQuery, view: str) -> set[str]:
    """Return the names of all columns that a query names anywhere, of whatever dataset they are.

    None where it reads the view only AT snapshots that it names itself: they stay as they are.
    """
    tree = sqlglot.parse_one(query.sql, read="duckdb")
    wanted = tuple(dataset_name(view))
    tables = (table for table in tree.find_all(exp.Table) if (table.db.lower(), table.name.lower()) == wanted)
    if all(table.args.get("when") for table in tables):
        return set()
    return {column.name.casefold() for column in tree.find_all(exp.Column)}
