"""SQL for the rows that a name in one of our own queries stands for: changes of a dataset, stored rows, staged files.

A query of ours is checked like a user's, node by node: what it may read beside datasets is named here and nowhere else.
"""

# ruff: noqa: S608  (identifiers are quoted, values are literals or parameters)

from collections.abc import Mapping

from prefect_narrative.planes import row_samples
from prefect_narrative.planes.catalog import Catalog
from prefect_narrative.planes.connection import LAKE
from prefect_narrative.planes.errors import ChangesUnknownError, DatasetNotFoundError
from prefect_narrative.planes.names import dataset_name, literal, quoted, state_table
from prefect_narrative.planes.plane import ROW_ID, ChangedRows, Column, KeptRows, Relation, Stage, StoredRows


def with_relations(sql: str, relations: Mapping[str, Relation], uses: Mapping[str, int], catalog: Catalog) -> str:
    """Return a query with the rows that names in it stand for.

    Once it has run, `feeds.check_feeds` must be asked whether it was true.

    Args:
        sql: A checked query's SQL.
        relations: What the names stand for.
        uses: How often each of them is read.
        catalog: The catalog, for what is stored.

    Raises:
        ChangesUnknownError: a table has columns that hide the lake's own.
        DatasetNotFoundError: there is no such dataset, or state, in that snapshot.
    """
    parts = []
    for name, times in sorted(uses.items()):
        relation = relations[name]
        # The change feed opens each file that was touched: it is read once, whatever the query does with it.
        kept = "MATERIALIZED" if isinstance(relation, ChangedRows) and times > 1 else "NOT MATERIALIZED"
        parts.append(f"{quoted(name)} AS {kept} ({_rows(relation, catalog)})")
    return f"WITH {', '.join(parts)} SELECT * FROM ({sql}) AS result" if parts else sql


def _rows(relation: Relation, catalog: Catalog) -> str:
    if isinstance(relation, ChangedRows):
        return _changed(relation)
    if isinstance(relation, StoredRows):
        return _stored(relation, catalog)
    if isinstance(relation, KeptRows):
        return row_samples.rows(relation)
    return staged_rows(relation)


def _changed(relation: ChangedRows) -> str:
    changes = relation.changes
    name = dataset_name(changes.dataset)
    named = ", ".join(quoted(column.name) for column in changes.columns)
    if relation.ids:
        check_row_ids(changes.dataset, changes.columns)
        named = f"rowid AS {quoted(ROW_ID)}, {named}"
    inserted = relation.kind == "inserted"
    if not (changes.inserts if inserted else changes.deletes):
        return f"SELECT {named} FROM {name.sql} AT (VERSION => {changes.last}) WHERE 1 = 0"
    words = ", ".join(map(literal, (LAKE, name.schema, name.table)))
    feed = "ducklake_table_insertions" if inserted else "ducklake_table_deletions"
    return f"SELECT {named} FROM {feed}({words}, {changes.first + 1}, {changes.last})"


def _stored(relation: StoredRows, catalog: Catalog) -> str:
    if relation.state:
        table = catalog.state(relation.dataset, relation.at)
        if table is None:
            raise DatasetNotFoundError(
                f"There is no state of {relation.dataset!r} in snapshot {relation.at}.",
                detail={"dataset": relation.dataset},
            )
        sql = state_table(dataset_name(relation.dataset)).sql
    else:
        table = catalog.table(relation.dataset, relation.at)
        sql = table.name.sql
    columns = catalog.columns(relation.at, table.table_id)
    check_row_ids(relation.dataset, columns)
    named = ", ".join(quoted(column.name) for column in columns)
    return f"SELECT rowid AS {quoted(ROW_ID)}, {named} FROM {sql} AT (VERSION => {relation.at})"


def check_row_ids(dataset: str, columns: tuple[Column, ...]) -> None:
    """Raise where a dataset's rows can't be told by their ids.

    Raises:
        ChangesUnknownError: a column hides the lake's own.
    """
    for column in columns:
        if column.name.lower() in {"rowid", ROW_ID}:
            raise ChangesUnknownError(
                f"{dataset} has a column called {column.name!r}, which hides the ids of its rows.",
                detail={"dataset": dataset},
                remedy="Give the column another name with AS.",
            )


def staged_rows(stage: Stage) -> str:
    """Return a query for the rows of a stage, in the types in which they were staged."""
    if not stage.rows:
        empty = ", ".join(f"CAST(NULL AS {column.type}) AS {quoted(column.name)}" for column in stage.columns)
        return f"SELECT {empty} WHERE 1 = 0"
    typed = ", ".join(
        f"CAST({quoted(column.name)} AS {column.type}) AS {quoted(column.name)}" for column in stage.columns
    )
    return f"SELECT {typed} FROM read_parquet({literal(f'{stage.folder}/**/*.parquet')}, hive_partitioning => false)"
