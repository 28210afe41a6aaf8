"""Writes rows as files of the lake that nothing reads yet, outside any lock, and removes those never published."""

# ruff: noqa: S608  (identifiers are quoted, values are literals or parameters, queries are checked trees)

import contextlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_narrative.planes.columns import casts, check_names
from prefect_narrative.planes.connection import execute_one
from prefect_narrative.planes.names import literal
from prefect_narrative.planes.partitioning import MAX_PARTITIONS, Partition, TooManyPartitionsError, partitions
from prefect_narrative.planes.plane import Column, Stage

if TYPE_CHECKING:
    import duckdb

DIRECTORY_MODE = 0o700
PARQUET = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1"
"""How files are written: as quickly as with Snappy, which the lake's own writes take, and a quarter smaller."""


def make_stage_folder(attempt: Path, dataset: str) -> Path:
    """Return a new, empty folder for one dataset of an attempt. A dataset that is staged again gets another one."""
    attempt.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    number = 1
    while True:
        folder = attempt / (dataset if number == 1 else f"{dataset}~{number}")
        try:
            folder.mkdir(mode=DIRECTORY_MODE)
        except FileExistsError:
            number += 1
        else:
            return folder


def described(connection: "duckdb.DuckDBPyConnection", query: str) -> list[Column]:
    """Return the columns that a query yields, without running it."""
    rows = execute_one(connection, f"DESCRIBE {query}", "SELECT")
    return [Column(str(row[0]), str(row[1])) for row in rows]


def write_stage(
    connection: "duckdb.DuckDBPyConnection",
    query: str,
    columns: Sequence[Column],
    folder: Path,
    partitioned_by: Sequence[str] = (),
) -> Stage:
    """Run a query and write its rows into a folder, in types that the lake keeps.

    Args:
        connection: One that may write there.
        query: The SQL that yields the rows.
        columns: Those of its columns that are kept, in that order.
        folder: An empty folder.
        partitioned_by: Keep the rows of each partition in files of their own, see `partitioning`.

    Raises:
        UnstorableColumnError: a column's name or type can't be kept.
        InvalidPartitionError: a partition key is none of these columns.
        TooManyPartitionsError: the rows fall into too many partitions.
    """
    check_names(columns)
    kept, selection = casts(columns, connection)
    keys = partitions(partitioned_by, kept)
    mixed = folder / "mixed" if keys else folder
    mixed.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
    written = execute_one(
        connection,
        f"COPY (SELECT {selection} FROM ({query}) AS staged) TO {literal(str(mixed))} "
        f"({PARQUET}, PER_THREAD_OUTPUT true, RETURN_STATS true)",
        "COPY",
    )
    rows = sum(int(row[1]) for row in written)
    if keys:
        _separate(connection, mixed, kept, keys, folder / "partitions")
    for path in [*folder.rglob("*"), folder]:
        _flush(path)
    return Stage(folder=folder, columns=tuple(kept), rows=rows, bytes=sum(size for _, size in staged_files(folder)))


def _separate(
    connection: "duckdb.DuckDBPyConnection", mixed: Path, columns: Sequence[Column], keys: Sequence[Partition], to: Path
) -> None:
    """Write the rows of a folder's files once more, those of each partition into files of their own.

    Partitions are numbered: their values, of any length and any characters, never become a path.
    """
    rows = f"read_parquet({literal(f'{mixed}/*.parquet')}, hive_partitioning => false)"
    expressions = ", ".join(f"{key.sql()} AS k{number}" for number, key in enumerate(keys))
    found = f"SELECT DISTINCT {expressions} FROM {rows}"
    count = execute_one(connection, f"SELECT count(*) FROM ({found}) AS found", "SELECT")[0][0]
    if count > MAX_PARTITIONS:
        raise TooManyPartitionsError(
            f"By {', '.join(map(str, keys))} the rows fall into {count:,} partitions: at most {MAX_PARTITIONS:,} are "
            "kept apart.",
            detail={"partitions": count, "most": MAX_PARTITIONS},
        )
    number_of = "partition_number"
    while any(column.name.casefold() == number_of for column in columns):
        number_of += "_"
    same = " AND ".join(f"{key.sql('r')} IS NOT DISTINCT FROM p.k{number}" for number, key in enumerate(keys))
    execute_one(
        connection,
        f"COPY (SELECT r.*, p.{number_of} FROM {rows} AS r JOIN (SELECT *, row_number() OVER () AS {number_of} "
        f"FROM ({found}) AS found) AS p ON {same}) TO {literal(str(to))} "
        f"({PARQUET}, PARTITION_BY ({number_of}))",
        "COPY",
    )
    shutil.rmtree(mixed)


def staged_files(folder: Path) -> list[tuple[Path, int]]:
    """Return the files of a stage with their sizes, by path."""
    return [(path, path.stat().st_size) for path in sorted(folder.rglob("*.parquet"))]


def remove_unpublished(attempt: Path, published: set[str]) -> None:
    """Remove what an attempt has staged, except for published files; then the folders that are empty."""
    for folder, _, names in os.walk(attempt, topdown=False):
        for name in names:
            path = Path(folder) / name
            if str(path) not in published:
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            Path(folder).rmdir()
    with contextlib.suppress(OSError):
        attempt.parent.rmdir()


def _flush(path: Path) -> None:
    """Bring a file or folder to the disk: the catalog must never name what a power failure can take away."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
