"""Reads the lake's catalog: which datasets a snapshot has, how big they are, and what changed between two snapshots."""

# ruff: noqa: S608  (identifiers are quoted, values are literals or parameters, queries are checked trees)

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from prefect_narrative.planes.connection import LAKE, METADATA
from prefect_narrative.planes.errors import DatasetNotFoundError, SnapshotNotFoundError
from prefect_narrative.planes.freshness import freshness
from prefect_narrative.planes.history import History, Query
from prefect_narrative.planes.names import INTERNAL_SCHEMA, STATE_PREFIX, DatasetName, dataset_name, quoted
from prefect_narrative.planes.plane import Column, Dataset, Description, Freshness, SourceVersion

_LIVE = "begin_snapshot <= $at AND (end_snapshot IS NULL OR end_snapshot > $at)"

_SCALARS = {
    "boolean": "BOOLEAN",
    "int8": "TINYINT",
    "int16": "SMALLINT",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "int128": "HUGEINT",
    "uint8": "UTINYINT",
    "uint16": "USMALLINT",
    "uint32": "UINTEGER",
    "uint64": "UBIGINT",
    "uint128": "UHUGEINT",
    "float32": "FLOAT",
    "float64": "DOUBLE",
    "timetz": "TIME WITH TIME ZONE",
    "timestamptz": "TIMESTAMP WITH TIME ZONE",
}
"""The catalog's names of types where they differ from DuckDB's."""


REMEMBERED = 8
"""Snapshots of which the tables are remembered."""


@dataclass(frozen=True)
class Size:
    """How big a table is in one snapshot."""

    rows: int = 0
    bytes: int = 0
    """Stored bytes of its live files."""
    files: int = 0


@dataclass(frozen=True)
class Table:
    """A dataset's table in one snapshot."""

    name: DatasetName
    table_id: int


class Catalog:
    """The catalog as one connection sees it. All methods but `newest` read as of a given snapshot.

    Args:
        query: Runs a statement on a connection to which the lake is attached.
        known: Tables that were found before, by snapshot. What a snapshot has does not change.
    """

    def __init__(self, query: Query, known: dict[int, dict[str, Table]] | None = None) -> None:
        self._query = query
        self._known = {} if known is None else known
        self.history = History(query)

    def newest(self) -> int:
        """Return the id of the newest snapshot."""
        return int(self._query(f"SELECT max(snapshot_id) FROM {METADATA}.ducklake_snapshot", [])[0][0])

    def resolve(self, at: int | None) -> int:
        """Return a snapshot's id if it exists; the newest for None.

        Raises:
            SnapshotNotFoundError: it does not.
        """
        if at is None:
            return self.newest()
        self.require([at])
        return at

    def require(self, snapshots: Iterable[int]) -> None:
        """Raise unless all these snapshots exist.

        Raises:
            SnapshotNotFoundError: with the first that does not, and those that do.
        """
        wanted = sorted(set(snapshots))
        for snapshot in wanted:
            if isinstance(snapshot, bool) or not isinstance(snapshot, int) or not 0 <= snapshot < 2**63:
                raise SnapshotNotFoundError(f"{snapshot!r} is no snapshot's id: it is a whole number from 0.")
        if not wanted:
            return
        found = {
            row[0]
            for row in self._query(
                f"SELECT snapshot_id FROM {METADATA}.ducklake_snapshot WHERE list_contains(?, snapshot_id)", [wanted]
            )
        }
        for snapshot in wanted:
            if snapshot not in found:
                oldest, newest = self._query(
                    f"SELECT min(snapshot_id), max(snapshot_id) FROM {METADATA}.ducklake_snapshot", []
                )[0]
                raise SnapshotNotFoundError(
                    f"There is no snapshot {snapshot}, or it has expired: there are {oldest} to {newest}.",
                    detail={"snapshot_id": snapshot, "oldest": oldest, "newest": newest},
                )

    def tables(self, at: int) -> dict[str, Table]:
        """Return the datasets' tables by name."""
        if at not in self._known:
            if len(self._known) >= REMEMBERED:
                self._known.pop(min(self._known))
            self._known[at] = self._tables(at)
        return self._known[at]

    def _tables(self, at: int) -> dict[str, Table]:
        rows = self._query(
            f"""
            SELECT schema_name, table_name, table_id
            FROM (SELECT * FROM {METADATA}.ducklake_table WHERE {_LIVE})
            JOIN (SELECT schema_id, schema_name FROM {METADATA}.ducklake_schema WHERE {_LIVE}) USING (schema_id)
            WHERE schema_name <> '{INTERNAL_SCHEMA}'
            ORDER BY ALL
            """.replace("$at", str(at)),
            [],
        )
        found = {}
        for schema, table, table_id in rows:
            try:
                name = dataset_name(f"{schema}.{table}")
            except ValueError:
                continue  # another program's table: it has no name by which it could be read here
            found[str(name)] = Table(name, table_id)
        return found

    def states(self, at: int) -> dict[str, Table]:
        """Return the tables with views' hidden states, by the views' names."""
        rows = self._query(
            f"""
            SELECT table_name, table_id
            FROM (SELECT * FROM {METADATA}.ducklake_table WHERE {_LIVE})
            JOIN (SELECT schema_id, schema_name FROM {METADATA}.ducklake_schema WHERE {_LIVE}) USING (schema_id)
            WHERE schema_name = '{INTERNAL_SCHEMA}' AND starts_with(table_name, '{STATE_PREFIX}')
            """.replace("$at", str(at)),
            [],
        )
        return {
            (view := table.removeprefix(STATE_PREFIX)): Table(dataset_name(view), table_id) for table, table_id in rows
        }

    def table(self, name: str, at: int) -> Table:
        """Return one dataset's table.

        Raises:
            InvalidNameError: the name breaks the naming rule.
            DatasetNotFoundError: there is none, with the nearest names.
        """
        key = str(dataset_name(name))
        tables = self.tables(at)
        if key not in tables:
            raise DatasetNotFoundError.named(key, tables, at)
        return tables[key]

    def datasets(self, at: int, tables: Collection[Table]) -> list[Dataset]:
        """Return these tables with their columns, sizes and properties, by name."""
        if not tables:
            return []
        ids = [table.table_id for table in tables]
        columns = self._columns(at, ids)
        sizes = self.sizes(at, tables)
        described = self._properties(at, [str(table.name) for table in tables])
        result = []
        for table in sorted(tables, key=lambda table: str(table.name)):
            size = sizes[table.table_id]
            kind, properties = described.get(str(table.name), ("dataset", {}))
            result.append(
                Dataset(
                    name=str(table.name),
                    kind="view" if kind == "view" else "dataset",
                    snapshot_id=at,
                    table_id=table.table_id,
                    rows=size.rows,
                    bytes=size.bytes,
                    files=size.files,
                    columns=columns.get(table.table_id, ()),
                    properties=properties,
                )
            )
        return result

    def descriptions(self, at: int, names: Collection[str] | None = None) -> list[Description]:
        """Return what datasets are, by name; of those that are named (None: all) those that are there."""
        tables = self.tables(at)
        wanted = sorted(tables if names is None else tables.keys() & set(names))
        described = self._properties(at, None if names is None else wanted)
        found = []
        for name in wanted:
            table = tables[name]
            kind, properties = described.get(name, ("dataset", {}))
            found.append(Description(name, "view" if kind == "view" else "dataset", table.table_id, properties))
        return found

    def freshness(self, seen: Sequence[SourceVersion], at: int) -> list[Freshness]:
        """Return of each of these contents whether they may have changed since, and when they first did."""
        return freshness(self._query, seen, {name: table.table_id for name, table in self.tables(at).items()}, at)

    def changed(self, table_id: int, first: int, last: int) -> bool:
        """Return whether a table's rows may have changed after snapshot `first`, up to and including `last`."""
        return self.history.changed(table_id, first, last)

    def change_kinds(self, table_id: int, first: int, last: int) -> set[str] | None:
        """Return the kinds of a table's changes after snapshot `first`, up to `last`; None: its history has expired."""
        return self.history.kinds(table_id, first, last) if self.history.whole(first, last) else None

    def columns(self, at: int, table_id: int) -> tuple[Column, ...]:
        """Return a table's columns."""
        return self._columns(at, [table_id]).get(table_id, ())

    def known_files(self, below: str) -> set[str]:
        """Return the paths of all data files below a folder that are, or once were, the lake's."""
        rows = self._query(
            f"""
            SELECT path FROM {METADATA}.ducklake_data_file WHERE starts_with(path, $1)
            UNION SELECT path FROM {METADATA}.ducklake_files_scheduled_for_deletion WHERE starts_with(path, $1)
            """,
            [below],
        )
        return {row[0] for row in rows}

    def sizes(self, at: int, tables: Collection[Table]) -> dict[int, Size]:
        """Return how big tables are, by their ids. Rows are counted only where the catalog does not tell them."""
        ids = [table.table_id for table in tables]
        # Files that were merged later have rows that this snapshot does not see; so have files of deletions.
        found = self._query(
            f"""
            SELECT table_id, sum(record_count), sum(file_size_bytes), count(*), coalesce(max(partial_max), 0) > $at
            FROM {METADATA}.ducklake_data_file WHERE {_LIVE} AND list_contains(?, table_id) GROUP BY ALL
            """.replace("$at", str(at)),
            [ids],
        )
        deleted = self._query(
            f"""
            SELECT table_id, sum(delete_count), coalesce(max(partial_max), 0) > $at
            FROM {METADATA}.ducklake_delete_file WHERE {_LIVE} AND list_contains(?, table_id) GROUP BY ALL
            """.replace("$at", str(at)),
            [ids],
        )
        inlined = {
            row[0]
            for row in self._query(
                f"SELECT table_id FROM {METADATA}.ducklake_inlined_data_tables WHERE list_contains(?, table_id)", [ids]
            )
        }
        less = {table_id: (int(rows), bool(later)) for table_id, rows, later in deleted}
        files = {
            table_id: (int(rows), int(size), int(count), bool(later)) for table_id, rows, size, count, later in found
        }
        sizes = {}
        for table in tables:
            rows, size, count, later = files.get(table.table_id, (0, 0, 0, False))
            gone, later_too = less.get(table.table_id, (0, False))
            if later or later_too:
                rows = int(self._query(f"SELECT count(*) FROM {table.name.sql} AT (VERSION => {at})", [])[0][0])
            else:
                rows += (self._inlined_rows(at, table.table_id) if table.table_id in inlined else 0) - gone
            sizes[table.table_id] = Size(rows, size, count)
        return sizes

    def _inlined_rows(self, at: int, table_id: int) -> int:
        """Return how many rows the catalog itself has of a table, less those of files that it says are deleted."""
        import duckdb  # noqa: PLC0415  (the engine is loaded by those who open a plane only)

        rows = 0
        tables = self._query(
            f"SELECT table_name FROM {METADATA}.ducklake_inlined_data_tables WHERE table_id = ? ORDER BY ALL",
            [table_id],
        )
        for (name,) in tables:
            counted = f"SELECT count(*) FROM {METADATA}.{quoted(name)} WHERE {_LIVE}".replace("$at", str(at))
            rows += int(self._query(counted, [])[0][0])
        with suppress(duckdb.CatalogException):  # the table is made when a row is first deleted so
            rows -= int(
                self._query(
                    f"""
                    SELECT count(*) FROM {METADATA}.ducklake_inlined_delete_{int(table_id)}
                    WHERE begin_snapshot <= $at AND file_id IN
                        (SELECT data_file_id FROM {METADATA}.ducklake_data_file WHERE {_LIVE} AND table_id = ?)
                    """.replace("$at", str(at)),
                    [table_id],
                )[0][0]
            )
        return rows

    def said(self, name: str, at: int) -> tuple[str, str] | None:
        """Return a dataset's kind and its properties, as they are written; None where nothing is said about it."""
        rows = self._query(
            f"SELECT kind, properties FROM {LAKE}.{INTERNAL_SCHEMA}.datasets AT (VERSION => {at}) WHERE dataset = ?",
            [name],
        )
        return rows[0] if rows else None

    def _properties(self, at: int, names: Sequence[str] | None = None) -> dict[str, tuple[str, Mapping[str, Any]]]:
        present = self._query(
            f"""
            SELECT count(*) FROM {METADATA}.ducklake_table
            WHERE table_name = 'datasets' AND {_LIVE} AND schema_id IN
                (SELECT schema_id FROM {METADATA}.ducklake_schema WHERE schema_name = '{INTERNAL_SCHEMA}')
            """.replace("$at", str(at)),
            [],
        )[0][0]
        if not present:
            return {}
        wanted = "" if names is None else " WHERE list_contains(?, dataset)"
        rows = self._query(
            f"SELECT dataset, kind, properties FROM {LAKE}.{INTERNAL_SCHEMA}.datasets AT (VERSION => {at}){wanted}",
            [] if names is None else [list(names)],
        )
        return {dataset: (kind, json.loads(properties)) for dataset, kind, properties in rows}

    def _columns(self, at: int, ids: Sequence[int]) -> dict[int, tuple[Column, ...]]:
        rows = self._query(
            f"""
            SELECT table_id, column_id, parent_column, column_name, column_type FROM {METADATA}.ducklake_column
            WHERE {_LIVE} AND list_contains(?, table_id) ORDER BY table_id, column_order
            """.replace("$at", str(at)),
            [ids],
        )
        children: dict[tuple[int, int | None], list[tuple[int, str, str]]] = {}
        for table_id, column_id, parent, name, kind in rows:
            children.setdefault((table_id, parent), []).append((column_id, name, kind))
        return {
            table_id: tuple(Column(name, _type(kind, table_id, column_id, children)) for column_id, name, kind in found)
            for (table_id, parent), found in children.items()
            if parent is None
        }


def _type(
    kind: str, table_id: int, column_id: int, children: Mapping[tuple[int, int | None], list[tuple[int, str, str]]]
) -> str:
    """Return a type of the catalog in DuckDB's words."""
    parts = [
        (name, _type(inner, table_id, child, children))
        for child, name, inner in children.get((table_id, column_id), ())
    ]
    if kind == "list":
        return f"{parts[0][1]}[]"
    if kind == "map":
        return f"MAP({parts[0][1]}, {parts[1][1]})"
    if kind == "struct":
        return f"STRUCT({', '.join(f'{_field(name)} {inner}' for name, inner in parts)})"
    return _SCALARS.get(kind, kind.upper())


def _field(name: str) -> str:
    """Return a struct's field as DuckDB writes it: quoted where it must be."""
    import duckdb  # noqa: PLC0415

    written = str(duckdb.struct_type({name: "INTEGER"}))
    return written[len("STRUCT(") : -len(" INTEGER)")]
