"""Choosing rows of a dataset or a query: the first that come, or random ones, each set of so many as likely as another.

Random rows of a dataset are drawn by their places, which metadata tells: so many places has each file. Places are drawn
one by one, evenly, by Python's Mersenne Twister with the seed; one that was drawn before, or whose row is deleted, is
drawn again (simple random sampling by rejection: Knuth, The Art of Computer Programming, vol. 2, 3.4.2). The engine is
asked for just these places, so that it opens the files and the parts of files in which they lie.

Where most places are empty, and for queries, each row gets a hash of the seed and of what tells it from the others, and
the rows with the smallest ones are taken (bottom-k sampling: Cohen and Kaplan, Summarizing data using bottom-k
sketches, PODC 2007). A query's rows have no places: what tells them apart is the hash of their values and, of equal
rows, their number.
"""

# ruff: noqa: S608  (identifiers are quoted, values are literals or numbers, queries are checked trees)

import random
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import Any

from prefect_narrative.planes.catalog import Table
from prefect_narrative.planes.connection import METADATA
from prefect_narrative.planes.names import literal
from prefect_narrative.planes.plane import Column

LARGE_FILE = 250_000
"""Rows of a file that is asked for by itself, so that only the parts that are needed are read."""
AT_ONCE = 64
"""Large files that are asked for in one statement."""
SPARSE = 0.2
"""Share of places with a row below which places are not drawn."""
HIDING = frozenset({"filename", "file_row_number"})
"""Names of columns that hide the lake's own, by which places are told."""

Execute = Callable[[str], Sequence[Sequence[Any]]]
Place = tuple[str, int]
"""A file, and the number of a row in it."""


@dataclass(frozen=True)
class Block:
    """The places of one file."""

    file: str
    rows: int
    """Places, with those whose rows are deleted."""
    ids: tuple[int, ...] | None = None
    """The numbers of the places where they are not 0, 1, 2...: rows that lie in the catalog itself."""


def blocks_of(table: Table, at: int, execute: Execute) -> list[Block]:
    """Return the files of a table in a snapshot, with the places that they have; told from metadata."""
    live = f"begin_snapshot <= {at} AND (end_snapshot IS NULL OR end_snapshot > {at})"
    rows = execute(
        f"""
        SELECT CASE WHEN f.path_is_relative THEN
                   CASE WHEN t.path_is_relative THEN
                       CASE WHEN s.path_is_relative THEN m.value ELSE '' END || s.path ELSE '' END || t.path
                   ELSE '' END || f.path,
               f.record_count
        FROM (SELECT * FROM {METADATA}.ducklake_data_file WHERE {live}) AS f
        JOIN (SELECT * FROM {METADATA}.ducklake_table WHERE {live}) AS t USING (table_id)
        JOIN (SELECT * FROM {METADATA}.ducklake_schema WHERE {live}) AS s USING (schema_id)
        JOIN (SELECT value FROM {METADATA}.ducklake_metadata WHERE key = 'data_path') AS m ON TRUE
        WHERE table_id = {table.table_id} ORDER BY f.data_file_id
        """
    )
    blocks = [Block(str(path), int(count)) for path, count in rows if count]
    for (name,) in execute(
        f"SELECT table_name FROM {METADATA}.ducklake_inlined_data_tables "
        f"WHERE table_id = {table.table_id} ORDER BY table_name"
    ):
        found = execute(f"SELECT file_row_number FROM {_read(table, at)} WHERE filename = {literal(name)} ORDER BY 1")
        if found:
            blocks.append(Block(name, len(found), tuple(int(row[0]) for row in found)))
    return blocks


def random_rows(
    execute: Execute, table: Table, at: int, blocks: Sequence[Block], live: int, rows: int, seed: int, selection: str
) -> list[Sequence[Any]]:
    """Return random rows of a table, in the order in which they were drawn; all of them where there are no more.

    Args:
        execute: Runs a statement on a connection that reads.
        table: The table.
        at: The snapshot.
        blocks: Its files.
        live: How many rows it has.
        rows: How many are wanted.
        seed: The same seed yields the same rows of the same files.
        selection: A SELECT list of what is wanted of each row.
    """
    total = sum(block.rows for block in blocks)
    wanted = min(rows, live)
    if not wanted:
        return []
    if live <= rows or live < SPARSE * total:
        order = f"{_mixed('filename', 'file_row_number', str(int(seed)))}, filename, file_row_number"
        ordered = execute(f"SELECT filename, file_row_number FROM {_read(table, at)} ORDER BY {order} LIMIT {wanted}")
        places = [(str(file), int(number)) for file, number in ordered]
        found = _fetch(execute, table, at, {block.file: block.rows for block in blocks}, places, selection)
        return [found[place] for place in places if place in found]
    drawn: list[Place] = []
    found = {}
    places_drawn = _draw(blocks, total, seed)
    while len(found) < wanted:
        more = list(islice(places_drawn, round((wanted - len(found)) * total / live * 1.02) + 8))
        drawn += more
        found |= _fetch(execute, table, at, {block.file: block.rows for block in blocks}, more, selection)
    return [found[place] for place in drawn if place in found][:wanted]


def first_rows(execute: Execute, table: Table, at: int, rows: int, selection: str) -> list[Sequence[Any]]:
    """Return the first rows of a table that come."""
    return list(execute(f"SELECT {selection} FROM (SELECT * FROM {_read(table, at)} LIMIT {int(rows)}) AS t"))


def rows_of_query(
    execute: Execute, sql: str, width: int, rows: int, seed: int | None, selection: str
) -> list[Sequence[Any]]:
    """Return rows of a query; its columns are called c0, c1 and so on in the selection.

    Args:
        execute: Runs a statement on a connection that reads.
        sql: The query.
        width: How many columns it has.
        rows: How many rows are wanted.
        seed: For random rows; None: the first that come.
        selection: A SELECT list of what is wanted of each row.
    """
    names = [f"c{number}" for number in range(width)]
    source = f"({sql}) AS q({', '.join(names)})"
    if seed is None:
        return list(execute(f"SELECT {selection} FROM (SELECT * FROM {source} LIMIT {int(rows)}) AS t"))
    hashed = f"SELECT *, hash({', '.join(names)}) AS row_hash FROM {source}"
    numbered = f"SELECT *, row_number() OVER (PARTITION BY row_hash) AS copy FROM ({hashed}) AS h"
    order = f"{_mixed('row_hash', 'copy', str(int(seed)))}, row_hash, copy"
    best = f"SELECT * FROM ({numbered}) AS n ORDER BY {order} LIMIT {int(rows)}"
    return list(execute(f"SELECT {selection} FROM ({best}) AS t ORDER BY {order}"))


def hides_places(columns: Sequence[Column]) -> bool:
    """Return whether a dataset has columns that hide the lake's own, so that it is read as a query over it."""
    return any(column.name.lower() in HIDING for column in columns)


def _mixed(*parts: str) -> str:
    """Return SQL for a hash of several values that is as even as one of a single value.

    The engine puts the hashes of several values together by XOR: with another seed, rows whose hashes begin alike would
    still be neighbours, and some rows more likely than others. Hashed once more, the whole is mixed.
    """
    return f"hash(hash({', '.join(parts)}))"


def _draw(blocks: Sequence[Block], total: int, seed: int) -> Iterator[Place]:
    """Yield all places in random order, each order as likely as another."""
    generator = random.Random(seed)  # noqa: S311 - nobody is to be kept from guessing it
    ends = list(accumulate(block.rows for block in blocks))
    seen: set[int] = set()
    while len(seen) < total:
        number = generator.randrange(total)
        if number in seen:
            continue
        seen.add(number)
        block = bisect_right(ends, number)
        one = blocks[block]
        within = number - (ends[block] - one.rows)
        yield one.file, within if one.ids is None else one.ids[within]


def _fetch(
    execute: Execute, table: Table, at: int, sizes: dict[str, int], places: Collection[Place], selection: str
) -> dict[Place, Sequence[Any]]:
    """Return the rows that are in these places; a place whose row is deleted has none."""
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    for file, number in places:
        numbers[file].append(number)
    read = f"SELECT filename, file_row_number, {selection} FROM {_read(table, at)} WHERE"
    large = sorted(file for file in numbers if sizes.get(file, 0) >= LARGE_FILE)
    small = sorted(set(numbers) - set(large))
    parts = [
        f"{read} filename = {literal(file)} AND file_row_number IN ({', '.join(map(str, sorted(numbers[file])))})"
        for file in large
    ]
    statements = [" UNION ALL ".join(parts[first : first + AT_ONCE]) for first in range(0, len(parts), AT_ONCE)]
    if small:
        pairs = ", ".join(f"({literal(file)}, {number}::BIGINT)" for file in small for number in sorted(numbers[file]))
        files = ", ".join(map(literal, small))
        statements.append(f"{read} filename IN ({files}) AND (filename, file_row_number) IN (VALUES {pairs})")
    return {
        (str(file), int(number)): values for statement in statements for file, number, *values in execute(statement)
    }


def _read(table: Table, at: int) -> str:
    return f"{table.name.sql} AT (VERSION => {int(at)})"
