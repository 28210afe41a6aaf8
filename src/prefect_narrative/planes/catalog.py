"""Reads the lake's catalog: which datasets a snapshot has, how big they are, and what changed between two snapshots."""

# ruff: noqa: S608  (identifiers are quoted, values are literals or parameters, queries are checked trees)

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from prefect_narrative.planes.asking import Query, asking, live, numbers
from prefect_narrative.planes.connection import LAKE, METADATA
from prefect_narrative.planes.errors import DatasetNotFoundError, SnapshotNotFoundError
from prefect_narrative.planes.freshness import freshness
from prefect_narrative.planes.history import History
from prefect_narrative.planes.names import INTERNAL_SCHEMA, STATE_PREFIX, DatasetName, dataset_name, literal, quoted
from prefect_narrative.planes.plane import Column, Dataset, Description, Freshness, SourceVersion

TYPES = {
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
        self._ask = asking(query)
        self._known = {} if known is None else known
        self.history = History(query)

    def newest(self) -> int:
        """Return the id of the newest snapshot."""
        return int(self._ask("SELECT max(snapshot_id) FROM ducklake_snapshot")[0][0])

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
        among = f"SELECT snapshot_id FROM ducklake_snapshot WHERE snapshot_id IN {numbers(wanted)}"
        found = {int(row[0]) for row in self._ask(among)}
        for snapshot in wanted:
            if snapshot not in found:
                bounds = self._ask("SELECT min(snapshot_id), max(snapshot_id) FROM ducklake_snapshot")
                oldest, newest = map(int, bounds[0])
                raise SnapshotNotFoundError(
                    f"There is no snapshot {snapshot}, or it has expired: there are {oldest} to {newest}.",
                    detail={"snapshot_id": snapshot, "oldest": oldest, "newest": newest},
                )

    def at_moment(self, moment: datetime) -> int:
        """Return the newest snapshot that was there at a moment.

        Raises:
            SnapshotNotFoundError: there was none, or it has expired.
        """
        found, oldest = self._query(
            f"SELECT max(snapshot_id) FILTER (CAST(snapshot_time AS TIMESTAMPTZ) <= $1), "
            f"min(CAST(snapshot_time AS TIMESTAMPTZ)) FROM {METADATA}.ducklake_snapshot",
            [moment],
        )[0]
        if found is None:
            raise SnapshotNotFoundError(
                f"No snapshot is left of {moment.isoformat()}: the oldest is of {oldest.isoformat()}.",
                detail={"moment": moment.isoformat()},
            )
        return int(found)

    def tables(self, at: int) -> dict[str, Table]:
        """Return the datasets' tables by name."""
        if at not in self._known:
            if len(self._known) >= REMEMBERED:
                self._known.pop(min(self._known))
            self._known[at] = self._tables(at)
        return self._known[at]

    def _tables(self, at: int) -> dict[str, Table]:
        rows = self._ask(
            f"""
            SELECT s.schema_name, t.table_name, t.table_id
            FROM ducklake_table AS t JOIN ducklake_schema AS s ON s.schema_id = t.schema_id AND {live(at, "s")}
            WHERE s.schema_name <> '{INTERNAL_SCHEMA}' AND {live(at, "t")} ORDER BY 1, 2
            """
        )
        found = {}
        for schema, table, table_id in rows:
            try:
                name = dataset_name(f"{schema}.{table}")
            except ValueError:
                continue  # another program's table: it has no name by which it could be read here
            found[str(name)] = Table(name, int(table_id))
        return found

    def state(self, view: str, at: int) -> Table | None:
        """Return the table with a view's hidden state, if it has one."""
        found = self._own_tables(at, f"t.table_name = {literal(STATE_PREFIX + view)}")
        return next((Table(dataset_name(view), table_id) for table_id in found.values()), None)

    def _own_tables(self, at: int, condition: str) -> dict[str, int]:
        """Return the ids of tables of our own by their names."""
        rows = self._ask(
            f"""
            SELECT t.table_name, t.table_id
            FROM ducklake_table AS t JOIN ducklake_schema AS s ON s.schema_id = t.schema_id AND {live(at, "s")}
            WHERE s.schema_name = '{INTERNAL_SCHEMA}' AND {live(at, "t")} AND {condition}
            """
        )
        return {name: int(table_id) for name, table_id in rows}

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
        within = f"substr(path, 1, {len(below)}) = {literal(below)}"
        rows = self._ask(
            f"SELECT path FROM ducklake_data_file WHERE {within} "
            f"UNION SELECT path FROM ducklake_files_scheduled_for_deletion WHERE {within}"
        )
        return {row[0] for row in rows}

    def sizes(self, at: int, tables: Collection[Table]) -> dict[int, Size]:
        """Return how big tables are, by their ids. Rows are counted only where the catalog does not tell them."""
        ids = numbers([table.table_id for table in tables])
        # Files that were merged later have rows that this snapshot does not see; so have files of deletions.
        found = self._ask(
            f"""
            SELECT table_id, sum(record_count), sum(file_size_bytes), count(*),
                coalesce(max(partial_max), 0) > {int(at)}
            FROM ducklake_data_file WHERE {live(at)} AND table_id IN {ids} GROUP BY table_id
            """
        )
        # A file of deletions stays when all that is left of its data file is deleted, and the data file goes.
        deleted = self._ask(
            f"""
            SELECT table_id, sum(delete_count), coalesce(max(partial_max), 0) > {int(at)}
            FROM ducklake_delete_file WHERE {live(at)} AND table_id IN {ids} AND data_file_id IN
                (SELECT data_file_id FROM ducklake_data_file WHERE {live(at)} AND table_id IN {ids})
            GROUP BY table_id
            """
        )
        inlined: dict[int, list[str]] = {}
        for table_id, name in self._ask(
            f"SELECT table_id, table_name FROM ducklake_inlined_data_tables WHERE table_id IN {ids} ORDER BY table_name"
        ):
            inlined.setdefault(int(table_id), []).append(name)
        deletions = self.history.inlined_deletions([table.table_id for table in tables])
        less = {int(table_id): (int(rows), later == "1") for table_id, rows, later in deleted}
        files = {
            int(table_id): (int(rows), int(size), int(count), later == "1")
            for table_id, rows, size, count, later in found
        }
        sizes = {}
        for table in tables:
            rows, size, count, later = files.get(table.table_id, (0, 0, 0, False))
            gone, later_too = less.get(table.table_id, (0, False))
            if later or later_too:
                rows = int(self._query(f"SELECT count(*) FROM {table.name.sql} AT (VERSION => {at})", [])[0][0])
            else:
                rows += self._inlined_rows(at, inlined.get(table.table_id, ()))
                rows -= gone + self._inlined_deletions(at, table.table_id, deletions.get(table.table_id))
            sizes[table.table_id] = Size(rows, size, count)
        return sizes

    def _inlined_rows(self, at: int, tables: Sequence[str]) -> int:
        """Return how many rows these tables of the catalog itself have."""
        return sum(int(self._ask(f"SELECT count(*) FROM {quoted(name)} WHERE {live(at)}")[0][0]) for name in tables)

    def _inlined_deletions(self, at: int, table_id: int, deletions: str | None) -> int:
        """Return how many rows of a table's files the catalog itself says are deleted."""
        if deletions is None:
            return 0
        files = f"SELECT data_file_id FROM ducklake_data_file WHERE {live(at)} AND table_id = {int(table_id)}"
        gone = f"SELECT count(*) FROM {quoted(deletions)} WHERE begin_snapshot <= {int(at)} AND file_id IN ({files})"
        return int(self._ask(gone)[0][0])

    def inlined(self, at: int, table_id: int) -> tuple[int, int]:
        """Return how many rows of a table the catalog itself has, and how many rows of files it says are deleted."""
        tables = f"SELECT table_name FROM ducklake_inlined_data_tables WHERE table_id = {int(table_id)}"
        deletions = self.history.inlined_deletions([table_id]).get(table_id)
        rows = self._inlined_rows(at, [name for (name,) in self._ask(tables)])
        return rows, self._inlined_deletions(at, table_id, deletions)

    def said(self, name: str, at: int) -> tuple[str, str] | None:
        """Return a dataset's kind and its properties, as they are written; None where nothing is said about it."""
        rows = self._own_rows("datasets", ("kind", "properties"), at, f"dataset = {literal(name)}")
        return rows[0] if rows else None

    def publication(self, job_id: UUID, at: int) -> tuple[int, str | None] | None:
        """Return the token and the result of a job's publication."""
        rows = self._own_rows("publications", ("token", "result"), at, f"job_id = '{job_id}'")
        return (int(rows[0][0]), rows[0][1]) if rows else None

    def _properties(self, at: int, names: Sequence[str] | None = None) -> dict[str, tuple[str, Mapping[str, Any]]]:
        if names is not None and not names:
            return {}
        wanted = "" if names is None else f"dataset IN ({', '.join(map(literal, names))})"
        rows = self._own_rows("datasets", ("dataset", "kind", "properties"), at, wanted)
        return {dataset: (kind, json.loads(properties)) for dataset, kind, properties in rows}

    def _own_rows(self, table: str, columns: Sequence[str], at: int, condition: str = "") -> list[tuple[Any, ...]]:
        """Return rows of a table of ours as of a snapshot; none where there is no such table.

        They lie in the catalog itself, where they are found at once; unless somebody has written them into files.

        Args:
            table: Its name.
            columns: The columns that are wanted.
            at: The snapshot.
            condition: Which rows, in the SQL of both databases; empty: all.
        """
        found = self._own_tables(at, f"t.table_name = {literal(table)}")
        if not found:
            return []
        table_id = found[table]
        named, where = ", ".join(columns), f" AND ({condition})" if condition else ""
        in_files = f"EXISTS (SELECT 1 FROM ducklake_data_file WHERE table_id = {table_id} AND {live(at)})"
        inlined = self._ask(
            f"SELECT table_name, {in_files} FROM ducklake_inlined_data_tables WHERE table_id = {table_id}"
        )
        if not inlined or inlined[0][1] == "1":
            rows = f"SELECT {named} FROM {LAKE}.{INTERNAL_SCHEMA}.{table} AT (VERSION => {int(at)}) WHERE true{where}"
            return self._query(rows, [])
        parts = [f"SELECT {named} FROM {quoted(name)} WHERE {live(at)}{where}" for name, _ in inlined]
        return self._ask(" UNION ALL ".join(parts))

    def _columns(self, at: int, ids: Sequence[int]) -> dict[int, tuple[Column, ...]]:
        rows = self._ask(
            f"""
            SELECT table_id, column_id, parent_column, column_name, column_type FROM ducklake_column
            WHERE {live(at)} AND table_id IN {numbers(ids)} ORDER BY table_id, column_order
            """
        )
        children: dict[tuple[int, int | None], list[tuple[int, str, str]]] = {}
        for table_id, column_id, parent, name, kind in rows:
            below = None if parent is None else int(parent)
            children.setdefault((int(table_id), below), []).append((int(column_id), name, kind))
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
    return TYPES.get(kind, kind.upper())


def _field(name: str) -> str:
    """Return a struct's field as DuckDB writes it: quoted where it must be."""
    import duckdb  # noqa: PLC0415

    written = str(duckdb.struct_type({name: "INTEGER"}))
    return written[len("STRUCT(") : -len(" INTEGER)")]
