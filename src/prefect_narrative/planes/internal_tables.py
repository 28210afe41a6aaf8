"""Tables of ours in the lake that are made when they are first needed."""

# ruff: noqa: S608  (identifiers are our own)

from collections.abc import Callable, Sequence
from typing import Any

from prefect_narrative.planes.connection import LAKE, METADATA
from prefect_narrative.planes.names import INTERNAL_SCHEMA

Execute = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]


def path_of(table: str) -> str:
    """Return a table's name as SQL."""
    return f"{LAKE}.{INTERNAL_SCHEMA}.{table}"


def is_there(execute: Execute, table: str) -> bool:
    """Return whether a table has been made."""
    return bool(
        execute(
            f"""
            SELECT 1 FROM {METADATA}.ducklake_table WHERE table_name = ? AND end_snapshot IS NULL
                AND schema_id IN (SELECT schema_id FROM {METADATA}.ducklake_schema
                    WHERE schema_name = '{INTERNAL_SCHEMA}' AND end_snapshot IS NULL)
            """,
            [table],
        )
    )


def prepare(execute: Execute, table: str, columns: str) -> None:
    """Make a table where there is none yet; under the lock, and before the transaction of a publication begins."""
    if not is_there(execute, table):
        execute(f"CREATE TABLE {path_of(table)} ({columns})", [])
        # Few rows would lie in the catalog itself: with large values that takes seconds, in which the lock is held.
        where = f"table_name => '{table}', schema => '{INTERNAL_SCHEMA}'"
        execute(f"CALL {LAKE}.set_option('data_inlining_row_limit', 0, {where})", [])
