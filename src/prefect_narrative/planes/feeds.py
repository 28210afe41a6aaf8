"""SQL for the rows of a dataset that came or changed between two snapshots, as they are at the later one.

A row counts once however often it was changed, and not at all where it is as it was before, or gone; nor does one that
came where an equal one went. Three ways lead there, the quickest that can be trusted is taken:

- Where rows were only added, the lake's feed of insertions is what is wanted. It reads nothing but new files.
- Where rows were deleted or updated too, the feed says which rows (by their row ids) to compare with what they were.
- Where files were rewritten meanwhile, row ids have changed and the feed's old values are not always those that were
  there (seen with DuckLake 1.0): both snapshots are compared as a whole, by value.
"""

# ruff: noqa: S608  (identifiers are quoted, values are literals or parameters, queries are checked trees)

from collections.abc import Mapping, Sequence

from prefect_narrative.planes.catalog import Catalog
from prefect_narrative.planes.connection import LAKE
from prefect_narrative.planes.errors import DeltaLostError, WriteConflictError
from prefect_narrative.planes.history import COMPACTIONS, INSERTIONS, REWRITING
from prefect_narrative.planes.names import DatasetName, dataset_name, literal, quoted
from prefect_narrative.planes.plane import ChangedRows, Column, Relation, SourceVersion

ONLY_ADDED = INSERTIONS | {"merge_adjacent"}
"""Kinds of changes after which the feed of insertions is true."""
FEED_COLUMNS = frozenset({"change_type", "rowid", "snapshot_id"})
"""Names that the lake's feed has for itself; a dataset's own columns of these names hide them."""


def lost(catalog: Catalog, seen: SourceVersion, at: int) -> str | None:
    """Return why it can't be told what has changed in a dataset since it was seen; None where it can."""
    table = catalog.tables(at).get(seen.name)
    if table is None:
        return "it is gone"
    if table.table_id != seen.table_id:
        return "it was replaced"
    if at <= seen.snapshot_id:
        return None
    if catalog.change_kinds(seen.table_id, seen.snapshot_id, at) is None:
        return f"the history since snapshot {seen.snapshot_id} has expired"
    if catalog.columns(at, seen.table_id) != catalog.columns(seen.snapshot_id, seen.table_id):
        return "its columns have changed"
    return None


def changes_since(catalog: Catalog, seen: SourceVersion, at: int) -> str:
    """Return a query for the rows of a dataset at snapshot `at` that were not there, or not so, when it was seen.

    Once it has run, `check_feeds` must be asked whether it was true.

    Raises:
        DeltaLostError: it can't be told.
    """
    reason = lost(catalog, seen, at)
    if reason is not None:
        raise DeltaLostError(
            f"What has changed in {seen.name!r} since the view's last refresh can't be told: {reason}.",
            detail={"dataset": seen.name, "snapshot_id": seen.snapshot_id},
        )
    name = dataset_name(seen.name)
    columns = catalog.columns(at, seen.table_id)
    named = ", ".join(quoted(column.name) for column in columns)
    if at <= seen.snapshot_id:
        return f"SELECT {named} FROM {name.sql} AT (VERSION => {at}) WHERE 1 = 0"
    kinds = catalog.change_kinds(seen.table_id, seen.snapshot_id, catalog.newest())
    if kinds is not None and kinds <= ONLY_ADDED:
        return f"SELECT {named} FROM {_feed('insertions', name, seen, at)}"
    hidden = any(column.name.lower() in FEED_COLUMNS for column in columns)
    if kinds is None or hidden or kinds & COMPACTIONS:
        return (
            f"SELECT {named} FROM {name.sql} AT (VERSION => {at}) "
            f"EXCEPT ALL SELECT {named} FROM {name.sql} AT (VERSION => {seen.snapshot_id})"
        )
    return _compared(name, seen, at, columns)


def check_feeds(
    catalog: Catalog, seen: Sequence[SourceVersion], relations: Mapping[str, Relation], newest: int
) -> None:
    """Raise where files of a table have been rewritten while its feed was being read.

    A transaction does not help: it pins the snapshot, not the files that the catalog names for it (measured).

    Args:
        catalog: The catalog, as it is after the reading.
        seen: What DELTA was asked about.
        relations: What names in the query stand for; only changes of datasets matter.
        newest: The newest snapshot before the reading began.

    Raises:
        WriteConflictError: what was read may be wrong.
    """
    changes = [one.changes for one in relations.values() if isinstance(one, ChangedRows)]
    read = [(one.table_id, one.name, newest, COMPACTIONS) for one in seen]
    read += [(one.table_id, one.dataset, one.last, frozenset({REWRITING})) for one in changes]
    for table_id, dataset, first, breaking in read:
        kinds = catalog.change_kinds(table_id, first, catalog.newest())
        if kinds is None or kinds & breaking:
            raise WriteConflictError(
                f"Files of {dataset!r} were compacted while its changes were being read.", detail={"dataset": dataset}
            )


def _compared(name: DatasetName, seen: SourceVersion, at: int, columns: Sequence[Column]) -> str:
    """Return a query that compares the rows that the feed names with what they were, by value.

    Rows that the feed does not name are the same in both snapshots, so that this is the difference of all rows.
    """
    named = ", ".join(quoted(column.name) for column in columns)

    def rows(version: int) -> str:
        return f"SELECT {named} FROM {name.sql} AT (VERSION => {version}) WHERE rowid IN (SELECT row FROM touched)"

    return (
        f"WITH touched AS MATERIALIZED (SELECT DISTINCT rowid AS row FROM {_feed('changes', name, seen, at)}) "
        f"{rows(at)} EXCEPT ALL {rows(seen.snapshot_id)}"
    )


def _feed(what: str, name: DatasetName, seen: SourceVersion, at: int) -> str:
    words = ", ".join(map(literal, (LAKE, name.schema, name.table)))
    return f"ducklake_table_{what}({words}, {seen.snapshot_id + 1}, {at})"
