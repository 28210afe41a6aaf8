"""What a query would yield if datasets had other columns: it is bound against empty tables, and never run."""

from collections.abc import Mapping, Sequence

from prefect_narrative.planes.columns import casts
from prefect_narrative.planes.connection import LAKE
from prefect_narrative.planes.names import DatasetName, quoted
from prefect_narrative.planes.plane import Column
from prefect_narrative.planes.staging import described


def described_over(sql: str, tables: Mapping[DatasetName, Sequence[Column]]) -> list[Column]:
    """Return the columns that a query yields over tables of these columns, each as the lake would keep it.

    Args:
        sql: A checked query over plain tables, see `QueryCheck.unpinned`.
        tables: All tables that it names.

    Raises:
        duckdb.Error: the query can't be bound: it names a column that is not there, or calls a function on a type that
            it does not take.
    """
    import duckdb  # noqa: PLC0415  (the engine is loaded by those who open a plane only)

    with duckdb.connect(":memory:", config={"autoinstall_known_extensions": "false", "threads": "1"}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"ATTACH ':memory:' AS {LAKE}")
        for schema in sorted({name.schema for name in tables}):
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {LAKE}.{quoted(schema)}")
        for name, columns in tables.items():
            kept = ", ".join(f"{quoted(column.name)} {column.type}" for column in casts(columns, connection)[0])
            connection.execute(f"CREATE TABLE {name.sql} ({kept})")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        return described(connection, sql)
