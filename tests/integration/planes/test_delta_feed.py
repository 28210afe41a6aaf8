"""What DELTA(TABLE x) yields between any two snapshots, whatever was done to x meanwhile, by whomever."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import duckdb
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from plane_samples import INLINES, make_dataset, rows_of, settings_for

from prefect_narrative.planes import Plane, SourceVersion, Write, open_plane
from prefect_narrative.planes.connection import Place, open_writer
from prefect_narrative.planes.errors import DeltaLostError, QueryRefusedError, WriteConflictError

Lake = tuple[Plane, duckdb.DuckDBPyConnection]

DONE = {
    "appended": None,
    "inserted": "INSERT INTO lake.main.x SELECT i, 'i' || i % 2 FROM range({n}, {n} + 4) t(i)",
    "updated": "UPDATE lake.main.x SET b = b || 'u' WHERE a % 3 = {n} % 3",
    "touched": "UPDATE lake.main.x SET b = b WHERE a % 2 = {n} % 2",
    "deleted": "DELETE FROM lake.main.x WHERE a % 5 = {n} % 5",
    "emptied": "DELETE FROM lake.main.x",
    "doubled": "INSERT INTO lake.main.x SELECT * FROM lake.main.x WHERE a % 4 = {n} % 4",
    "deleted and inserted": (
        "BEGIN; DELETE FROM lake.main.x WHERE a % 3 = 0; INSERT INTO lake.main.x VALUES (0, 'n'); COMMIT"
    ),
    "flushed": "CALL ducklake_flush_inlined_data('lake')",
    "merged": "CALL ducklake_merge_adjacent_files('lake')",
    "rewritten": "CALL ducklake_rewrite_data_files('lake', delete_threshold => 0)",
}  # fmt: skip


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """A plane, and a connection of another program that writes to its lake."""
    home = tmp_path_factory.mktemp("delta")
    settings = settings_for(home / "home")
    with open_plane("default", settings.plane_directory("default"), settings) as plane:
        writer = open_writer(Place(settings.plane_directory("default")), settings, home / "spill")
        writer.execute(INLINES)
        yield plane, writer
        writer.close()


def make(plane: Plane) -> None:
    make_dataset(plane, "x", "SELECT i AS a, 'v' || i % 2 AS b FROM range(6) t(i)")


def do(lake: Lake, what: str, number: int) -> None:
    plane, writer = lake
    if what == "appended":
        make_dataset(plane, "x", f"SELECT i AS a, 'v' || i % 2 AS b FROM range({number}, {number} + 3) t(i)", "append")
    else:
        try:
            writer.execute(str(DONE[what]).format(n=number)).fetchall()
        except duckdb.Error:
            writer.execute("ROLLBACK")  # else the lock would be held
            raise


def delta(plane: Plane, seen: SourceVersion | None, at: int) -> list[tuple[object, ...]]:
    """Return what DELTA(TABLE x) yields at a snapshot, by making a dataset of it."""
    job = uuid4()
    plane.claim(job, 1)
    query = plane.check("SELECT * FROM DELTA(TABLE x)", at, deltas=True)
    stage = plane.stage_query(job, 1, "seen", query, at=at, since={"x": seen})
    plane.publish(job, 1, [Write("seen", "replace", stage)], {})
    rows = rows_of(plane, "SELECT a, b FROM seen")
    assert len(rows) == stage.rows
    return rows


def contents(plane: Plane, at: int) -> "Counter[tuple[object, ...]]":
    return Counter(rows_of(plane, "SELECT a, b FROM x", at))


@given(st.lists(st.sampled_from(sorted(DONE)), min_size=1, max_size=7), st.data())
@hypothesis_settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
def test_it_yields_the_rows_that_were_not_there_before(lake: Lake, done: list[str], data: st.DataObject) -> None:
    plane, _ = lake
    make(plane)
    snapshots = [plane.snapshot()]
    for number, what in enumerate(done):
        do(lake, what, number)
        snapshots.append(plane.snapshot())
    first = data.draw(st.sampled_from(snapshots))
    last = data.draw(st.sampled_from([one for one in snapshots if one >= first]))
    [seen] = plane.versions(["x"], first)
    assert Counter(delta(plane, seen, last)) == contents(plane, last) - contents(plane, first)
    assert Counter(delta(plane, None, last)) == contents(plane, last)


@pytest.mark.parametrize("done", [["merged"], ["appended", "merged", "appended"], ["merged", "inserted"]])
def test_an_append_only_history_is_read_without_reading_the_table(lake: Lake, done: list[str]) -> None:
    from prefect_narrative.planes.catalog import Catalog
    from prefect_narrative.planes.feeds import changes_since

    plane, writer = lake
    make(plane)
    do(lake, "appended", 10)
    [seen] = plane.versions(["x"], plane.snapshot())
    for number, what in enumerate(done):
        do(lake, what, number)
    catalog = Catalog(lambda statement, values: writer.execute(statement, list(values)).fetchall())
    at = plane.snapshot()
    assert changes_since(catalog, seen, at) == (
        f"SELECT \"a\", \"b\" FROM ducklake_table_insertions('lake', 'main', 'x', {seen.snapshot_id + 1}, {at})"
    )
    assert Counter(delta(plane, seen, at)) == contents(plane, at) - contents(plane, seen.snapshot_id)


def test_compaction_while_changes_are_read_is_a_conflict(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect_narrative.planes import ducklake

    plane, _ = lake
    make(plane)
    do(lake, "appended", 10)
    [seen] = plane.versions(["x"], plane.snapshot())
    do(lake, "updated", 0)
    at = plane.snapshot()
    plan = ducklake.changes_since

    def compact_after(*arguments: object) -> str:
        sql = plan(*arguments)  # type: ignore[arg-type]
        do(lake, "flushed", 0)
        do(lake, "rewritten", 0)
        return sql

    monkeypatch.setattr(ducklake, "changes_since", compact_after)
    with pytest.raises(WriteConflictError, match="compacted while its changes were being read") as raised:
        delta(plane, seen, at)
    assert raised.value.retryable
    monkeypatch.undo()
    assert Counter(delta(plane, seen, at)) == contents(plane, at) - contents(plane, seen.snapshot_id)


def test_columns_called_like_the_feeds_own(lake: Lake) -> None:
    plane, _ = lake
    query = "SELECT i AS rowid, i * 2 AS snapshot_id, 'insert' AS change_type FROM range({}) t(i)"
    make_dataset(plane, "odd", query.format(3))
    [seen] = plane.versions(["odd"], plane.snapshot())
    make_dataset(plane, "odd", query.format("3, 5"), "append")
    lake[1].execute("UPDATE lake.main.odd SET change_type = 'delete' WHERE snapshot_id = 2").fetchall()
    job = uuid4()
    plane.claim(job, 1)
    checked = plane.check("FROM DELTA(TABLE odd)", deltas=True)
    stage = plane.stage_query(job, 1, "seen", checked, at=plane.snapshot(), since={"odd": seen})
    plane.publish(job, 1, [Write("seen", "replace", stage)], {})
    assert sorted(rows_of(plane, "FROM seen")) == [(1, 2, "delete"), (3, 6, "insert"), (4, 8, "insert")]


@pytest.mark.parametrize("case", ["replaced", "columns", "expired", "dropped"])
def test_what_can_not_be_told_is_told(lake: Lake, case: str) -> None:
    plane, writer = lake
    make(plane)
    [seen] = plane.versions(["x"], plane.snapshot())
    do(lake, "appended", 10)
    assert plane.delta_lost(seen, plane.snapshot()) is None
    if case == "replaced":
        make(plane)
    elif case == "columns":
        writer.execute("ALTER TABLE lake.main.x ADD COLUMN c INTEGER")
    elif case == "expired":
        writer.execute("CALL ducklake_expire_snapshots('lake', older_than => now())").fetchall()
    else:
        writer.execute("DROP TABLE lake.main.x")
        assert plane.delta_lost(seen, plane.snapshot()) == "it is gone"
        return
    words = {"replaced": "it was replaced", "columns": "its columns have changed", "expired": "has expired"}[case]
    assert words in str(plane.delta_lost(seen, plane.snapshot()))
    with pytest.raises(DeltaLostError, match=words) as raised:
        delta(plane, seen, plane.snapshot())
    assert "mode=full" in raised.value.remedy


def test_it_is_for_a_refresh_only(lake: Lake) -> None:
    plane, _ = lake
    make(plane)
    query = plane.check("SELECT a + 1 AS c FROM DELTA(TABLE x)", deltas=True)
    assert [column.name for column in plane.describe(query)] == ["c"]
    for attempt in (
        lambda: plane.read(query, limit=1),
        lambda: plane.stage_query(uuid4(), 1, "y", query, at=plane.snapshot()),
        lambda: plane.check("FROM DELTA(TABLE x)"),
    ):
        with pytest.raises(QueryRefusedError, match="last refresh of the view"):
            attempt()


def test_the_past_has_not_changed_since(lake: Lake, tmp_path: Path) -> None:
    plane, _ = lake
    make(plane)
    older = plane.snapshot()
    do(lake, "appended", 10)
    [seen] = plane.versions(["x"], plane.snapshot())
    assert delta(plane, seen, plane.snapshot()) == []
    assert delta(plane, seen, older) == []
