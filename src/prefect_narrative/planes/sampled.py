"""Rows of a dataset or a query for a sample: chosen, fetched, and turned into JSON."""

# ruff: noqa: S608  (identifiers are quoted, queries are checked trees)

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect_narrative.planes.catalog import Catalog
from prefect_narrative.planes.columns import kind_of, named_columns
from prefect_narrative.planes.connection import execute_one
from prefect_narrative.planes.json_values import fetched, json_value
from prefect_narrative.planes.names import quoted
from prefect_narrative.planes.plane import Column, SampledRows, SampleMethod
from prefect_narrative.planes.sampling import blocks_of, first_rows, hides_places, random_rows, rows_of_query
from prefect_narrative.planes.staging import described

if TYPE_CHECKING:
    import duckdb
    from duckdb.sqltypes import DuckDBPyType


@dataclass(frozen=True)
class Wanted:
    """What a sample is to be, see `Plane.sample`."""

    rows: int
    method: SampleMethod
    seed: int
    columns: Sequence[str] | None
    hidden: Collection[str]


def sample_dataset(
    connection: "duckdb.DuckDBPyConnection", catalog: Catalog, dataset: str, at: int, wanted: Wanted
) -> SampledRows:
    """Return some rows of a dataset."""
    catalog.require([at])
    table = catalog.table(dataset, at)
    has = catalog.columns(at, table.table_id)
    live = catalog.sizes(at, [table])[table.table_id].rows
    if hides_places(has):
        sql = f"SELECT {', '.join(quoted(column.name) for column in has)} FROM {table.name.sql} AT (VERSION => {at})"
        return _of_query(connection, sql, list(has), at, wanted, live, repr(dataset))
    columns = list(has) if wanted.columns is None else named_columns(has, wanted.columns, repr(dataset))
    shown = _Shown(connection, columns, [quoted(column.name) for column in columns], wanted.hidden)

    def execute(sql: str) -> list[tuple[Any, ...]]:
        return execute_one(connection, sql, "SELECT")

    if wanted.method == "first":
        found = first_rows(execute, table, at, wanted.rows, shown.selection)
    else:
        blocks = blocks_of(table, at, execute)
        found = random_rows(execute, table, at, blocks, live, wanted.rows, wanted.seed, shown.selection)
    return SampledRows(tuple(columns), shown.rows(found), live, at)


def sample_query(connection: "duckdb.DuckDBPyConnection", sql: str, at: int, wanted: Wanted) -> SampledRows:
    """Return some rows of a query."""
    return _of_query(connection, sql, described(connection, sql), at, wanted, None, "The query")


def _of_query(
    connection: "duckdb.DuckDBPyConnection",
    sql: str,
    has: Sequence[Column],
    at: int,
    wanted: Wanted,
    live: int | None,
    of: str,
) -> SampledRows:
    columns = list(has) if wanted.columns is None else named_columns(has, wanted.columns, of)
    places = range(len(has)) if wanted.columns is None else [has.index(column) for column in columns]
    shown = _Shown(connection, columns, [f"t.c{place}" for place in places], wanted.hidden)
    found = rows_of_query(
        lambda text: execute_one(connection, text, "SELECT"),
        sql,
        len(has),
        wanted.rows,
        wanted.seed if wanted.method == "random" else None,
        shown.selection,
    )
    return SampledRows(tuple(columns), shown.rows(found), live, at)


class _Shown:
    """The columns of a sample: how they are fetched, and what becomes of their values."""

    def __init__(
        self,
        connection: "duckdb.DuckDBPyConnection",
        columns: Sequence[Column],
        expressions: Sequence[str],
        hidden: Collection[str],
    ) -> None:
        self._kinds: list[DuckDBPyType | None] = [
            None if column.name.casefold() in hidden else kind_of(column, connection) for column in columns
        ]
        self.selection = ", ".join(
            "NULL" if kind is None else fetched(expression, kind)
            for expression, kind in zip(expressions, self._kinds, strict=True)
        )

    def rows(self, found: Sequence[Sequence[Any]]) -> tuple[tuple[Any, ...], ...]:
        """Return fetched rows as JSON has them."""
        return tuple(
            tuple(
                None if kind is None else json_value(value, kind) for value, kind in zip(row, self._kinds, strict=True)
            )
            for row in found
        )
