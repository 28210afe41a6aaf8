"""What metadata knows of a table's columns: stored bytes always, counts and bounds where they are exact."""

# ruff: noqa: S608  (identifiers are our own, values are numbers and types of the catalog)

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect_narrative.planes.column_statistics import Statistic
from prefect_narrative.planes.connection import METADATA
from prefect_narrative.planes.json_values import fetched, json_value

if TYPE_CHECKING:
    from duckdb.sqltypes import DuckDBPyType

Execute = Callable[[str], Sequence[Sequence[Any]]]

WHOLE_BOUND = 64
"""Characters up to which a text's bound in metadata is surely not cut."""
AT_ONCE = 50
"""Columns that one statement asks about."""


@dataclass(frozen=True)
class Stored:
    """What lies in a table's files of one column."""

    bytes: int
    values: int
    """Not NULL."""
    nulls: int
    files: int
    """Files that tell about it."""


class ColumnFiles:
    """The metadata of a table's files in one snapshot.

    Args:
        execute: Runs a statement on a connection to which the lake is attached.
        table_id: The table.
        at: The snapshot.
        inlined: Whether the catalog itself has rows of the table, or says that rows of its files are deleted.
    """

    def __init__(self, execute: Execute, table_id: int, at: int, *, inlined: bool) -> None:
        self._execute = execute
        self._table_id = int(table_id)
        self._at = int(at)
        self._live = f"begin_snapshot <= {self._at} AND (end_snapshot IS NULL OR end_snapshot > {self._at})"
        self._of_table = f"table_id = {self._table_id} AND {self._live}"
        self._ids, self._stored = self._read()
        self._files, self._exact = self._look(inlined=inlined)

    def stored_bytes(self, column: str) -> int:
        """Return the bytes that a column takes in the table's files, compressed; what lies in the catalog has none."""
        return self._stored[column].bytes

    def free(
        self, wanted: Sequence[tuple[str, "DuckDBPyType", Collection[Statistic]]]
    ) -> dict[str, dict[Statistic, Any]]:
        """Return, by column, what is known exactly without reading a value.

        Args:
            wanted: Columns, their types, and which statistics are wanted.
        """
        found: dict[str, dict[Statistic, Any]] = {}
        bounded: list[tuple[str, DuckDBPyType]] = []
        for column, kind, statistics in wanted:
            stored = self._stored[column]
            told: dict[Statistic, Any] = {"column_stored_bytes": stored.bytes}
            if self._exact and stored.files == self._files:
                rows = stored.values + stored.nulls
                told["value_count"], told["null_value_count"] = stored.values, stored.nulls
                told["completeness"] = stored.values / rows if rows else None
                if {"lower_bound", "upper_bound"} & set(statistics):
                    bounded.append((column, kind))
            found[column] = told
        for start in range(0, len(bounded), AT_ONCE):
            for column, bounds in self._bounds(bounded[start : start + AT_ONCE]):
                found[column].update(bounds)
        return {
            column: {name: value for name, value in found[column].items() if name in statistics}
            for column, _, statistics in wanted
        }

    def _read(self) -> tuple[dict[str, int], dict[str, Stored]]:
        rows = self._execute(
            f"""
            WITH RECURSIVE part AS (
                SELECT column_id, column_id AS root FROM {METADATA}.ducklake_column
                WHERE {self._of_table} AND parent_column IS NULL
                UNION ALL
                SELECT c.column_id, part.root FROM {METADATA}.ducklake_column AS c
                JOIN part ON c.parent_column = part.column_id WHERE c.table_id = {self._table_id} AND {self._live}
            ), held AS (
                SELECT column_id, sum(column_size_bytes) AS bytes, sum(value_count) AS filled, sum(null_count) AS nulls,
                    count(value_count) FILTER (null_count IS NOT NULL) AS files
                FROM {METADATA}.ducklake_file_column_stats WHERE table_id = {self._table_id} AND data_file_id IN
                    (SELECT data_file_id FROM {METADATA}.ducklake_data_file WHERE {self._of_table})
                GROUP BY column_id
            )
            SELECT c.column_name, c.column_id, CAST(coalesce(sum(held.bytes), 0) AS BIGINT),
                CAST(coalesce(sum(held.filled) FILTER (part.column_id = part.root), 0) AS BIGINT),
                CAST(coalesce(sum(held.nulls) FILTER (part.column_id = part.root), 0) AS BIGINT),
                CAST(coalesce(sum(held.files) FILTER (part.column_id = part.root), 0) AS BIGINT)
            FROM {METADATA}.ducklake_column AS c JOIN part ON part.root = c.column_id
            LEFT JOIN held ON held.column_id = part.column_id
            WHERE c.table_id = {self._table_id} AND {self._live} GROUP BY ALL
            """
        )
        return {row[0]: row[1] for row in rows}, {row[0]: Stored(*row[2:]) for row in rows}

    def _look(self, *, inlined: bool) -> tuple[int, bool]:
        """Return how many files there are, and whether what they say holds for the table as it is in the snapshot.

        Deleted rows are still counted in the files' metadata, rows that lie in the catalog are not, and files that were
        merged later have rows that the snapshot does not see.
        """
        files, later = self._execute(
            f"SELECT count(*), coalesce(max(partial_max), 0) > {self._at} FROM {METADATA}.ducklake_data_file "
            f"WHERE {self._of_table}"
        )[0]
        deleted = self._execute(f"SELECT 1 FROM {METADATA}.ducklake_delete_file WHERE {self._of_table} LIMIT 1")
        return files, not later and not deleted and not inlined

    def _bounds(self, columns: Sequence[tuple[str, "DuckDBPyType"]]) -> list[tuple[str, dict[Statistic, Any]]]:
        """Return the bounds of columns; none of a column of which a file does not tell them whole."""
        selected: list[str] = []
        for column, kind in columns:
            of_column = f"column_id = {self._ids[column]}"
            lower, upper = f"TRY_CAST(min_value AS {kind})", f"TRY_CAST(max_value AS {kind})"
            unknown = f"({lower} IS NULL OR {upper} IS NULL)"
            if kind.id == "varchar":
                unknown = f"({unknown} OR greatest(length(min_value), length(max_value)) > {WHOLE_BOUND})"
            selected += [
                f"count(*) FILTER ({of_column} AND value_count > 0 AND {unknown})",
                fetched(f"min({lower}) FILTER ({of_column})", kind),
                fetched(f"max({upper}) FILTER ({of_column})", kind),
            ]
        ids = ", ".join(str(self._ids[column]) for column, _ in columns)
        row = self._execute(
            f"""
            SELECT {", ".join(selected)}
            FROM {METADATA}.ducklake_file_column_stats WHERE table_id = {self._table_id} AND column_id IN ({ids})
                AND data_file_id IN (SELECT data_file_id FROM {METADATA}.ducklake_data_file WHERE {self._of_table})
            """
        )[0]
        found: list[tuple[str, dict[Statistic, Any]]] = []
        for number, (column, kind) in enumerate(columns):
            unknown, lower, upper = row[number * 3 : number * 3 + 3]
            if not unknown:
                found.append((column, {"lower_bound": json_value(lower, kind), "upper_bound": json_value(upper, kind)}))
        return found
