"""Statistics of a table's columns: from metadata where it knows them exactly, else by reading each column once.

A column of which distinct values are counted or a histogram is drawn is grouped by its values, once; everything else
follows from the groups, of which there are mostly far fewer than rows. The deviation is taken from the mean in a second
pass over the groups (Chan, Golub and LeVeque, Algorithms for computing the sample variance, 1983), and sums carry what
rounding takes from them (Kahan, 1965). All other columns are read together.
"""

# ruff: noqa: S608  (identifiers are quoted, the source is our own)

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect_narrative.planes.catalog import Catalog
from prefect_narrative.planes.column_files import ColumnFiles
from prefect_narrative.planes.column_statistics import (
    OF_FAMILY,
    SHOWING_VALUES,
    STATISTICS,
    ColumnProfile,
    DatasetProfile,
    Family,
    HistogramOptions,
    Statistic,
)
from prefect_narrative.planes.columns import kind_of, named_columns
from prefect_narrative.planes.connection import execute_one
from prefect_narrative.planes.measures import family_of, grouped, scanned
from prefect_narrative.planes.names import quoted
from prefect_narrative.planes.plane import Column

if TYPE_CHECKING:
    import duckdb
    from duckdb.sqltypes import DuckDBPyType

AT_ONCE = 50
"""Columns that one statement reads together."""
COPIED_VALUES = 5_000_000
"""Values, rows times columns, up to which columns are read together before each is grouped by itself."""
COPY = "temp.main.narrative_columns"
GROUPING: frozenset[Statistic] = frozenset({"count_distinct", "histogram"})
"""Statistics that need the groups of a column's values."""


@dataclass(frozen=True)
class Wanted:
    """What is to be known, see `Plane.profile`."""

    columns: Sequence[str] | None
    statistics: Collection[Statistic]
    histogram: HistogramOptions
    hidden: Collection[str]


@dataclass(frozen=True)
class _Asked:
    """A column, and what is wanted of it."""

    column: Column
    kind: "DuckDBPyType"
    family: Family
    statistics: frozenset[Statistic]
    redacted: bool

    def profile(self, found: Mapping[Statistic, Any]) -> ColumnProfile:
        statistics = {name: found[name] for name in STATISTICS if name in self.statistics}
        return ColumnProfile(self.column.name, self.column.type, self.family, statistics, self.redacted)


def profile_dataset(
    connection: "duckdb.DuckDBPyConnection", catalog: Catalog, dataset: str, at: int, wanted: Wanted
) -> DatasetProfile:
    """Return statistics of a dataset's columns in one snapshot."""
    catalog.require([at])
    table = catalog.table(dataset, at)
    has = catalog.columns(at, table.table_id)
    columns = list(has) if wanted.columns is None else named_columns(has, wanted.columns, repr(dataset))
    asked = [_asked(column, connection, wanted) for column in columns]

    def execute(sql: str) -> list[tuple[Any, ...]]:
        return execute_one(connection, sql, "SELECT")

    inlined = any(catalog.inlined(at, table.table_id))
    files = ColumnFiles(execute, table.table_id, at, inlined=inlined)
    found = files.free([(one.column.name, one.kind, one.statistics) for one in asked])
    left = [one for one in asked if one.statistics - found[one.column.name].keys()]
    source = f"{table.name.sql} AT (VERSION => {int(at)})"
    alone = [one for one in left if one.statistics & GROUPING]
    together = [one for one in left if not one.statistics & GROUPING]
    batches = [together[start : start + AT_ONCE] for start in range(0, len(together), AT_ONCE)]
    rows = catalog.sizes(at, [table])[table.table_id].rows
    small = len(alone) > 1 and rows * len(alone) <= COPIED_VALUES
    with _copied(connection, [one.column.name for one in alone], source) if small else nullcontext(source) as read_from:
        for one in alone:
            measure = grouped(quoted(one.column.name), read_from, one.kind, one.statistics, wanted.histogram)
            found[one.column.name].update(measure.read(execute(measure.sql)[0]))
    for batch in batches:
        sql, read = scanned([(quoted(one.column.name), one.kind, one.statistics) for one in batch], source)
        for one, told in zip(batch, read(execute(sql)[0]), strict=True):
            found[one.column.name].update(told)
    return DatasetProfile(
        rows=rows,
        columns=tuple(one.profile(found[one.column.name]) for one in asked),
        passes=(1 if small else len(alone)) + len(batches),
        read_bytes=sum(files.stored_bytes(one.column.name) for one in left),
    )


@contextmanager
def _copied(connection: "duckdb.DuckDBPyConnection", columns: Sequence[str], source: str) -> Iterator[str]:
    """Read columns into a temporary table, and return its name.

    A statement on a table of the lake looks at all of its columns and files; with many columns of few rows that is most
    of the work.
    """
    named = ", ".join(quoted(name) for name in columns)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {COPY} AS SELECT {named} FROM {source}")
    try:
        yield COPY
    finally:
        connection.execute(f"DROP TABLE {COPY}")


def _asked(column: Column, connection: "duckdb.DuckDBPyConnection", wanted: Wanted) -> _Asked:
    kind = kind_of(column, connection)
    family = family_of(kind)
    redacted = column.name.casefold() in wanted.hidden
    statistics = OF_FAMILY[family] & set(wanted.statistics)
    return _Asked(column, kind, family, statistics - SHOWING_VALUES if redacted else statistics, redacted)
