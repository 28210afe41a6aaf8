"""What became of a table between two snapshots, from the catalog alone: which rows changed is told without reading any.

DuckLake's change feed is right only where the history is whole. A table that was replaced, a snapshot that expired and
files that were rewritten give wrong rows without an error (measured), so all of that is looked for first.
"""

# ruff: noqa: S608  (identifiers are our own, values are literals or parameters)

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from prefect_narrative.planes.connection import METADATA
from prefect_narrative.planes.errors import ChangesUnknownError
from prefect_narrative.planes.plane import Changes, Column, SourceVersion

Query = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]
"""Runs one statement of ours with its parameters and returns all its rows."""

REWRITING = "rewrite_delete"
"""Deleted rows were left out of rewritten files: the change feed of a range that has this in it is wrong."""
COMPACTIONS = frozenset({"inline_flush", "merge_adjacent", REWRITING})
"""Kinds of changes that leave every row as it was. A kind that is not known counts as a change."""
INSERTIONS = frozenset({"inserted_into_table", "inlined_insert"})
DELETIONS = frozenset({"deleted_from_table", "inlined_delete"})

_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_CHANGE = re.compile(r"(\w+):(\d+)(?=,|$)")


def touched(made: str) -> list[tuple[str, int]]:
    """Return the kinds of changes that one snapshot has made to the contents of tables, each with the table's id."""
    return [(kind, int(table_id)) for kind, table_id in _CHANGE.findall(_QUOTED.sub("", made))]


class History:
    """The history of tables as one connection sees it.

    Args:
        query: Runs a statement on a connection to which the lake is attached.
    """

    def __init__(self, query: Query) -> None:
        self._query = query

    def whole(self, first: int, last: int) -> bool:
        """Return whether every snapshot from `first` to `last` is still there."""
        present = self._query(
            f"SELECT count(*) FROM {METADATA}.ducklake_snapshot WHERE snapshot_id BETWEEN ? AND ?", [first, last]
        )[0][0]
        return int(present) == last - first + 1

    def kinds(self, table_id: int, first: int, last: int) -> set[str]:
        """Return the kinds of changes of a table after snapshot `first`, up to and including `last`."""
        rows = self._query(
            f"SELECT changes_made FROM {METADATA}.ducklake_snapshot_changes "
            "WHERE snapshot_id > ? AND snapshot_id <= ? AND contains(changes_made, ?)",
            [first, last, f":{table_id}"],
        )
        return {kind for (made,) in rows for kind, changed in touched(made or "") if changed == table_id}

    def changed(self, table_id: int, first: int, last: int) -> bool:
        """Return whether a table's rows may have changed after snapshot `first`, up to and including `last`."""
        return not self.whole(first, last) or not self.kinds(table_id, first, last) <= COMPACTIONS

    def moved(self, table_id: int, first: int, last: int) -> bool:
        """Return whether ids of a table's rows, as of snapshot `first`, may mean other rows in `last`, or none."""
        return not self.whole(first, last) or not self.kinds(table_id, first, last) <= COMPACTIONS - {REWRITING}

    def changes(self, seen: SourceVersion, at: int, columns: Sequence[Column], rows: int) -> Changes:
        """Return how much a table has changed since the contents that were seen.

        Args:
            seen: The contents, of a table that is still the same one at `at`.
            at: A snapshot that is there, not older than `seen`.
            columns: The table's.
            rows: How many it has at `at`.

        Raises:
            ChangesUnknownError: a snapshot in between has expired, the columns were changed, or files rewritten.
        """
        first, table_id, name = seen.snapshot_id, seen.table_id, seen.name
        if not self.whole(first, at):
            raise ChangesUnknownError(
                f"The history of {name} since snapshot {first} has expired.", detail={"dataset": name}
            )
        altered = self._query(
            f"""
            SELECT column_name FROM {METADATA}.ducklake_column
            WHERE table_id = $1 AND (begin_snapshot > $2 AND begin_snapshot <= $3
                OR end_snapshot > $2 AND end_snapshot <= $3)
            ORDER BY column_order, column_name
            """,
            [table_id, first, at],
        )
        if altered:
            names = ", ".join(dict.fromkeys(str(column) for (column,) in altered))
            raise ChangesUnknownError(
                f"Columns of {name} have changed since snapshot {first}: {names}.", detail={"dataset": name}
            )
        kinds = self.kinds(table_id, first, at)
        if REWRITING in kinds:
            raise ChangesUnknownError(
                f"Files of {name} were rewritten since snapshot {first}, so its history can't be read.",
                detail={"dataset": name},
            )
        kinds -= COMPACTIONS
        inserted = deleted = 0
        if kinds:
            inserted, deleted = self._volume(table_id, first, at)
        return Changes(
            dataset=name,
            table_id=table_id,
            first=first,
            last=at,
            columns=tuple(columns),
            inserts=bool(kinds - DELETIONS),
            deletes=bool(kinds - INSERTIONS),
            inserted_rows=inserted,
            deleted_rows=deleted,
            rows=rows,
        )

    def _volume(self, table_id: int, first: int, last: int) -> tuple[int, int]:
        """Return at most how many rows were inserted and deleted. A file merged of old and new rows counts as new."""
        values = [table_id, first, last]
        inserted = self._query(
            f"""
            SELECT coalesce(sum(record_count), 0) FROM {METADATA}.ducklake_data_file
            WHERE table_id = $1 AND begin_snapshot <= $3
                AND (begin_snapshot > $2 OR partial_max > $2) AND (end_snapshot IS NULL OR end_snapshot > $2)
            """,
            values,
        )[0][0]
        # A delete file names all deleted rows of its data file, those of earlier ones included.
        deleted = self._query(
            f"""
            SELECT coalesce(sum(now.delete_count - coalesce(was.delete_count, 0)), 0)
            FROM {METADATA}.ducklake_delete_file AS now
            LEFT JOIN (SELECT data_file_id, delete_count FROM {METADATA}.ducklake_delete_file
                WHERE table_id = $1 AND begin_snapshot <= $2 AND (end_snapshot IS NULL OR end_snapshot > $2)
                    AND coalesce(partial_max, 0) <= $2) AS was USING (data_file_id)
            WHERE now.table_id = $1 AND now.begin_snapshot <= $3
                AND (now.begin_snapshot > $2 OR now.partial_max > $2)
                AND (now.end_snapshot IS NULL OR now.end_snapshot > $3)
            """,
            values,
        )[0][0]
        dropped = self._query(
            f"SELECT coalesce(sum(record_count), 0) FROM {METADATA}.ducklake_data_file "
            "WHERE table_id = $1 AND end_snapshot > $2 AND end_snapshot <= $3",
            values,
        )[0][0]
        added, removed = self._inlined(table_id, first, last)
        return int(inserted) + added, int(deleted) + int(dropped) + removed

    def _inlined(self, table_id: int, first: int, last: int) -> tuple[int, int]:
        """Return how many rows that lie in the catalog itself came and went, and how many were deleted by it."""
        import duckdb  # noqa: PLC0415  (the engine is loaded by those who open a plane only)

        added = removed = 0
        tables = self._query(
            f"SELECT table_name FROM {METADATA}.ducklake_inlined_data_tables WHERE table_id = ? ORDER BY ALL",
            [table_id],
        )
        for (table,) in tables:
            came, went = self._query(
                f"""
                SELECT count(*) FILTER (begin_snapshot > $1 AND begin_snapshot <= $2),
                    count(*) FILTER (end_snapshot > $1 AND end_snapshot <= $2)
                FROM {METADATA}."{table}"
                """,
                [first, last],
            )[0]
            added, removed = added + int(came), removed + int(went)
        with suppress(duckdb.CatalogException):  # the table is made when a row is first deleted so
            removed += self._query(
                f"SELECT count(*) FROM {METADATA}.ducklake_inlined_delete_{int(table_id)} "
                "WHERE begin_snapshot > ? AND begin_snapshot <= ?",
                [first, last],
            )[0][0]
        return added, removed
