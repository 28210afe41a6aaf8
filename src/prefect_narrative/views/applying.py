"""From how a view's rows differ to which of its stored rows are deleted and which rows are added.

Rows are counted: a row that is there three times and shall be there once more is added once. Equal rows are told apart
as far as their bits differ, so that a deleted 0.0 does not take a -0.0 with it.
"""

# ruff: noqa: S608  (names are made here and quoted, expressions are written from checked trees)

import re
from collections.abc import Sequence

from prefect_narrative.planes.names import literal, quoted
from prefect_narrative.planes.plane import ROW_ID, Column
from prefect_narrative.views.grouping import PREFIX
from prefect_narrative.views.upkeep import OUT_OF_STEP

WEIGHT = f"{PREFIX}weight"
"""The column with how many of these rows there are more; negative: fewer."""
NUMBER = f"{PREFIX}number"

_FLOATING = re.compile(r"\b(FLOAT|DOUBLE)\b")


def together(terms: Sequence[tuple[int, str]], columns: Sequence[Column]) -> str:
    """Return a query for all rows of queries that only add rows."""
    named = ", ".join(quoted(column.name) for column in columns)
    return " UNION ALL ".join(f"SELECT {named} FROM ({rows}) AS narrative_term" for _, rows in terms)


def weighted(terms: Sequence[tuple[int, str]], columns: Sequence[Column]) -> str:
    """Return a query for how rows differ: each row once, with its weight.

    Args:
        terms: Queries for rows that are added (1) and taken away (-1).
        columns: The view's, as it is stored.
    """
    named = ", ".join(quoted(column.name) for column in columns)
    typed = ", ".join(f"CAST({quoted(column.name)} AS {column.type}) AS {quoted(column.name)}" for column in columns)
    parts = [f"SELECT {typed}, {sign} AS {quoted(WEIGHT)} FROM ({rows}) AS narrative_term" for sign, rows in terms]
    return (
        f"SELECT {named}, CAST(sum({quoted(WEIGHT)}) AS BIGINT) AS {quoted(WEIGHT)} "
        f"FROM ({' UNION ALL '.join(parts)}) AS narrative_terms "
        f"GROUP BY {', '.join(_identity(columns))} HAVING sum({quoted(WEIGHT)}) <> 0"
    )


def additions(difference: str, columns: Sequence[Column]) -> str:
    """Return a query for the rows to add.

    Args:
        difference: The relation with what `weighted` yields.
        columns: The view's.
    """
    named = ", ".join(quoted(column.name) for column in columns)
    return (
        f"SELECT {named} FROM (SELECT {named}, unnest(range({quoted(WEIGHT)})) AS {quoted(NUMBER)} "
        f"FROM {quoted(difference)} WHERE {quoted(WEIGHT)} > 0) AS narrative_added"
    )


def removals(difference: str, view: str, columns: Sequence[Column]) -> str:
    """Return a query for the ids of the rows to delete. It fails where the view does not have them.

    Args:
        difference: The relation with what `weighted` yields.
        view: The relation with the view's rows.
        columns: Those of the view's columns that tell its rows apart.
    """
    by = ", ".join(_identity(columns))
    pairs = zip(_identity(columns, "v"), _identity(columns, "d"), strict=True)
    same = " AND ".join(f"{one} IS NOT DISTINCT FROM {two}" for one, two in pairs)
    named = ", ".join(quoted(column.name) for column in columns)
    wanted = (
        f"SELECT {named}, unnest(range(1, 1 - {quoted(WEIGHT)})) AS {quoted(NUMBER)} "
        f"FROM {quoted(difference)} WHERE {quoted(WEIGHT)} < 0"
    )
    there = (
        f"SELECT {quoted(ROW_ID)}, {named}, row_number() OVER (PARTITION BY {by}) AS {quoted(NUMBER)} "
        f"FROM (SELECT v.* FROM {quoted(view)} AS v SEMI JOIN "
        f"(SELECT {named} FROM {quoted(difference)} WHERE {quoted(WEIGHT)} < 0) AS d ON {same}) AS narrative_found"
    )
    row = f"v.{quoted(ROW_ID)}"
    return (
        f"SELECT CASE WHEN {row} IS NULL THEN error({literal(OUT_OF_STEP)}) ELSE {row} END AS {quoted(ROW_ID)} "
        f"FROM ({wanted}) AS d LEFT JOIN ({there}) AS v "
        f"ON v.{quoted(NUMBER)} = d.{quoted(NUMBER)} AND {same}"
    )


def _identity(columns: Sequence[Column], table: str | None = None) -> list[str]:
    """Return expressions that are equal just where rows are, to the bit."""
    before = "" if table is None else f"{table}."
    found = []
    for column in columns:
        name = before + quoted(column.name)
        found.append(name)
        if column.type in {"FLOAT", "DOUBLE"}:
            found.append(f"signbit({name})")
        elif _FLOATING.search(column.type):
            found.append(f"CAST({name} AS VARCHAR)")
    return found
