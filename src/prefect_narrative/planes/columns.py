"""Which columns can be kept in a dataset: their names and types, and what a type is kept as."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from prefect_narrative.planes.errors import (
    AmbiguousColumnError,
    ColumnMismatchError,
    ColumnNotFoundError,
    UnstorableColumnError,
    nearest,
    shortened,
)
from prefect_narrative.planes.names import quoted
from prefect_narrative.planes.plane import Column

if TYPE_CHECKING:
    import duckdb
    from duckdb.sqltypes import DuckDBPyType

MAX_COLUMNS = 1000
MAX_COLUMN_NAME_LENGTH = 255

KEPT_AS = {
    "hugeint": "DECIMAL(38,0)",
    "uhugeint": "DECIMAL(38,0)",
    "enum": "VARCHAR",
    "timestamp_s": "TIMESTAMP",
    "timestamp_ms": "TIMESTAMP",
}
"""Types that the lake's files do not have, and the type that keeps every value that fits (others fail the query)."""

NOT_KEPT = {
    "interval": "CAST it to VARCHAR, or keep its length as a number: epoch(x)",
    "time with time zone": "CAST it to TIME",
    "bit": "CAST it to VARCHAR",
    "bignum": "CAST it to DECIMAL(38,0) or VARCHAR",
    "union": "keep one of its members: union_extract(x, 'member')",
    "time_ns": "CAST it to TIME",
    "variant": "CAST it to JSON",
    "geometry": "keep it as text or as a BLOB",
}
"""Types that the lake's files would change, and what to do instead."""

WIDER = {
    "TINYINT": ("SMALLINT", "INTEGER", "BIGINT"),
    "SMALLINT": ("INTEGER", "BIGINT"),
    "INTEGER": ("BIGINT",),
    "UTINYINT": ("USMALLINT", "UINTEGER", "UBIGINT"),
    "USMALLINT": ("UINTEGER", "UBIGINT"),
    "UINTEGER": ("UBIGINT",),
    "FLOAT": ("DOUBLE",),
}
"""To which columns' types a file's values may be appended as they are."""


def stored_type(kind: "DuckDBPyType", column: str) -> str:
    """Return the type in which a column's values are kept, as SQL.

    Raises:
        UnstorableColumnError: no type keeps them exactly.
    """
    name = kind.id
    if str(kind) == "JSON":
        return "JSON"
    if name in KEPT_AS:
        return KEPT_AS[name]
    if name in {"list", "array", "struct", "map"}:
        # An array has its length, which is no type, among its children.
        parts = [(field, stored_type(part, column)) for field, part in kind.children if isinstance(part, type(kind))]
        if name == "map":
            return f"MAP({parts[0][1]}, {parts[1][1]})"
        if name != "struct":
            return f"{parts[0][1]}[]"
        return f"STRUCT({', '.join(f'{quoted(field)} {part}' for field, part in parts)})"
    if name in NOT_KEPT:
        raise UnstorableColumnError(
            f"The column {shortened(column, 80)!r} has the type {shortened(str(kind), 80)}, "
            "which the lake's files can't keep exactly.",
            remedy=f"{NOT_KEPT[name][0].upper()}{NOT_KEPT[name][1:]}.",
        )
    return str(kind)


def check_names(columns: Sequence[Column]) -> None:
    """Raise unless each column has a name of its own.

    Raises:
        UnstorableColumnError: with the name and the rule.
    """
    if not columns:
        raise UnstorableColumnError("There is no column.")
    if len(columns) > MAX_COLUMNS:
        raise UnstorableColumnError(
            f"There are {len(columns)} columns: a dataset has at most {MAX_COLUMNS}.",
            remedy="Keep fewer columns, or put several into one STRUCT, MAP or LIST.",
        )
    seen: set[str] = set()
    for column in columns:
        shown = shortened(repr(column.name), 80)
        if not column.name.strip() or "\0" in column.name:
            raise UnstorableColumnError(f"A column is called {shown}: a column needs a name.")
        if len(column.name) > MAX_COLUMN_NAME_LENGTH:
            raise UnstorableColumnError(
                f"The column {shown} has a name of {len(column.name)} characters: at most "
                f"{MAX_COLUMN_NAME_LENGTH} are kept."
            )
        if column.name.lower() in seen:
            raise UnstorableColumnError(
                f"Two columns are called {shown}: names must differ by more than upper and lower case."
            )
        seen.add(column.name.lower())


def chosen(columns: Sequence[Column], names: Sequence[str] | None) -> list[Column]:
    """Return the columns that are called so, in that order; all of them for None.

    Raises:
        ColumnMismatchError: there is no such column, or there are several.
    """
    if names is None:
        return list(columns)
    by_name = {column.name.lower(): column for column in columns}
    called = [column.name.lower() for column in columns]
    for name in names:
        if name.lower() not in by_name:
            raise ColumnMismatchError(f"The query has no column {name!r}.{nearest(name, by_name)}")
        if called.count(name.lower()) > 1:
            raise ColumnMismatchError(f"The query has {called.count(name.lower())} columns called {name!r}.")
    return [by_name[name.lower()] for name in names]


def named_columns(columns: Sequence[Column], names: Sequence[str], of: str, what: str = "columns") -> list[Column]:
    """Return the columns that somebody has named, in that order, called as they are.

    Args:
        columns: Those that there are.
        names: Those that are meant; upper and lower case are the same.
        of: What has them, such as `'trips'` or `The query`.
        what: The input that names them.

    Raises:
        ColumnNotFoundError: there is no such column, with the nearest names.
        AmbiguousColumnError: one is named twice, or there are several of that name.
    """
    found: list[Column] = []
    for name in names:
        matches = [column for column in columns if column.name.casefold() == name.casefold()]
        if not matches:
            close = nearest(name, (column.name for column in columns))
            raise ColumnNotFoundError(f"{of} has no column {shortened(name, 80)!r}.{close}", detail={"column": name})
        if len(matches) > 1:
            raise AmbiguousColumnError(f"{of} has {len(matches)} columns called {matches[0].name!r}.")
        if matches[0] in found:
            raise AmbiguousColumnError(f"{matches[0].name!r} is in {what} twice.", remedy="Name each column once.")
        found.append(matches[0])
    return found


def check_append(dataset: str, has: Sequence[Column], given: Sequence[Column]) -> None:
    """Raise unless rows with the columns `given` can be appended to a dataset that has the columns `has`.

    Columns are matched by name, in any order; whole and floating numbers may be narrower than the dataset's.

    Raises:
        ColumnMismatchError: with every difference.
    """
    wanted = {column.name.lower(): column for column in has}
    offered = {column.name.lower(): column for column in given}
    differences = [f"{wanted[name].name} is missing" for name in wanted if name not in offered]
    differences += [f"{offered[name].name} is not in the dataset" for name in offered if name not in wanted]
    for name, column in wanted.items():
        kind = offered[name].type if name in offered else column.type
        if kind != column.type and column.type not in WIDER.get(kind, ()):
            differences.append(f"{column.name} is {kind}, the dataset has {column.type}")
    if differences:
        raise ColumnMismatchError(
            f"The rows can't be appended to {dataset!r}: {shortened('; '.join(differences))}.",
            detail={"dataset": dataset, "differences": differences},
        )


def casts(columns: Sequence[Column], connection: "duckdb.DuckDBPyConnection") -> tuple[list[Column], str]:
    """Return the columns as they are kept, and a SELECT list that makes them so."""
    kept = []
    selection = []
    for column in columns:
        kind = parsed(column, connection)
        stored = str(connection.sqltype(stored_type(kind, column.name)))
        kept.append(Column(column.name, stored))
        name = quoted(column.name)
        selection.append(name if stored == column.type else f"CAST({name} AS {stored}) AS {name}")
    return kept, ", ".join(selection)


def parsed(column: Column, connection: "duckdb.DuckDBPyConnection") -> "DuckDBPyType":
    """Return a column's type as the engine knows it.

    Raises:
        UnstorableColumnError: the type has no name that the engine reads.
    """
    import duckdb  # noqa: PLC0415  (the engine is loaded by those who open a plane only)

    try:
        return connection.sqltype(column.type)
    except duckdb.Error as error:  # DuckDB writes rows without fields' names in a way that it can't read
        raise UnstorableColumnError(
            f"The column {shortened(column.name, 80)!r} has the type {shortened(column.type, 80)}, which has no name "
            "for a dataset.",
            remedy="Name the fields of rows: struct_pack(a := x, b := y).",
        ) from error


def kind_of(column: Column, connection: "duckdb.DuckDBPyConnection") -> "DuckDBPyType":
    """Return a column's type; where that has no name, the one of its text."""
    try:
        return parsed(column, connection)
    except UnstorableColumnError:
        return connection.sqltype("VARCHAR")
