"""Refreshes of a small part of much data, against refreshes of all of it and against the same by hand."""

import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import harness
from views_lake import CUSTOMERS, SHAPES, by_hand, define, private_plane, refresh, write, write_events
from views_raw import opened

from prefect_narrative.planes import Plane

CUSTOMER_COUNT = 500_000
COLUMNS = ("event_id", "customer", "kind", "amount", "happened_at")
MERGE = """
    MERGE INTO lake.main.{view}_by_hand AS v
    USING (SELECT {columns} FROM ducklake_table_insertions('lake', 'main', '{source}', {first}, {last})) AS i
    ON v.event_id = i.event_id
    WHEN MATCHED THEN UPDATE SET {settings}
    WHEN NOT MATCHED THEN INSERT ({columns}) VALUES ({values})
"""

INSERTED = "ducklake_table_insertions('lake', 'main', 'events', {first}, {last})"
APPENDS = {
    "rows": "INSERT INTO lake.main.{view}_by_hand " + SHAPES["rows"].replace("{events}", INSERTED),
    "groups": """
        MERGE INTO lake.main.{view}_by_hand AS v
        USING ("""
    + SHAPES["groups"].replace("{events}", INSERTED)
    + """) AS i
        ON v.customer = i.customer AND v.kind = i.kind
        WHEN MATCHED THEN UPDATE SET events = v.events + i.events, total = v.total + i.total,
            mean = (v.total + i.total) / (v.events + i.events), latest = greatest(v.latest, i.latest)
        WHEN NOT MATCHED THEN INSERT (customer, kind, events, total, mean, latest)
            VALUES (i.customer, i.kind, i.events, i.total, i.mean, i.latest)
    """,
    "join": "INSERT INTO lake.main.{view}_by_hand "
    + SHAPES["join"].replace("{events}", INSERTED).replace("{customers}", "lake.main.customers"),
}
"""What brings each of these views up to date by hand, where rows are only added to the events."""


@dataclass(frozen=True)
class ChangeFigures:
    """What was measured of one kind of change."""

    name: str
    full: harness.Pairs
    """Seconds: refreshed as a whole, and by what has changed."""
    hand: harness.Pairs
    """Seconds: by hand, and refreshed by what has changed."""

    @property
    def speedup(self) -> float:
        """How many times quicker it is than a full refresh."""
        return 1 / self.full.ratio


@dataclass
class _Times:
    """Seconds, in the order of the runs."""

    full: list[float] = field(default_factory=list)
    hand: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)

    def figures(self, name: str) -> ChangeFigures:
        """Return the figures without the first run's, which opens connections and reads files for the first time."""
        full, by_hand, ours = (tuple(one[1:]) for one in (self.full, self.hand, self.ours))
        return ChangeFigures(name, harness.Pairs(full, ours), harness.Pairs(by_hand, ours))


class ByHand:
    """What somebody would write who keeps such a table up to date with SQL.

    It remembers what it has read in a table of its own, in the same transaction, as a view does.

    Args:
        connection: Writes to the lake.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        # Such a table's few rows lie best in the catalog itself, which this lake does for its own tables only.
        connection.execute("CREATE SCHEMA lake.by_hand")
        connection.execute("CALL lake.set_option('data_inlining_row_limit', 10, schema => 'by_hand')")
        connection.execute("CREATE TABLE lake.by_hand.read (name VARCHAR, snapshot_id BIGINT)")

    def make(self, view: str, query: str) -> None:
        """Make the table, and remember that everything was read."""
        self._connection.execute(f"CREATE TABLE lake.main.{view}_by_hand AS {query}")
        self._connection.execute(f"INSERT INTO lake.by_hand.read VALUES ('{view}', {self._newest()})")

    def update(self, view: str, statement: str, **values: str) -> None:
        """Bring the table up to date with what came since it was read; {first} and {last} are put in."""
        first = self._value(f"SELECT snapshot_id FROM lake.by_hand.read WHERE name = '{view}'") + 1
        last = self._newest()
        self._connection.execute("BEGIN")
        self._connection.execute(statement.format(view=view, first=first, last=last, **values))
        self._connection.execute(f"UPDATE lake.by_hand.read SET snapshot_id = {last} WHERE name = '{view}'")
        self._connection.execute("COMMIT")

    def _newest(self) -> int:
        return self._value("SELECT id FROM lake.current_snapshot()")

    def _value(self, query: str) -> int:
        return int(self._connection.execute(query).fetchall()[0][0])


@contextmanager
def hand(home: Path) -> Iterator[ByHand]:
    """Give a connection for what is done by hand."""
    connection = opened(by_hand(home))
    try:
        yield ByHand(connection)
    finally:
        connection.close()


def appends(rows: int, count: int) -> list[ChangeFigures]:
    """Measure refreshes after a thousandth of the events was added, of views that filter, group and join them."""
    few = max(2, rows // 1000)
    with private_plane() as (home, plane), hand(home) as by:
        harness.note(f"making {rows:,} rows for appends")
        write_events(plane, "events", rows, customers=CUSTOMER_COUNT)
        write(plane, "customers", CUSTOMERS.format(customers=CUSTOMER_COUNT))
        firsts = range(rows, 2 * rows, few)
        return [
            _appends_to(shape, plane, by, firsts[number * (count + 1) :][: count + 1])
            for number, shape in enumerate(APPENDS)
        ]


def _appends_to(shape: str, plane: Plane, by: ByHand, firsts: range) -> ChangeFigures:
    """Measure one view; events are added from each of these numbers on."""
    harness.note(f"{shape} after {firsts.step:,} new rows, {len(firsts) - 1} times")
    query = SHAPES[shape].format(events="events", customers="customers")
    define(plane, f"{shape}_changed", query)
    define(plane, f"{shape}_anew", query)
    by.make(shape, SHAPES[shape].format(events="lake.main.events", customers="lake.main.customers"))
    times = _Times()
    for first in firsts:
        write_events(plane, "events", firsts.step, customers=CUSTOMER_COUNT, first=first)
        times.hand.append(harness.seconds(lambda: by.update(shape, APPENDS[shape]))[0])
        times.ours.append(harness.seconds(lambda: refresh(plane, f"{shape}_changed", "incremental"))[0])
        times.full.append(harness.seconds(lambda: refresh(plane, f"{shape}_anew", "full"))[0])
    return times.figures(f"append_{shape}")


def merges(rows: int, count: int) -> ChangeFigures:
    """Measure merges of a thousandth of a view's rows, half of them new, against a full refresh of as many rows."""
    columns = ", ".join(COLUMNS)
    values = {
        "source": "incoming",
        "columns": columns,
        "settings": ", ".join(f"{name} = i.{name}" for name in COLUMNS),
        "values": ", ".join(f"i.{name}" for name in COLUMNS),
    }
    few = max(2, rows // 1000)
    with private_plane() as (home, plane), hand(home) as by:
        harness.note(f"making {rows:,} rows for merges")
        write_events(plane, "incoming", rows, customers=CUSTOMER_COUNT)
        define(plane, "copied", f"SELECT {columns} FROM incoming")
        query = f"SELECT {columns} FROM DELTA(TABLE incoming)"
        define(plane, "merged", query, write_mode="append", merge_on=("event_id",))
        by.make("merged", f"SELECT {columns} FROM lake.main.incoming")
        harness.note(f"merges of {few:,} rows, {count} times")
        times = _Times()
        for number in range(count + 1):
            # Half of the ids are there; with other customers, so that every row differs.
            write_events(
                plane, "incoming", few, customers=CUSTOMER_COUNT + number + 1, first=rows + (number - 1) * few // 2
            )
            times.hand.append(harness.seconds(lambda: by.update("merged", MERGE, **values))[0])
            times.ours.append(harness.seconds(lambda: refresh(plane, "merged", "incremental"))[0])
            times.full.append(harness.seconds(lambda: refresh(plane, "copied", "full"))[0])
    return times.figures("merge")


def lines(found: Sequence[ChangeFigures]) -> list[list[str]]:
    """Return the table's lines: reference, here, ratio and its middle half."""
    table = []
    for one in found:
        for name, pairs in ((f"{one.name}, against a full refresh", one.full), ("  against by hand", one.hand)):
            base, other = statistics.median(pairs.base), statistics.median(pairs.other)
            low, high = pairs.ratio_range
            figures = [f"{base:.3f} s", f"{other:.3f} s", f"{pairs.ratio:.3f}", f"{low:.3f} - {high:.3f}"]
            table.append([f"{name} ({len(pairs.base)})", *figures])
    return table


def figures(found: Sequence[ChangeFigures]) -> dict[str, Any]:
    """Return the figures for programs; of the appends, also those of the view that comes off worst."""
    appended = [one for one in found if one.name.startswith("append")]
    return {
        "append_speedup": min(one.speedup for one in appended),
        "append_ratio_by_hand": max(one.hand.ratio for one in appended),
        **{
            name: value
            for one in found
            for name, value in ((f"{one.name}_speedup", one.speedup), (f"{one.name}_ratio_by_hand", one.hand.ratio))
        },
    }
