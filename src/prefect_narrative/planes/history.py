"""What became of a table between two snapshots, from the catalog alone: which rows changed is told without reading any.

DuckLake's change feed is right only where the history is whole. A table that was replaced, a snapshot that expired and
files that were rewritten give wrong rows without an error (measured), so all of that is looked for first.
"""

# ruff: noqa: S608  (identifiers are our own, values are literals or parameters)

import re
from collections.abc import Sequence

from prefect_narrative.planes.asking import Query, asking
from prefect_narrative.planes.errors import ChangesUnknownError
from prefect_narrative.planes.names import literal, quoted
from prefect_narrative.planes.plane import Changes, Column, SourceVersion

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
        self._ask = asking(query)

    def whole(self, first: int, last: int) -> bool:
        """Return whether every snapshot from `first` to `last` is still there."""
        [[present]] = self._ask(
            f"SELECT count(*) FROM ducklake_snapshot WHERE snapshot_id BETWEEN {int(first)} AND {int(last)}"
        )
        return int(present) == last - first + 1

    def kinds(self, table_id: int, first: int, last: int) -> set[str]:
        """Return the kinds of changes of a table after snapshot `first`, up to and including `last`."""
        rows = self._ask(
            f"SELECT changes_made FROM ducklake_snapshot_changes WHERE snapshot_id > {int(first)} "
            f"AND snapshot_id <= {int(last)} AND instr(changes_made, ':{int(table_id)}') > 0"
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
        altered = self._ask(
            f"""
            SELECT column_name FROM ducklake_column
            WHERE table_id = {int(table_id)} AND ({_after("begin_snapshot", first, at)}
                OR {_after("end_snapshot", first, at)})
            ORDER BY column_order, column_name
            """
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
        of = f"table_id = {int(table_id)}"
        # A delete file names all deleted rows of its data file, those of earlier ones included.
        [[inserted, deleted, dropped]] = self._ask(
            f"""
            SELECT (SELECT coalesce(sum(record_count), 0) FROM ducklake_data_file
                WHERE {of} AND begin_snapshot <= {int(last)}
                    AND (begin_snapshot > {int(first)} OR partial_max > {int(first)})
                    AND (end_snapshot IS NULL OR end_snapshot > {int(first)})),
                (SELECT coalesce(sum(now.delete_count - coalesce(was.delete_count, 0)), 0)
                FROM ducklake_delete_file AS now
                LEFT JOIN (SELECT data_file_id, delete_count FROM ducklake_delete_file
                    WHERE {of} AND begin_snapshot <= {int(first)}
                        AND (end_snapshot IS NULL OR end_snapshot > {int(first)})
                        AND coalesce(partial_max, 0) <= {int(first)}) AS was ON was.data_file_id = now.data_file_id
                WHERE now.{of} AND now.begin_snapshot <= {int(last)}
                    AND (now.begin_snapshot > {int(first)} OR now.partial_max > {int(first)})
                    AND (now.end_snapshot IS NULL OR now.end_snapshot > {int(last)})),
                (SELECT coalesce(sum(record_count), 0) FROM ducklake_data_file
                WHERE {of} AND {_after("end_snapshot", first, last)})
            """
        )
        added, removed = self._inlined(table_id, first, last)
        return int(inserted) + added, int(deleted) + int(dropped) + removed

    def _inlined(self, table_id: int, first: int, last: int) -> tuple[int, int]:
        """Return how many rows that lie in the catalog itself came and went, and how many were deleted by it."""
        added = removed = 0
        begun, ended = (_after(name, first, last) for name in ("begin_snapshot", "end_snapshot"))
        for (table,) in self._ask(
            f"SELECT table_name FROM ducklake_inlined_data_tables WHERE table_id = {int(table_id)}"
        ):
            [[came, went]] = self._ask(
                f"SELECT count(*) FILTER (WHERE {begun}), count(*) FILTER (WHERE {ended}) FROM {quoted(table)}"
            )
            added, removed = added + int(came), removed + int(went)
        for deletions in self.inlined_deletions([table_id]).values():
            removed += int(self._ask(f"SELECT count(*) FROM {quoted(deletions)} WHERE {begun}")[0][0])
        return added, removed

    def inlined_deletions(self, table_ids: Sequence[int]) -> dict[int, str]:
        """Return where the catalog itself says which rows of tables' files are deleted, for tables of which it does."""
        names = {f"ducklake_inlined_delete_{int(table_id)}": table_id for table_id in table_ids}
        among = f"SELECT name FROM sqlite_master WHERE name IN ({', '.join(map(literal, names)) or 'NULL'})"
        return {names[name]: name for (name,) in self._ask(among)}


def _after(column: str, first: int, last: int) -> str:
    return f"{column} > {int(first)} AND {column} <= {int(last)}"
