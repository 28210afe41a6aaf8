"""What a query would scan, without running it: the engine's own plan says which columns and filters each scan has.

The lake leaves files out whose stored bounds show that no row can pass a scan's filters. The filters are taken from the
plan, so that all that the engine folds, derives and pushes down counts, and are compared with the same bounds. Figures
are of files as a whole, as they are before parts of files are left out while they are being read.
"""

# ruff: noqa: S608  (identifiers are quoted, values are literals that were looked at)

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefect_narrative.planes.catalog import TYPES
from prefect_narrative.planes.connection import METADATA
from prefect_narrative.planes.names import literal, quoted
from prefect_narrative.planes.plane import Column, Scanned

Execute = Callable[[str], Sequence[Sequence[Any]]]

_VALUE = re.compile(
    r"(?:'(?:[^']|'')*'|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|true|false)(?:::[A-Z][A-Z0-9_ ]*(?:\(\d+(?:,\s*\d+)?\))?)?"
)
"""A value as plans write it."""
_OPTIONAL = "optional: "
_SCAN = "DUCKLAKE_SCAN"
_BOUNDS = {
    "=": "({low} IS NULL OR {high} IS NULL OR {value} BETWEEN {low} AND {high})",
    "!=": "({low} IS NULL OR {high} IS NULL OR NOT ({low} = {value} AND {high} = {value}))",
    ">": "({high} IS NULL OR {high} > {value}{nan})",
    ">=": "({high} IS NULL OR {high} >= {value}{nan})",
    "<": "({low} IS NULL OR {low} < {value})",
    "<=": "({low} IS NULL OR {low} <= {value})",
}


@dataclass(frozen=True)
class Scan:
    """One scan of a plan."""

    table: str
    columns: tuple[str, ...]
    filters: tuple[str, ...]


@dataclass(frozen=True)
class ScannedTable:
    """A table that a query reads."""

    dataset: str
    table: str
    """Its name without the schema, as plans have it."""
    table_id: int
    at: int


@dataclass(frozen=True)
class _Columns:
    """A table's columns at the top, and the ids of each with all that is nested in it."""

    top: tuple[Column, ...]
    ids: Mapping[str, tuple[int, ...]]


def scans_of(plan: str) -> list[Scan]:
    """Return the scans of a plan, given as EXPLAIN (FORMAT json) gives it."""
    found = []
    for node in _nodes(json.loads(plan)):
        if node.get("name", "").strip() == _SCAN:
            about = node.get("extra_info") or {}
            found.append(
                Scan(str(about.get("Table", "")), _texts(about.get("Projections")), _texts(about.get("Filters")))
            )
    return found


def scanned(scans: Sequence[Scan], tables: Sequence[ScannedTable], catalog: "Metadata") -> list[Scanned]:
    """Return what these scans read of each table, by dataset.

    Args:
        scans: Those of a query's plan.
        tables: What the query reads.
        catalog: What the catalog has of them.
    """
    named: dict[str, list[ScannedTable]] = {}
    for table in tables:
        named.setdefault(table.table, []).append(table)
    read: dict[str, list[tuple[ScannedTable, Scan, bool]]] = {table.dataset: [] for table in tables}
    for scan in scans:
        # A plan says neither schema nor snapshot: where a name is of several tables, they count as read whole.
        candidates = named.get(scan.table, [])
        for table in candidates:
            read[table.dataset].append((table, scan, len(candidates) == 1))
    catalog.load_statistics([(table, scan) for found in read.values() for table, scan, _ in found])
    newest = {table.dataset: table for table in sorted(tables, key=lambda table: table.at)}
    return [_total(newest[dataset], found, catalog) for dataset, found in read.items()]


def _total(of: ScannedTable, read: Sequence[tuple[ScannedTable, Scan, bool]], catalog: "Metadata") -> Scanned:
    files: set[int] = set()
    rows = size = 0
    exact = True
    for table, scan, alone in read:
        kept, sure = catalog.kept(table, scan if alone else Scan(scan.table, scan.columns, ()))
        exact = exact and sure and alone
        files |= set(kept)
        rows += sum(catalog.rows[file] for file in kept) + catalog.inlined.get((table.table_id, table.at), 0)
        size += catalog.bytes_of(table, scan, kept)
    deletions = {one for file in files for table, _, _ in read for one in catalog.deletions(file, table.at)}
    size += sum(catalog.deletion_bytes[one] for one in deletions)
    columns = catalog.columns[of.table_id, of.at].top
    files_read = len(files) + len(deletions)
    return Scanned(of.dataset, of.at, files_read, rows, size, exact, of.table_id, catalog.live_rows(of), columns)


class Metadata:
    """What the catalog has of some tables, read with few statements: each of them takes longer than its rows do.

    Args:
        tables: The tables, one at least.
        execute: Runs a statement on a connection that reads the catalog.
    """

    def __init__(self, tables: Sequence[ScannedTable], execute: Execute) -> None:
        self._execute = execute
        self._tables = tables
        self._ids = ", ".join(str(one) for one in sorted({table.table_id for table in tables}))
        self.rows: dict[int, int] = {}
        self._files: dict[int, list[tuple[int, int, int | None, int]]] = {}
        self._deletions: dict[int, list[tuple[int, int, int | None]]] = {}
        self.deletion_bytes: dict[int, int] = {}
        self._deleted: dict[int, int] = {}
        self._statistics: dict[tuple[int, int], Sequence[Any]] = {}
        self._loaded: set[tuple[int, int]] = set()
        self.inlined: dict[tuple[int, int], int] = {}
        found = execute(
            "SELECT 'data', table_id, data_file_id, begin_snapshot, end_snapshot, record_count, file_size_bytes "
            f"FROM {METADATA}.ducklake_data_file WHERE table_id IN ({self._ids}) UNION ALL "
            "SELECT 'deletions', data_file_id, delete_file_id, begin_snapshot, end_snapshot, delete_count, "
            "file_size_bytes "
            f"FROM {METADATA}.ducklake_delete_file WHERE table_id IN ({self._ids})"
        )
        for kind, owner, file, begin, end, rows, size in found:
            if kind == "data":
                self._files.setdefault(owner, []).append((file, begin, end, size))
                self.rows[file] = rows
            else:
                self._deletions.setdefault(owner, []).append((file, begin, end))
                self.deletion_bytes[file] = size
                self._deleted[file] = rows
        self.columns = self._read_columns()
        self._count_inlined()

    def live_rows(self, table: ScannedTable) -> int:
        """Return how many rows a table has."""
        files = [one for one, begin, end, _ in self._files.get(table.table_id, ()) if _is_live(table.at, begin, end)]
        gone = sum(self._deleted[one] for file in files for one in self.deletions(file, table.at))
        return sum(self.rows[file] for file in files) - gone + self.inlined.get((table.table_id, table.at), 0)

    def _read_columns(self) -> dict[tuple[int, int], _Columns]:
        rows = self._execute(
            "SELECT table_id, column_id, parent_column, column_name, column_type, begin_snapshot, end_snapshot "
            f"FROM {METADATA}.ducklake_column WHERE table_id IN ({self._ids}) ORDER BY table_id, column_order"
        )
        found = {}
        for table in self._tables:
            live = [row for row in rows if row[0] == table.table_id and _is_live(table.at, row[5], row[6])]
            names = {row[1]: str(row[3]).lower() for row in live if row[2] is None}
            ids: dict[str, list[int]] = {}
            parents = {row[1]: row[2] for row in live}
            for column in parents:
                top = column
                while parents.get(top) is not None:
                    top = parents[top]
                if top in names:
                    ids.setdefault(names[top], []).append(column)
            columns = tuple(
                Column(str(row[3]), TYPES.get(str(row[4]), str(row[4]).upper())) for row in live if row[2] is None
            )
            found[table.table_id, table.at] = _Columns(columns, {name: tuple(ones) for name, ones in ids.items()})
        return found

    def _count_inlined(self) -> None:
        """Count the rows that lie in the catalog itself."""
        kept = self._execute(
            f"SELECT table_id, table_name FROM {METADATA}.ducklake_inlined_data_tables WHERE table_id IN ({self._ids})"
        )
        parts = [
            f"SELECT {table.table_id}, {table.at}, count(*) FROM {METADATA}.{quoted(name)} WHERE begin_snapshot <= "
            f"{table.at} AND (end_snapshot IS NULL OR end_snapshot > {table.at})"
            for table in {(one.table_id, one.at): one for one in self._tables}.values()
            for table_id, name in kept
            if table_id == table.table_id
        ]
        for table_id, at, count in self._execute(" UNION ALL ".join(parts)) if parts else ():
            self.inlined[table_id, at] = self.inlined.get((table_id, at), 0) + int(count)

    def load_statistics(self, reads: Sequence[tuple[ScannedTable, Scan]]) -> None:
        """Read what is stored of the columns that scans need."""
        wanted: set[tuple[int, int]] = set()
        for table, scan in reads:
            columns = self.columns[table.table_id, table.at]
            wanted |= {(table.table_id, one) for name in self._used(table, scan) for one in columns.ids.get(name, ())}
        if wanted <= self._loaded:
            return
        self._loaded |= wanted
        numbers = ", ".join(str(one) for one in sorted({column for _, column in wanted}))
        found = self._execute(
            "SELECT data_file_id, column_id, column_size_bytes, min_value, max_value, value_count, null_count, "
            f"contains_nan FROM {METADATA}.ducklake_file_column_stats WHERE table_id IN ({self._ids}) "
            f"AND column_id IN ({numbers})"
        )
        self._statistics |= {(row[0], row[1]): row[2:] for row in found}

    def _used(self, table: ScannedTable, scan: Scan) -> set[str]:
        columns = self.columns[table.table_id, table.at]
        mentioned = {word for text in scan.filters for word in re.findall(r"\w+", text.lower()) if word in columns.ids}
        return {name.lower() for name in scan.columns if name.lower() in columns.ids} | mentioned

    def bytes_of(self, table: ScannedTable, scan: Scan, files: Sequence[int]) -> int:
        """Return the stored bytes of the columns that a scan needs; whole files where these are not known."""
        columns = self.columns[table.table_id, table.at]
        ids = [one for name in self._used(table, scan) for one in columns.ids[name]]
        sizes = {file: size for file, _, _, size in self._files.get(table.table_id, ())}
        total = 0
        for file in files:
            known = [self._statistics[file, one][0] for one in ids if (file, one) in self._statistics]
            told = [int(one) for one in known if one is not None]
            total += sum(told) if told or not ids else sizes[file]
        return total

    def deletions(self, file: int, at: int) -> list[int]:
        """Return the files of a data file's deletions."""
        return [one for one, begin, end in self._deletions.get(file, ()) if _is_live(at, begin, end)]

    def kept(self, table: ScannedTable, scan: Scan) -> tuple[list[int], bool]:
        """Return the files that a scan reads, and whether all of its filters were understood."""
        live = [file for file, begin, end, _ in self._files.get(table.table_id, ()) if _is_live(table.at, begin, end)]
        columns = self.columns[table.table_id, table.at]
        conditions, sure = _kept(scan.filters, columns.top)
        if not conditions or not live:
            return live, sure
        parts = []
        for name, tests in conditions.items():
            known = [(file, self._statistics.get((file, columns.ids[name][0]))) for file in live]
            rows = ", ".join(
                f"({file}, {', '.join('NULL' if one is None else literal(str(one)) for one in values[1:])})"
                for file, values in known
                if values is not None
            )
            if rows:
                names = "file, min_value, max_value, value_count, null_count, contains_nan"
                parts.append(
                    f"SELECT file FROM (VALUES {rows}) AS s({names}) WHERE NOT ({' AND '.join(tests).replace('$', '')})"
                )
        out = {int(row[0]) for row in self._execute(" UNION ALL ".join(parts))} if parts else set()
        return [file for file in live if file not in out], sure


def _is_live(at: int, begin: int, end: int | None) -> bool:
    return begin <= at and (end is None or end > at)


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    for node in value if isinstance(value, list) else [value]:
        yield node
        yield from _nodes(node.get("children", []))


def _texts(value: Any) -> tuple[str, ...]:
    if value is None or value == "":
        return ()
    return tuple(map(str, value)) if isinstance(value, list) else (str(value),)


def _kept(filters: Sequence[str], columns: Sequence[Column]) -> tuple[dict[str, list[str]], bool]:
    """Return for each column the conditions under which a file is kept, and whether all filters were understood."""
    kept: dict[str, list[str]] = {}
    sure = True
    for text in filters:
        if text.startswith("(") or "Dynamic Filter" in text:
            continue  # an expression, by which no file is left out; or what is known only while the query runs
        column = _column_of(text.removeprefix(_OPTIONAL), columns)
        condition = None if column is None else _condition(text, column)
        if column is None or condition is None:
            sure = False
        else:
            kept.setdefault(column.name.lower(), []).append(condition)
    return kept, sure


def _column_of(text: str, columns: Sequence[Column]) -> Column | None:
    fitting = [
        column
        for column in columns
        if text.startswith(column.name) and re.match(r"(?:[<>=!]|\s+(?:IN|IS)\b)", text[len(column.name) :])
    ]
    return max(fitting, key=lambda column: len(column.name), default=None)


def _condition(text: str, column: Column) -> str | None:  # noqa: PLR0911  (one for each form)
    """Return when a file may have rows that pass a filter on one column; None where the filter is not understood."""
    text = text.removeprefix(_OPTIONAL)
    for word, joined in ((" OR ", " OR "), (" AND ", " AND ")):
        parts = _split(text, word)
        if len(parts) > 1:
            found = [_condition(part, column) for part in parts]
            known = [one for one in found if one is not None]
            return f"({joined.join(known)})" if len(known) == len(found) else None
    if not text.startswith(column.name):
        return None
    rest = text[len(column.name) :].strip()
    if rest == "IS NULL":
        return "($null_count IS NULL OR CAST($null_count AS BIGINT) > 0)"
    if rest == "IS NOT NULL":
        return "($value_count IS NULL OR CAST($value_count AS BIGINT) > 0)"
    if rest.startswith("IN (") and rest.endswith(")"):
        values = _split(rest[len("IN (") : -1], ", ")
        found = [_compared("=", value, column) for value in values]
        known = [one for one in found if one is not None]
        return f"({' OR '.join(known)})" if len(known) == len(found) else None
    for operator in ("!=", ">=", "<=", "=", ">", "<"):
        if rest.startswith(operator):
            return _compared(operator, rest[len(operator) :].strip(), column)
    return None


def _compared(operator: str, value: str, column: Column) -> str | None:
    if not _VALUE.fullmatch(value):
        return None
    low, high = (f"TRY_CAST(${name}_value AS {column.type})" for name in ("min", "max"))
    nan = " OR coalesce($contains_nan, '0') NOT IN ('0', 'False')" if column.type in {"DOUBLE", "FLOAT"} else ""
    return _BOUNDS[operator].format(low=low, high=high, value=value, nan=nan)


def _split(text: str, word: str) -> list[str]:
    """Return the parts of a text between a word that stands outside of quotes and parentheses."""
    parts, start, depth, quoted, position = [], 0, 0, False, 0
    while position < len(text):
        letter = text[position]
        if letter == "'":
            quoted = not quoted
        elif not quoted and letter in "()":
            depth += 1 if letter == "(" else -1
        elif not quoted and not depth and text.startswith(word, position):
            parts.append(text[start:position])
            position += len(word)
            start = position
            continue
        position += 1
    return [*parts, text[start:]]
