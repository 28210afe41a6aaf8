"""Where small writes go: those to our own tables into the catalog itself, those to datasets into files.

For a table that may have rows in the catalog, DuckLake makes a table there when it is created, and another one for each
new set of its columns. Whoever opens a catalog in SQLite reads the definitions of all its tables first: with one for
each dataset, or for each time that one was replaced, any question to a catalog of a thousand took 10 ms instead of 1
(measured). Rows of datasets are staged as files anyway.

It is set for the lake and not for our connections only: where another program's small write makes such a table later
than the dataset's own, DuckLake does not find other tables any more in snapshots from before (seen with DuckLake 1.0).
"""

# ruff: noqa: S608  (identifiers are our own)

from typing import TYPE_CHECKING

from prefect_narrative.planes.connection import LAKE, METADATA
from prefect_narrative.planes.names import INTERNAL_SCHEMA

if TYPE_CHECKING:
    import duckdb

OPTION = "data_inlining_row_limit"
INLINED = ("datasets", "ingestions", "publications")
"""Tables of ours with small rows, which are written one by one."""
MOST_ROWS = 10
"""So many rows of one write to them lie in the catalog; more become a file."""


def settle_inlining(connection: "duckdb.DuckDBPyConnection") -> None:
    """See to it that only small writes to our own tables go into the catalog; under the publish lock.

    Where somebody has settled it for the lake already, it stays as it is.
    """
    settled = f"SELECT 1 FROM {METADATA}.ducklake_metadata WHERE key = '{OPTION}' AND scope IS NULL"
    if connection.execute(settled).fetchall():
        return
    names = ", ".join(f"'{name}'" for name in INLINED)
    prepared = connection.execute(
        f"""
        SELECT table_name FROM {METADATA}.ducklake_table
        WHERE table_name IN ({names}) AND end_snapshot IS NULL
            AND schema_id IN (SELECT schema_id FROM {METADATA}.ducklake_schema WHERE schema_name = '{INTERNAL_SCHEMA}')
            AND table_id IN (SELECT table_id FROM {METADATA}.ducklake_inlined_data_tables)
        ORDER BY table_name
        """
    ).fetchall()
    for (name,) in prepared:
        where = f"table_name => '{name}', schema => '{INTERNAL_SCHEMA}'"
        connection.execute(f"CALL {LAKE}.set_option('{OPTION}', {MOST_ROWS}, {where})")
    connection.execute(f"CALL {LAKE}.set_option('{OPTION}', 0)")
