"""Changes of rows in place: what became of a dataset, queries of ours over it, and publishing just the difference."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from plane_samples import make_dataset, rows_of

from prefect_narrative.planes import Column, Plane, SourceVersion, Write
from prefect_narrative.planes.errors import (
    ChangesUnknownError,
    DatasetNotFoundError,
    OvertakenError,
    QueryRefusedError,
)
from prefect_narrative.planes.plane import ROW_ID, ChangedRows, Changes, StateWrite, StoredRows

SAID = {"definition": {"query": "SELECT 1"}}


def stage(plane: Plane, job: UUID, sql: str, relations: Any = None, **options: Any) -> Any:
    given = relations or {}
    query = plane.check(sql, relations=given)
    return plane.stage_query(job, 1, "work", query, at=plane.snapshot(), relations=given, **options)


def seen(plane: Plane, name: str) -> SourceVersion:
    return plane.versions([name], plane.snapshot())[0]


def change(plane: Plane, name: str, delete: str, add: str | None = None, **write: Any) -> int:
    """Delete the rows that a predicate names and add a query's, as a job of its own."""
    job, at = uuid4(), plane.snapshot()
    plane.claim(job, 1)
    deletes = stage(plane, job, f"SELECT {ROW_ID} FROM _rows WHERE {delete}", {"_rows": StoredRows(name, at)})
    added = None if add is None else stage(plane, job, add)
    writes = [Write(name, "change", added, deletes=deletes, **{"since": at, **write})]
    return plane.publish(job, 1, writes, {}).snapshot_id


def make_view(plane: Plane, name: str = "totals", state: str = "SELECT 1 AS k, 2::BIGINT AS n") -> int:
    job = uuid4()
    plane.claim(job, 1)
    rows = stage(plane, job, "SELECT i AS k FROM range(3) t(i)")
    write = Write(name, "replace", rows, "view", SAID, state=StateWrite("replace", stage(plane, job, state)))
    return plane.publish(job, 1, [write], {}).snapshot_id


def test_rows_are_deleted_by_their_ids_and_others_added_in_one_snapshot(plane: Plane) -> None:
    make_dataset(plane, "orders", "SELECT i AS a, i % 3 AS b FROM range(100) t(i)")
    before = seen(plane, "orders")
    now = change(plane, "orders", "a >= 10", "SELECT 5::BIGINT AS b, 7::BIGINT AS a FROM range(2)")
    assert sorted(rows_of(plane, "SELECT a, b FROM orders")) == sorted(
        [(i, i % 3) for i in range(10)] + [(7, 5), (7, 5)]
    )
    assert len(rows_of(plane, "FROM orders", before.snapshot_id)) == 100
    assert plane.dataset("orders").table_id == before.table_id
    assert plane.changes(before, now) == Changes(
        "orders", before.table_id, before.snapshot_id, now, (Column("a", "BIGINT"), Column("b", "BIGINT")),
        inserts=True, deletes=True, inserted_rows=2, deleted_rows=90, rows=12,
    )  # fmt: skip


def test_what_was_inserted_and_deleted_is_read_by_a_query_of_ours(plane: Plane) -> None:
    make_dataset(plane, "orders", "SELECT i AS a FROM range(5) t(i)")
    before = seen(plane, "orders")
    change(plane, "orders", "a = 3", "SELECT 3::BIGINT AS a UNION ALL SELECT 9")
    now = plane.snapshot()
    changes = plane.changes(before, now)
    job = uuid4()
    both = stage(
        plane, job,
        "SELECT a, 1 AS weight FROM _new UNION ALL SELECT a, -1 FROM _old AS o WHERE a IN (SELECT a FROM _new)",
        {"_new": ChangedRows(changes, "inserted"), "_old": ChangedRows(changes, "deleted")},
    )  # fmt: skip
    again = stage(plane, job, "SELECT a, sum(weight) AS weight FROM _both GROUP BY a", {"_both": both})
    assert again.columns == (Column("a", "BIGINT"), Column("weight", "DECIMAL(38,0)"))
    plane.publish(job, 1, [Write("sums", "create", again)], {})
    assert sorted(rows_of(plane, "FROM sums")) == [(3, 0), (9, 1)]


def test_an_append_is_told_apart_from_a_deletion_and_from_no_change(plane: Plane) -> None:
    make_dataset(plane, "orders", "SELECT i AS a FROM range(5) t(i)")
    before = seen(plane, "orders")
    changes = plane.changes(before, plane.snapshot())
    assert (changes.inserts, changes.deletes, changes.inserted_rows, changes.deleted_rows) == (False, False, 0, 0)
    make_dataset(plane, "orders", "SELECT i AS a FROM range(7) t(i)", mode="append")
    changes = plane.changes(before, plane.snapshot())
    assert (changes.inserts, changes.deletes, changes.inserted_rows, changes.deleted_rows) == (True, False, 7, 0)
    between = seen(plane, "orders")
    change(plane, "orders", "a < 2")
    changes = plane.changes(between, plane.snapshot())
    assert (changes.inserts, changes.deletes, changes.inserted_rows, changes.deleted_rows) == (False, True, 0, 4)
    none = stage(plane, uuid4(), "FROM _new", {"_new": ChangedRows(changes, "inserted")})
    assert (none.rows, none.columns) == (0, (Column("a", "BIGINT"),))


def test_a_replaced_or_dropped_dataset_has_no_changes(plane: Plane) -> None:
    make_dataset(plane, "orders", "SELECT 1 AS a")
    before = seen(plane, "orders")
    make_dataset(plane, "orders", "SELECT 1 AS a")
    with pytest.raises(ChangesUnknownError, match="orders was replaced since snapshot"):
        plane.changes(before, plane.snapshot())
    plane.publish(uuid4(), 1, [Write("orders", "drop")], {})
    with pytest.raises(ChangesUnknownError, match="orders was dropped since snapshot"):
        plane.changes(before, plane.snapshot())


@pytest.mark.parametrize("between", ["rows", "properties", "table", "state"])
def test_what_was_computed_from_a_dataset_that_moved_on_is_refused(plane: Plane, between: str) -> None:
    made = make_view(plane)
    before = rows_of(plane, "FROM totals")
    job = uuid4()
    deletes = stage(plane, job, f"SELECT {ROW_ID} FROM _rows", {"_rows": StoredRows("totals", made)})
    state = stage(plane, job, "SELECT 1 AS k, 3::BIGINT AS n")
    if between == "rows":
        change(plane, "totals", "k = 0", "SELECT 0::BIGINT AS k", kind="view")
    elif between == "properties":
        plane.publish(uuid4(), 1, [Write("totals", "describe", kind="view", properties={"tags": []})], {})
    elif between == "table":
        make_view(plane)
    else:
        other = uuid4()
        more = StateWrite("change", stage(plane, other, "SELECT 2 AS k, 1::BIGINT AS n"))
        plane.publish(other, 1, [Write("totals", "change", kind="view", since=made, state=more)], {})
    with pytest.raises(OvertakenError):
        plane.publish(
            job, 1,
            [Write("totals", "change", deletes=deletes, kind="view", since=made, state=StateWrite("change", state))],
            {},
        )  # fmt: skip
    assert sorted(rows_of(plane, "FROM totals")) == sorted(before)
    assert plane.published(job) is None


def test_a_state_is_hidden_and_changes_with_its_view(plane: Plane) -> None:
    make_view(plane, "sales.totals")
    assert [dataset.name for dataset in plane.datasets()] == ["sales.totals"]
    for name in ('_narrative."state_sales.totals"', '"state_sales.totals"', "_rows"):
        with pytest.raises(QueryRefusedError):
            plane.check(f"SELECT * FROM {name}")
    at = plane.snapshot()
    assert plane.has_state("sales.totals", at)
    job = uuid4()
    rows = {"_rows": StoredRows("sales.totals", at, state=True)}
    deletes = stage(plane, job, f"SELECT {ROW_ID} FROM _rows", rows)
    added = stage(plane, job, "SELECT k, n + 5 AS n FROM _rows", rows)
    plane.publish(
        job, 1, [Write("sales.totals", "change", kind="view", since=at, state=StateWrite("change", added, deletes))], {}
    )
    at = plane.snapshot()
    found = stage(plane, uuid4(), "SELECT k, n FROM _rows", {"_rows": StoredRows("sales.totals", at, state=True)})
    assert found.rows == 1


@pytest.mark.parametrize("end", ["replace", "drop"])
def test_a_state_goes_with_its_view(plane: Plane, end: str) -> None:
    make_view(plane)
    job = uuid4()
    rows = None if end == "drop" else stage(plane, job, "SELECT 1 AS k")
    plane.publish(job, 1, [Write("totals", end, rows, "view")], {})
    assert not plane.has_state("totals", plane.snapshot())
    with pytest.raises(DatasetNotFoundError, match="no state of 'totals'"):
        stage(plane, uuid4(), "FROM _rows", {"_rows": StoredRows("totals", plane.snapshot(), state=True)})


def test_a_failed_publication_leaves_rows_and_state_as_they_were(plane: Plane) -> None:
    made = make_view(plane)
    job = uuid4()
    rows = {"_rows": StoredRows("totals", made)}
    deletes = stage(plane, job, f"SELECT {ROW_ID} FROM _rows UNION ALL SELECT 999", rows)
    state = StateWrite("change", stage(plane, job, "SELECT 1 AS k, 3::BIGINT AS n"))
    with pytest.raises(OvertakenError, match="4 rows of 'totals' were to be deleted, and 3 of them are there"):
        plane.publish(job, 1, [Write("totals", "change", deletes=deletes, kind="view", since=made, state=state)], {})
    assert sorted(rows_of(plane, "FROM totals")) == [(0,), (1,), (2,)]


def test_each_source_may_be_read_at_a_snapshot_of_its_own(plane: Plane) -> None:
    make_dataset(plane, "a", "SELECT 1 AS x")
    pinned = make_dataset(plane, "b", "SELECT 1 AS y").snapshot_id
    make_dataset(plane, "a", "SELECT 2 AS x")
    make_dataset(plane, "b", "SELECT 2 AS y")
    at = plane.snapshot()
    job = uuid4()
    query = plane.check("SELECT x, y FROM a, b")
    plane.publish(
        job, 1, [Write("pairs", "create", plane.stage_query(job, 1, "pairs", query, at=at, pins={"a": pinned}))], {}
    )
    assert rows_of(plane, "FROM pairs") == [(1, 2)]
    versions = plane.versions(["a", "b"], at, {"a": pinned})
    assert [(one.name, one.snapshot_id) for one in versions] == [("a", pinned), ("b", at)]
    assert versions[0].table_id != plane.versions(["a"], at)[0].table_id


def test_rows_can_not_be_told_by_ids_that_a_column_hides(plane: Plane) -> None:
    make_dataset(plane, "orders", "SELECT i AS RowId FROM range(3) t(i)")
    with pytest.raises(ChangesUnknownError, match="column called 'RowId'"):
        change(plane, "orders", "true")
