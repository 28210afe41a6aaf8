"""What every plane does, whatever engine and catalog it stands on."""

import gzip
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from plane_samples import SAMPLES, make_dataset, rows_of

from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.planes import Column, Plane, PlaneUsage, Published, SourceVersion, Write, open_plane
from prefect_narrative.planes.errors import (
    ColumnMismatchError,
    DatasetExistsError,
    DatasetNotFoundError,
    FencedError,
    ImportRefusedError,
    OvertakenError,
    PlaneClosedError,
    PublishLockTimeoutError,
    QueryFailedError,
    QueryRefusedError,
    SnapshotNotFoundError,
    StageLostError,
    UnreadableFileError,
    UnstorableColumnError,
    WrongKindError,
)
from prefect_narrative.planes.lock import PublishLock
from prefect_narrative.settings import Settings


def staged(plane: Plane, job: UUID, name: str, query: str, token: int = 1, **options: Any) -> Any:
    return plane.stage_query(job, token, name, plane.check(query), at=plane.snapshot(), **options)


# Reading


def test_a_new_plane_is_empty_and_stays_when_it_is_opened_again(plane: Plane, settings: Settings) -> None:
    assert plane.name == "default"
    assert list(plane.datasets()) == []
    assert plane.usage() == PlaneUsage()
    assert plane.progress() is None
    plane.interrupt()
    make_dataset(plane, "orders", "SELECT 1 AS a")
    plane.close()
    plane.close()
    with pytest.raises(PlaneClosedError):
        plane.snapshot()
    with open_plane("default", settings.plane_directory("default"), settings) as again:
        assert rows_of(again, "SELECT a FROM orders") == [(1,)]


def test_a_dataset_is_described_as_it_stands_in_each_snapshot(plane: Plane) -> None:
    first = make_dataset(plane, "orders", SAMPLES["orders"], properties={"tags": ["a"], "deep": {"x": None}})
    second = make_dataset(plane, "orders", "SELECT 1 AS a WHERE false")
    seen = plane.dataset("orders", first.snapshot_id)
    assert (seen.name, seen.kind, seen.snapshot_id, seen.rows, seen.properties) == (
        "orders", "dataset", first.snapshot_id, 200, {"tags": ["a"], "deep": {"x": None}},
    )  # fmt: skip
    assert seen.bytes > 0
    assert seen.files >= 1
    assert seen.columns == (
        Column("order_id", "BIGINT"),
        Column("customer_id", "BIGINT"),
        Column("amount", "DOUBLE"),
        Column("ordered_on", "DATE"),
        Column("ordered_at", "TIMESTAMP"),
        Column("item", "VARCHAR"),
        Column("tags", "BIGINT[]"),
        Column("address", "STRUCT(city VARCHAR, zip BIGINT)"),
        Column("ratio", "DOUBLE"),
    )
    assert list(plane.describe(plane.check("FROM orders", first.snapshot_id), first.snapshot_id)) == list(seen.columns)
    now = plane.dataset("orders")
    assert (now.rows, now.bytes, now.files, now.columns, now.snapshot_id) == (
        0, 0, 0, (Column("a", "INTEGER"),), second.snapshot_id,
    )  # fmt: skip
    assert now.table_id != seen.table_id
    assert now.properties == seen.properties  # a write that brings none leaves them


def test_datasets_are_listed_by_name_with_their_schema(plane: Plane) -> None:
    for name in ("zebra", "sales.orders", "apple"):
        make_dataset(plane, name, "SELECT 1 AS a")
    assert [dataset.name for dataset in plane.datasets()] == ["apple", "sales.orders", "zebra"]
    assert plane.exists("sales.orders")
    assert not plane.exists("orders")
    assert plane.dataset("main.apple").name == "apple"
    with pytest.raises(DatasetNotFoundError, match=r"no dataset 'aple'.*Nearest: apple"):
        plane.dataset("aple")


def test_all_datasets_of_a_query_read_one_snapshot(plane: Plane) -> None:
    make_dataset(plane, "a", "SELECT 1 AS x")
    pinned = make_dataset(plane, "b", "SELECT 1 AS y").snapshot_id
    make_dataset(plane, "a", "SELECT 2 AS x")
    newest = make_dataset(plane, "b", "SELECT 2 AS y").snapshot_id
    query = "SELECT x, y FROM a, b"
    assert rows_of(plane, query, pinned) == [(1, 1)]
    assert rows_of(plane, query, newest) == [(2, 2)]
    assert rows_of(plane, query) == [(2, 2)]
    assert rows_of(plane, query, newest - 1) == [(2, 1)]  # the snapshot of the claim before the last publication
    assert rows_of(plane, f"SELECT x, y FROM a AT (VERSION => {newest}), b", pinned) == [(2, 1)]
    read = plane.read(plane.check(query), limit=10, at=pinned)
    assert read.snapshot_id == pinned


@pytest.mark.parametrize("at", [-1, 10_000, 2**63, True])
def test_an_unknown_snapshot_is_refused(plane: Plane, at: int) -> None:
    make_dataset(plane, "orders", "SELECT 1 AS a")
    query = plane.check("FROM orders")
    for attempt in (
        lambda: plane.datasets(at),
        lambda: plane.dataset("orders", at),
        lambda: plane.check("FROM orders", at),
        lambda: plane.describe(query, at),
        lambda: plane.read(query, limit=1, at=at),
        lambda: plane.versions(["orders"], at),
        lambda: plane.changed(SourceVersion("orders", 1, 1), at),
        lambda: plane.stage_query(uuid4(), 1, "copy", query, at=at),
    ):
        with pytest.raises(SnapshotNotFoundError):
            attempt()


def test_a_dataset_that_was_not_there_yet_is_not_found(plane: Plane) -> None:
    before = plane.snapshot()
    make_dataset(plane, "orders", "SELECT 1 AS a")
    query = plane.check("FROM orders")
    for attempt in (
        lambda: plane.check("FROM orders", before),
        lambda: plane.read(query, limit=1, at=before),
        lambda: plane.versions(["orders"], before),
    ):
        with pytest.raises(DatasetNotFoundError, match=f"in snapshot {before}|no dataset 'orders'"):
            attempt()


def test_reading_says_whether_there_is_more(shared_plane: Plane) -> None:
    query = shared_plane.check("SELECT i FROM range(5) t(i) ORDER BY i DESC")
    assert shared_plane.read(query, limit=5).rows == ((4,), (3,), (2,), (1,), (0,))
    assert not shared_plane.read(query, limit=5).truncated
    assert shared_plane.read(query, limit=2).rows == ((4,), (3,))
    assert shared_plane.read(query, limit=2).truncated
    assert shared_plane.read(query, limit=0).rows == ()
    assert shared_plane.read(query, limit=0).truncated
    with pytest.raises(ValueError, match="limit is -1"):
        shared_plane.read(query, limit=-1)


def test_order_survives_the_limit_on_many_rows(shared_plane: Plane) -> None:
    make_dataset(shared_plane, "numbers", "SELECT (i * 7919) % 300000 AS n FROM range(300000) t(i)")
    read = shared_plane.read(shared_plane.check("SELECT n FROM numbers ORDER BY n"), limit=1000)
    assert [row[0] for row in read.rows] == list(range(1000))


@pytest.mark.parametrize(
    ("query", "error", "fragment"),
    [
        ("SELECT nothing FROM orders", QueryRefusedError, 'Referenced column "nothing" not found'),
        ("SELECT date_trunc(a) FROM orders", QueryRefusedError, "date_trunc|analysed"),
        ("SELECT a FROM orders UNION SELECT 1, 2", QueryRefusedError, "same number"),
        ("SELECT a::unknown_type FROM orders", QueryRefusedError, "unknown_type"),
        ("SELECT a COLLATE klingon FROM orders", QueryRefusedError, "klingon"),
    ],
)
def test_a_query_that_means_nothing_is_refused(
    shared_plane: Plane, query: str, error: type[NarrativeError], fragment: str
) -> None:
    make_dataset(shared_plane, "orders", "SELECT 'x' AS a")
    with pytest.raises(error, match=fragment) as raised:
        shared_plane.describe(shared_plane.check(query))
    assert raised.value.kind is FailureKind.INPUT


@pytest.mark.parametrize(
    "query",
    [
        "SELECT CAST(a AS INTEGER) FROM orders",
        "SELECT error('too bad') FROM orders",
        "SELECT 9223372036854775807 + length(a) FROM orders",
        "SELECT (SELECT i FROM range(3) t(i) WHERE i >= length(a) - 1) FROM orders",
    ],
)
def test_a_query_that_fails_on_its_data_says_so(shared_plane: Plane, query: str) -> None:
    make_dataset(shared_plane, "orders", "SELECT 'x' AS a")
    checked = shared_plane.check(query)
    for attempt in (
        lambda: shared_plane.read(checked, limit=1),
        lambda: shared_plane.stage_query(uuid4(), 1, "bad", checked, at=shared_plane.snapshot()),
    ):
        with pytest.raises(QueryFailedError) as raised:
            attempt()
        assert raised.value.kind is FailureKind.DATA
        assert len(str(raised.value)) <= 500


def test_too_little_memory_is_a_matter_of_resources(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, memory_limit="40MB", threads=1)
    with open_plane("default", settings.plane_directory("default"), settings) as plane:
        query = plane.check("SELECT list(i ORDER BY hash(i)) FROM range(20000000) t(i)")
        with pytest.raises(MemoryError) as raised:
            plane.read(query, limit=1)
        assert raised.value.kind is FailureKind.RESOURCE  # type: ignore[attr-defined]


def test_a_big_sort_spills_and_leaves_nothing_behind(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, memory_limit="100MB", threads=2)
    with open_plane("default", settings.plane_directory("default"), settings) as plane:
        stage = staged(
            plane, uuid4(), "sorted", "SELECT hash(i) AS h, repeat('x', 40) AS t FROM range(3000000) r(i) ORDER BY h"
        )
        assert stage.rows == 3_000_000
    assert list(settings.spill_directory.iterdir()) == []


# Changes


def test_changes_are_told_by_what_was_written(plane: Plane) -> None:
    make_dataset(plane, "a", "SELECT 1 AS x")
    make_dataset(plane, "b", "SELECT 1 AS x")
    first = plane.snapshot()
    seen_a, seen_b = plane.versions(["a", "b"], first)
    assert seen_a == SourceVersion("a", plane.dataset("a").table_id, first)
    assert not plane.changed(seen_a, first)
    make_dataset(plane, "b", "SELECT 2 AS x", mode="append")
    newest = plane.snapshot()
    assert not plane.changed(seen_a, newest)
    assert plane.changed(seen_b, newest)
    job = uuid4()
    plane.claim(job, 1)
    plane.publish(job, 1, [Write("a", "describe", properties={"note": "only words"})], {})
    assert not plane.changed(seen_a, plane.snapshot())
    make_dataset(plane, "a", "SELECT 1 AS x")
    assert plane.changed(seen_a, plane.snapshot())
    assert plane.changed(SourceVersion("gone", 1, first), plane.snapshot())
    with pytest.raises(DatasetNotFoundError, match="Nearest: a"):
        plane.versions(["a", "aa"], first)


# Staging and publishing


def test_publishing_makes_data_properties_and_result_visible_together(plane: Plane) -> None:
    job = uuid4()
    assert plane.published(job) is None
    assert plane.claim(job, 1) is None
    one = staged(plane, job, "one", "SELECT 1 AS a")
    two = staged(plane, job, "sales.two", "SELECT 2 AS b")
    assert plane.published(job) is None
    assert not plane.exists("one")
    result = {"rows": 2, "note": "ünïcödé"}
    made = plane.publish(
        job,
        1,
        [Write("one", "create", one), Write("sales.two", "create", two, kind="view", properties={"q": 1})],
        result,
    )
    assert made == Published(plane.snapshot(), {**result, "snapshot_id": plane.snapshot()}, found=False)
    found = Published(made.snapshot_id, made.result, found=True)
    assert plane.published(job) == found
    assert plane.claim(job, 1) == found
    assert plane.claim(job, 2) == found
    assert plane.publish(job, 2, [Write("one", "create", one)], {"other": 1}) == found
    assert plane.snapshot() == made.snapshot_id
    view = plane.dataset("sales.two")
    assert (view.kind, view.properties, view.snapshot_id) == ("view", {"q": 1}, made.snapshot_id)
    assert rows_of(plane, "SELECT a, b FROM one, sales.two", made.snapshot_id) == [(1, 2)]
    with pytest.raises(DatasetNotFoundError):
        plane.dataset("one", made.snapshot_id - 1)


def test_the_snapshot_of_a_result_is_right_after_many_others(plane: Plane) -> None:
    jobs = {uuid4(): number for number in range(4)}
    made = {job: make_dataset(plane, "numbers", f"SELECT {number} AS n", job_id=job) for job, number in jobs.items()}
    for job, number in jobs.items():
        found = plane.published(job)
        assert found is not None
        assert found.snapshot_id == made[job].snapshot_id == found.result["snapshot_id"]
        assert rows_of(plane, "SELECT n FROM numbers", found.snapshot_id) == [(number,)]


def test_a_failing_write_leaves_nothing_of_its_publication(plane: Plane) -> None:
    make_dataset(plane, "taken", "SELECT 1 AS a")
    before = [plane.dataset("taken"), plane.exists("fresh")]
    job = uuid4()
    plane.claim(job, 1)
    writes = [
        Write("fresh", "create", staged(plane, job, "fresh", "SELECT 1 AS a")),
        Write("taken", "create", staged(plane, job, "taken", "SELECT 2 AS a")),
    ]
    with pytest.raises(DatasetExistsError, match="'taken'"):
        plane.publish(job, 1, writes, {})
    assert [plane.dataset("taken", before[0].snapshot_id), plane.exists("fresh")] == before  # type: ignore[union-attr]
    assert plane.published(job) is None
    assert plane.publish(job, 1, writes[:1], {}).found is False


def test_every_mode_keeps_its_word(plane: Plane) -> None:
    make_dataset(plane, "grown", "SELECT 1 AS a, 'x' AS b")
    make_dataset(plane, "grown", "SELECT 'y' AS B, 2 AS A", mode="append")
    assert sorted(rows_of(plane, "SELECT a, b FROM grown")) == [(1, "x"), (2, "y")]
    make_dataset(plane, "grown", "SELECT 3 AS a, 'z' AS b WHERE false", mode="append")
    assert plane.dataset("grown").rows == 2
    for query, fragment in [
        ("SELECT 1 AS a", "b is missing"),
        ("SELECT 1 AS a, 'x' AS b, 2 AS c", "c is not in the dataset"),
        ("SELECT 'x' AS a, 'x' AS b", "a is VARCHAR, the dataset has INTEGER"),
        ("SELECT 1::BIGINT AS a, 'x' AS b", "a is BIGINT, the dataset has INTEGER"),
    ]:
        with pytest.raises(ColumnMismatchError, match=fragment):
            make_dataset(plane, "grown", query, mode="append")
    with pytest.raises(DatasetNotFoundError, match="nowhere"):
        make_dataset(plane, "nowhere", "SELECT 1 AS a", mode="append")
    job = uuid4()
    plane.claim(job, 1)
    with pytest.raises(DatasetNotFoundError, match="nowhere"):
        plane.publish(job, 1, [Write("nowhere", "describe", properties={})], {})
    with pytest.raises(ValueError, match="twice"):
        plane.publish(job, 1, [Write("grown", "describe"), Write("main.grown", "describe")], {})
    with pytest.raises(ValueError, match="needs a stage"):
        plane.publish(job, 1, [Write("grown", "replace")], {})


@pytest.mark.parametrize(
    ("narrow", "wide", "value"),
    [
        ("TINYINT", "BIGINT", 7),
        ("SMALLINT", "INTEGER", -7),
        ("INTEGER", "BIGINT", 7),
        ("UINTEGER", "UBIGINT", 7),
        ("FLOAT", "DOUBLE", 0.5),
    ],
)
def test_narrower_numbers_can_be_appended(shared_plane: Plane, narrow: str, wide: str, value: float) -> None:
    make_dataset(shared_plane, "numbers", f"SELECT 1::{wide} AS n")
    make_dataset(shared_plane, "numbers", f"SELECT ({value})::{narrow} AS n", mode="append")
    assert sorted(rows_of(shared_plane, "SELECT n FROM numbers")) == sorted([(1,), (value,)])
    assert rows_of(shared_plane, f"SELECT n FROM numbers WHERE n = {value}") == [(value,)]
    assert shared_plane.dataset("numbers").columns == (Column("n", wide),)


def test_only_the_right_kind_and_the_expected_table_are_written(plane: Plane) -> None:
    make_dataset(plane, "view_of_orders", "SELECT 1 AS a", kind="view")
    for mode in ("replace", "append"):
        with pytest.raises(WrongKindError, match="'view_of_orders' is a view"):
            make_dataset(plane, "view_of_orders", "SELECT 2 AS a", mode=mode)
    make_dataset(plane, "orders", "SELECT 1 AS a")
    with pytest.raises(WrongKindError, match="'orders' is a dataset"):
        make_dataset(plane, "orders", "SELECT 2 AS a", kind="view")
    table = plane.dataset("orders").table_id
    make_dataset(plane, "orders", "SELECT 3 AS a", replaces=table)
    with pytest.raises(OvertakenError, match=f"table {table} of 'orders'"):
        make_dataset(plane, "orders", "SELECT 4 AS a", replaces=table)
    with pytest.raises(OvertakenError, match="is gone"):
        make_dataset(plane, "gone", "SELECT 4 AS a", replaces=table)
    assert rows_of(plane, "SELECT a FROM orders") == [(3,)]


def test_columns_can_be_chosen_and_ordered(shared_plane: Plane) -> None:
    job = uuid4()
    stage = staged(shared_plane, job, "some", "SELECT 1 AS a, 2 AS b, 3 AS c", columns=["C", "a"])
    assert stage.columns == (Column("c", "INTEGER"), Column("a", "INTEGER"))
    with pytest.raises(ColumnMismatchError, match="no column 'd'"):
        staged(shared_plane, job, "some", "SELECT 1 AS a", columns=["d"])


@pytest.mark.parametrize(
    ("query", "fragment"),
    [
        ("SELECT 1 AS a, 2 AS a", "Two columns are called 'a'"),
        ("SELECT 1 AS a, 2 AS A", "Two columns are called 'A'"),
        ('SELECT 1 AS " "', "needs a name"),
        (f"SELECT 1 AS {'x' * 300}", "300 characters"),
        ("SELECT " + ", ".join(f"{i} AS c{i}" for i in range(1001)), "1001 columns"),
    ],
)
def test_columns_need_good_names(shared_plane: Plane, query: str, fragment: str) -> None:
    with pytest.raises(UnstorableColumnError, match=fragment):
        staged(shared_plane, uuid4(), "bad", query)


def test_a_thousand_columns_and_odd_names_are_kept(shared_plane: Plane) -> None:
    names = [
        "select",
        "two words",
        'quo"te',
        "it's",
        "ünï",
        "UPPER",
        "a.b",
        "snapshot_id",
        "rowid",
        "filename",
        "x;y",
        "[1]",
    ]
    columns = [*names, *(f"c{number}" for number in range(1000 - len(names)))]
    selection = ", ".join(f'{number} AS "{name.replace(chr(34), chr(34) * 2)}"' for number, name in enumerate(columns))
    make_dataset(shared_plane, "wide", f"SELECT {selection}")
    assert [column.name for column in shared_plane.dataset("wide").columns] == columns
    assert rows_of(shared_plane, "SELECT * FROM wide") == [tuple(range(1000))]
    assert rows_of(shared_plane, 'SELECT snapshot_id, rowid, filename, "quo""te" FROM wide') == [(7, 8, 9, 2)]


def test_an_attempt_publishes_only_what_it_has_staged_itself(plane: Plane) -> None:
    job, other = uuid4(), uuid4()
    stage = staged(plane, other, "orders", "SELECT 1 AS a")
    plane.claim(job, 1)
    with pytest.raises(ValueError, match="was not staged by"):
        plane.publish(job, 1, [Write("orders", "create", stage)], {})
    mine = staged(plane, job, "orders", "SELECT 1 AS a")
    for path in mine.folder.iterdir():
        path.unlink()
    with pytest.raises(StageLostError):
        plane.publish(job, 1, [Write("orders", "create", mine)], {})
    assert not plane.exists("orders")


def test_discard_removes_only_what_was_not_published(plane: Plane) -> None:
    job = uuid4()
    plane.claim(job, 1)
    kept = staged(plane, job, "kept", "SELECT 1 AS a")
    lost = staged(plane, job, "lost", "SELECT 1 AS a")
    again = staged(plane, job, "kept", "SELECT 2 AS a")
    older = staged(plane, job, "older", "SELECT 1 AS a", token=0)
    assert len({kept.folder, lost.folder, again.folder, older.folder}) == 4
    plane.publish(job, 1, [Write("kept", "create", kept)], {})
    for token in (1, 0, 7):
        plane.discard(job, token)
        plane.discard(job, token)
    assert rows_of(plane, "SELECT a FROM kept") == [(1,)]
    assert kept.folder.exists()
    assert not any(stage.folder.exists() for stage in (lost, again, older))
    assert not older.folder.parent.exists()
    # What the lake has given up is still the lake's to remove: older snapshots read it.
    first = plane.snapshot()
    make_dataset(plane, "kept", "SELECT 3 AS a")
    plane.discard(job, 1)
    assert rows_of(plane, "SELECT a FROM kept", first) == [(1,)]
    alone = uuid4()
    stage = staged(plane, alone, "alone", "SELECT 1 AS a")
    plane.discard(alone, 1)
    assert not stage.folder.parent.parent.exists()


def test_usage_counts_what_is_read_and_written(plane: Plane) -> None:
    make_dataset(plane, "orders", "SELECT i FROM range(100) t(i)")
    size = plane.dataset("orders").bytes
    written = plane.usage()
    assert (written.read_rows, written.read_bytes, written.written_rows) == (None, None, 100)
    assert written.written_bytes == size
    rows_of(plane, "SELECT i FROM orders LIMIT 1")
    stage = staged(plane, uuid4(), "half", "SELECT i FROM orders WHERE i < 50")
    assert plane.usage() == PlaneUsage(200, 2 * size, 150, size + stage.bytes)


# Tokens


def test_a_lower_token_is_fenced_off(plane: Plane) -> None:
    job = uuid4()
    plane.claim(job, 2)
    stage = staged(plane, job, "orders", "SELECT 1 AS a", token=2)
    for attempt in (lambda: plane.claim(job, 1), lambda: plane.publish(job, 1, [], {})):
        with pytest.raises(FencedError, match="token 2 has taken over") as raised:
            attempt()
        assert not raised.value.retryable
    plane.fence(job, 1)  # a lower fence changes nothing
    plane.fence(job, 3)
    with pytest.raises(FencedError, match="token 3 has taken over"):
        plane.publish(job, 2, [Write("orders", "create", stage)], {})
    assert plane.published(job) is None
    fresh = staged(plane, job, "orders", "SELECT 1 AS a", token=3)
    made = plane.publish(job, 3, [Write("orders", "create", fresh)], {})
    plane.fence(job, 9)  # what is published stays published
    assert plane.published(job) == Published(made.snapshot_id, made.result, found=True)
    assert plane.claim(job, 1) == Published(made.snapshot_id, made.result, found=True)


def test_a_job_can_be_fenced_before_it_is_seen(shared_plane: Plane) -> None:
    job = uuid4()
    shared_plane.fence(job, 5)
    with pytest.raises(FencedError):
        shared_plane.claim(job, 4)
    assert shared_plane.claim(job, 5) is None


def test_publishing_without_a_claim_makes_one(shared_plane: Plane) -> None:
    job = uuid4()
    assert shared_plane.publish(job, 1, [], {"nothing": True}).result["nothing"] is True
    assert shared_plane.claim(job, 2) == shared_plane.published(job)


def test_the_lock_names_its_holder(settings: Settings) -> None:
    impatient = settings.model_copy(update={"publish_lock_timeout": __import__("datetime").timedelta(seconds=0.2)})
    with open_plane("default", settings.plane_directory("default"), impatient) as plane:
        lock = PublishLock(settings.plane_directory("default") / "publish.lock", impatient.publish_lock_timeout)
        with lock.held("a-long-job"), pytest.raises(PublishLockTimeoutError, match="job a-long-job"):
            plane.claim(uuid4(), 1)
        assert lock.holder() is None
        assert plane.claim(uuid4(), 1) is None


# Types

KEPT: list[tuple[str, str]] = [
    ("true", "BOOLEAN"),
    ("(-128)::TINYINT", "TINYINT"),
    ("(-32768)::SMALLINT", "SMALLINT"),
    ("2147483647", "INTEGER"),
    ("(-9223372036854775808)::BIGINT", "BIGINT"),
    ("255::UTINYINT", "UTINYINT"),
    ("65535::USMALLINT", "USMALLINT"),
    ("4294967295::UINTEGER", "UINTEGER"),
    ("18446744073709551615::UBIGINT", "UBIGINT"),
    ("99999999999999999999999999999999999999::HUGEINT", "DECIMAL(38,0)"),
    ("5::UHUGEINT", "DECIMAL(38,0)"),
    ("0.1::FLOAT", "FLOAT"),
    ("0.1::DOUBLE", "DOUBLE"),
    ("'nan'::DOUBLE", "DOUBLE"),
    ("'-inf'::DOUBLE", "DOUBLE"),
    ("1.23::DECIMAL(4, 2)", "DECIMAL(4,2)"),
    ("(-1.23)::DECIMAL(38, 2)", "DECIMAL(38,2)"),
    ("'ünï ☃'", "VARCHAR"),
    ("''", "VARCHAR"),
    ("'\\x00\\xFF'::BLOB", "BLOB"),
    ("DATE '0044-03-15'", "DATE"),
    ("'infinity'::DATE", "DATE"),
    ("TIME '23:59:59.999999'", "TIME"),
    ("TIMESTAMP '2024-01-01 00:00:00.123456'", "TIMESTAMP"),
    ("'-infinity'::TIMESTAMP", "TIMESTAMP"),
    ("TIMESTAMP_S '2024-01-01 00:00:01'", "TIMESTAMP"),
    ("TIMESTAMP_MS '2024-01-01 00:00:01.123'", "TIMESTAMP"),
    ("TIMESTAMP_NS '2024-01-01 00:00:01.123456789'", "TIMESTAMP_NS"),
    ("TIMESTAMPTZ '2024-01-01 00:00:00+05'", "TIMESTAMP WITH TIME ZONE"),
    ("UUID '6f1c1f1e-0000-4000-8000-000000000000'", "UUID"),
    ("'{\"a\": [1, null]}'::JSON", "JSON"),
    ("'b'::ENUM('a', 'b')", "VARCHAR"),
    ("NULL", "INTEGER"),
    ("[NULL]", "INTEGER[]"),
    ("[]", "INTEGER[]"),
    ("[1, NULL, 3]", "INTEGER[]"),
    ("[1, 2]::INTEGER[2]", "INTEGER[]"),
    ("[['a'], [], NULL]", "VARCHAR[][]"),
    ("{'a': 1, 'B c': [{'d': DATE '2024-01-01'}]}", 'STRUCT(a INTEGER, "B c" STRUCT(d DATE)[])'),
    ("{'h': 1::HUGEINT, 'e': 'a'::ENUM('a')}", "STRUCT(h DECIMAL(38,0), e VARCHAR)"),
    ("MAP {'a': 1, 'b': NULL}", "MAP(VARCHAR, INTEGER)"),
    ("MAP {1: {'x': [1.5]}}", "MAP(INTEGER, STRUCT(x DECIMAL(2,1)[]))"),
    ("['{\"a\": 1}'::JSON]", "JSON[]"),
]


def test_values_come_back_as_they_went_in(shared_plane: Plane) -> None:
    columns = ", ".join(f"{expression} AS c{number}" for number, (expression, _) in enumerate(KEPT))
    nulls = ", ".join(f"CAST(NULL AS {kind}) AS c{number}" for number, (_, kind) in enumerate(KEPT))
    make_dataset(shared_plane, "kept", f"SELECT 1 AS n, {columns}")
    make_dataset(shared_plane, "kept", f"SELECT 2 AS n, {nulls}", mode="append")
    assert [column.type for column in shared_plane.dataset("kept").columns[1:]] == [kind for _, kind in KEPT]
    assert list(shared_plane.describe(shared_plane.check("FROM kept"))) == list(shared_plane.dataset("kept").columns)
    same = ", ".join(
        f"c{number} IS NOT DISTINCT FROM CAST({expression} AS {kind})" for number, (expression, kind) in enumerate(KEPT)
    )
    [equal] = rows_of(shared_plane, f"SELECT {same} FROM kept WHERE n = 1")
    assert [KEPT[number] for number, same in enumerate(equal) if not same] == []
    [row] = rows_of(shared_plane, "SELECT * EXCLUDE (n) FROM kept WHERE n = 2")
    assert set(row) == {None}


@pytest.mark.parametrize(
    "expression",
    [
        "INTERVAL 1 DAY",
        "'10:00+02'::TIMETZ",
        "'1010'::BIT",
        "1::BIGNUM",
        "union_value(a := 1)",
        "TIME_NS '10:00:00.123456789'",
        "row(1, 2)",
        "[INTERVAL 1 DAY]",
        "{'a': {'b': '1'::BIT}}",
        "MAP {'a': union_value(a := 1)}",
        "1::VARIANT",
    ],
)
def test_types_that_files_would_change_are_refused(shared_plane: Plane, expression: str) -> None:
    with pytest.raises(UnstorableColumnError, match="The column 'x'") as raised:
        staged(shared_plane, uuid4(), "bad", f"SELECT {expression} AS x")
    assert raised.value.remedy


def test_sums_of_whole_numbers_are_exact(shared_plane: Plane) -> None:
    make_dataset(shared_plane, "sums", "SELECT sum(9223372036854775807) AS total FROM range(3)")
    assert rows_of(shared_plane, "SELECT total FROM sums") == [(Decimal(3 * 9223372036854775807),)]
    with pytest.raises(QueryFailedError):
        staged(shared_plane, uuid4(), "bad", "SELECT 170141183460469231731687303715884105727::HUGEINT AS x")


# Imports

Writer = Callable[[Path], None]

IMPORTS: list[tuple[str, str, bytes]] = [
    ("csv", "a.csv", b"id,name,day\n1,x,2024-01-01\n2,,2024-01-02\n"),
    ("csv with a byte order mark", "a.csv", b"\xef\xbb\xbfid,name,day\n1,x,2024-01-01\n2,,2024-01-02\n"),
    ("tab-separated", "a.tsv", b"id\tname\tday\n1\tx\t2024-01-01\n2\t\t2024-01-02\n"),
    ("compressed csv", "a.csv.gz", gzip.compress(b"id,name,day\n1,x,2024-01-01\n2,,2024-01-02\n")),
    ("quoted csv", "a.csv", b'"id";"name";"day"\r\n1;"x";2024-01-01\r\n2;;2024-01-02\r\n'),
    ("json lines", "a.jsonl", b'{"id": 1, "name": "x", "day": "2024-01-01"}\n{"id": 2, "day": "2024-01-02"}\n'),
    (
        "json array",
        "a.json",
        b'[{"id": 1, "name": "x", "day": "2024-01-01"}, {"id": 2, "name": null, "day": "2024-01-02"}]',
    ),
    (
        "compressed json",
        "a.ndjson.gz",
        gzip.compress(b'{"id": 1, "name": "x", "day": "2024-01-01"}\n{"id": 2, "day": "2024-01-02"}\n'),
    ),
]


@pytest.fixture
def root(settings: Settings) -> Path:
    folder = settings.allowed_import_roots[0]
    folder.mkdir(parents=True)
    return folder


def imported(plane: Plane, source: str, file_format: Any = "auto") -> list[tuple[Any, ...]]:
    job = uuid4()
    plane.claim(job, 1)
    stage = plane.stage_files(job, 1, "imported", source, file_format)
    plane.publish(job, 1, [Write("imported", "replace", stage)], {"rows": stage.rows})
    return sorted(rows_of(plane, "FROM imported"), key=repr)


@pytest.mark.parametrize(("name", "content"), [pytest.param(*rest, id=label) for label, *rest in IMPORTS])
def test_files_are_read_by_their_endings(plane: Plane, root: Path, name: str, content: bytes) -> None:
    (root / name).write_bytes(content)
    assert [(row[0], row[1], str(row[2])) for row in imported(plane, name)] == [
        (1, "x", "2024-01-01"),
        (2, None, "2024-01-02"),
    ]
    usage = plane.usage()
    assert (usage.written_rows, usage.read_bytes) == (
        2,
        usage.read_bytes and len(content) + plane.dataset("imported").bytes,
    )


def test_several_files_are_matched_by_column_name(plane: Plane, root: Path, settings: Settings) -> None:
    (root / "part-1.csv").write_text("a,b\n1,x\n")
    (root / "part-2.csv").write_text("b,a\ny,2.5\n")
    assert imported(plane, "part-*.csv") == [(1.0, "x"), (2.5, "y")]
    make_dataset(plane, "source", "SELECT i AS n FROM range(10) t(i)")
    for file in (settings.plane_directory("default") / "data" / "jobs").rglob("source/*.parquet"):
        (root / "copy.parquet").write_bytes(file.read_bytes())
    assert len(imported(plane, "copy.parquet")) == 10
    (root / "part-3.csv").write_text("a,c\n1,x\n")
    with pytest.raises(UnreadableFileError, match=r"part-3.csv has other columns than part-1.csv: no b, also c"):
        imported(plane, "part-*.csv")
    (root / "part-4.json").write_text(json.dumps({"a": 1}))
    with pytest.raises(UnreadableFileError, match="can't be told"):
        imported(plane, "part-*")


def test_relative_sources_are_looked_for_in_each_root_in_turn(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    settings = Settings(home=tmp_path / "home", import_roots=(first, second), threads=2)
    for folder, value in ((first, 1), (second, 2)):
        folder.mkdir()
        (folder / "both.csv").write_text(f"a\n{value}\n")
    (second / "only.csv").write_text("a\n3\n")
    with open_plane("default", settings.plane_directory("default"), settings) as plane:
        assert imported(plane, "both.csv") == [(1,)]
        assert imported(plane, "only.csv") == [(3,)]
        assert imported(plane, str(second / "both.csv")) == [(2,)]
        first.joinpath("both.csv").unlink()
        assert imported(plane, "both.csv") == [(2,)]


@pytest.mark.parametrize(
    ("name", "content", "file_format", "fragment"),
    [
        ("ragged.csv", b"a,b\n" + b"1,2\n" * 5 + b"1,2,3,4\n", "csv", "ragged.csv"),
        ("late.csv", b"a,b\n" + b"1,2\n" * 30000 + b"1,2,3\n", "csv", "late.csv, line 30002"),
        ("latin.csv", "a,b\n1,caf\u00e9\n".encode("latin-1") * 3, "csv", "latin.csv"),
        ("open.csv", b'a,b\n1,"open\n' + b"x,y\n" * 5, "csv", "open.csv"),
        ("bad.jsonl", b'{"a": 1}\n{"a": \n', "json", "bad.jsonl"),
        ("bad.parquet", b"PAR1 this is no parquet file PAR1", "parquet", "bad.parquet"),
        ("empty.parquet", b"", "parquet", "empty.parquet"),
        ("text.gz", b"not compressed", "csv", "text.gz"),
        ("doubled.csv", b"a,A\n1,2\n", "csv", None),
    ],
)
def test_a_broken_file_is_named_with_its_line(
    plane: Plane, root: Path, name: str, content: bytes, file_format: str, fragment: str | None
) -> None:
    (root / name).write_bytes(content)
    if fragment is None:
        assert len(imported(plane, name, file_format)) == 1  # DuckDB tells such columns apart by a number
        return
    with pytest.raises(UnreadableFileError, match=fragment) as raised:
        imported(plane, name, file_format)
    assert raised.value.kind is FailureKind.DATA
    assert len(str(raised.value)) < 600
    assert not plane.exists("imported")


def test_a_file_exchanged_while_it_is_read_is_refused(
    plane: Plane, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a.csv").write_text("a\n1\n")
    from prefect_narrative.planes import ducklake

    real = ducklake.write_stage

    def exchanging(*args: Any) -> Any:
        stage = real(*args)
        (root / "b.csv").write_text("a\n2\n")
        (root / "b.csv").rename(root / "a.csv")
        return stage

    monkeypatch.setattr(ducklake, "write_stage", exchanging)
    with pytest.raises(ImportRefusedError, match="changed while it was read"):
        imported(plane, "a.csv")
