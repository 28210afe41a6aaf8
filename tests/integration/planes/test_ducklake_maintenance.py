"""What the plane tells after a lake was maintained: compaction, expiry, deleted and inlined rows."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import duckdb
import pytest
from plane_samples import INLINES, make_dataset, rows_of

from prefect_narrative.planes import Plane, Published, SourceVersion, extensions, open_plane
from prefect_narrative.planes.connection import Place, SpillFolder, open_writer
from prefect_narrative.planes.errors import ExtensionMissingError, PlaneUnavailableError, SnapshotNotFoundError
from prefect_narrative.settings import NetworkFileSystemError, Settings


@pytest.fixture
def lake(plane: Plane, settings: Settings, tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that maintains the lake of the plane, whose operator lets small writes go into the catalog."""
    connection = open_writer(Place(settings.plane_directory("default")), settings, tmp_path / "spill")
    connection.execute(INLINES)
    make_dataset(plane, "parts", "SELECT i AS n FROM range(100) t(i)")
    yield connection
    connection.close()


def append(plane: Plane, times: int = 3) -> None:
    for number in range(times):
        make_dataset(plane, "parts", f"SELECT i + {100 * (number + 1)} AS n FROM range(100) t(i)", mode="append")


def test_compaction_is_no_change(plane: Plane, lake: duckdb.DuckDBPyConnection) -> None:
    append(plane)
    before = plane.snapshot()
    [seen] = plane.versions(["parts"], before)
    older = plane.dataset("parts", before - 2)
    lake.execute("CALL ducklake_merge_adjacent_files('lake')").fetchall()
    assert plane.snapshot() > before
    assert plane.dataset("parts").files == 1
    assert plane.dataset("parts").rows == 400
    assert not plane.changed(seen, plane.snapshot())
    # The merged file has rows that an older snapshot does not see.
    assert (
        plane.dataset("parts", before - 2).rows
        == older.rows
        == rows_of(plane, "SELECT count(*) FROM parts", before - 2)[0][0]
    )
    make_dataset(plane, "parts", "SELECT 1::BIGINT AS n", mode="append")
    assert plane.changed(seen, plane.snapshot())


def test_rewriting_files_without_their_deleted_rows_is_no_change(plane: Plane, lake: duckdb.DuckDBPyConnection) -> None:
    lake.execute("DELETE FROM lake.main.parts WHERE n < 50")
    lake.execute("CALL ducklake_flush_inlined_data('lake')").fetchall()
    before = plane.snapshot()
    [seen] = plane.versions(["parts"], before)
    lake.execute("CALL ducklake_rewrite_data_files('lake', delete_threshold => 0)").fetchall()
    assert plane.snapshot() > before
    assert not plane.changed(seen, plane.snapshot())
    assert plane.dataset("parts").rows == 50


def test_flushing_inlined_rows_is_no_change(plane: Plane, lake: duckdb.DuckDBPyConnection) -> None:
    lake.execute("INSERT INTO lake.main.parts VALUES (1000), (1001)")
    [seen] = plane.versions(["parts"], plane.snapshot())
    assert plane.dataset("parts").rows == 102
    lake.execute("CALL ducklake_flush_inlined_data('lake')").fetchall()
    assert plane.dataset("parts").rows == 102
    assert not plane.changed(seen, plane.snapshot())


@pytest.mark.parametrize("predicate", ["n < 10", "n = 3"])
def test_deleted_rows_are_counted_and_are_a_change(
    plane: Plane, lake: duckdb.DuckDBPyConnection, predicate: str
) -> None:
    [seen] = plane.versions(["parts"], plane.snapshot())
    lake.execute(f"DELETE FROM lake.main.parts WHERE {predicate}")
    [(left,)] = rows_of(plane, "SELECT count(*) FROM parts")
    assert plane.dataset("parts").rows == left < 100
    assert plane.changed(seen, plane.snapshot())
    assert plane.dataset("parts", seen.snapshot_id).rows == 100


def test_expired_history_may_be_a_change(plane: Plane, lake: duckdb.DuckDBPyConnection) -> None:
    [seen] = plane.versions(["parts"], plane.snapshot())
    make_dataset(plane, "other", "SELECT 1 AS a")
    assert not plane.changed(seen, plane.snapshot())
    lake.execute("CALL ducklake_expire_snapshots('lake', older_than => now())").fetchall()
    assert plane.changed(seen, plane.snapshot())
    with pytest.raises(SnapshotNotFoundError, match=f"no snapshot {seen.snapshot_id}, or it has expired"):
        plane.read(plane.check("FROM parts"), limit=1, at=seen.snapshot_id)
    with pytest.raises(SnapshotNotFoundError, match="has expired"):
        plane.check(f"FROM parts AT (VERSION => {seen.snapshot_id})")
    assert not plane.changed(SourceVersion("parts", seen.table_id, plane.snapshot()), plane.snapshot())


def test_a_publication_is_found_with_its_snapshot_after_maintenance(
    plane: Plane, lake: duckdb.DuckDBPyConnection
) -> None:
    job = uuid4()
    made = make_dataset(plane, "orders", "SELECT 1 AS a", job_id=job)
    append(plane, 2)
    for statement in (
        "CALL ducklake_flush_inlined_data('lake')",
        "CALL ducklake_rewrite_data_files('lake', delete_threshold => 0)",
        "CALL ducklake_merge_adjacent_files('lake')",
        "CALL ducklake_expire_snapshots('lake', older_than => now())",
        "CALL ducklake_cleanup_old_files('lake', cleanup_all => true)",
    ):
        lake.execute(statement).fetchall()
        assert plane.published(job) == Published(made.snapshot_id, made.result, found=True)
    assert make_dataset(plane, "orders", "SELECT 2 AS a", job_id=job).found
    assert rows_of(plane, "SELECT a FROM orders") == [(1,)]
    assert plane.dataset("parts").rows == 300


def test_the_commit_says_who_and_what(plane: Plane, lake: duckdb.DuckDBPyConnection) -> None:
    job = UUID("00000000-0000-4000-8000-000000000001")
    made = make_dataset(plane, "orders", "SELECT 'it''s' AS a", job_id=job)
    row = lake.execute(
        "SELECT author, commit_message, commit_extra_info FROM lake.snapshots() WHERE snapshot_id = ?",
        [made.snapshot_id],
    ).fetchone()
    assert row == ("prefect-narrative", "replace orders", f'{{"job_id": "{job}", "token": 1}}')


def test_types_are_told_as_the_engine_tells_them(plane: Plane, lake: duckdb.DuckDBPyConnection) -> None:
    make_dataset(
        plane, "typed",
        "SELECT 1::DECIMAL(9, 3) AS a, [{'x y': 1, 'Select': MAP {'k': [DATE '2024-01-01']}}] AS b, '1'::JSON AS c, "
        "TIMESTAMPTZ '2024-01-01' AS d, 1::UTINYINT AS e, TIMESTAMP_NS '2024-01-01' AS f",
    )  # fmt: skip
    described = lake.execute("DESCRIBE lake.main.typed").fetchall()
    assert [(column.name, column.type) for column in plane.dataset("typed").columns] == [row[:2] for row in described]


def test_another_programs_tables_are_no_datasets(plane: Plane, lake: duckdb.DuckDBPyConnection) -> None:
    lake.execute('CREATE TABLE lake.main."Odd Name" AS SELECT 1 AS a')
    assert [dataset.name for dataset in plane.datasets()] == ["parts"]


def test_a_dropped_dataset_comes_back_without_its_past(plane: Plane, lake: duckdb.DuckDBPyConnection) -> None:
    make_dataset(plane, "orders", "SELECT 1 AS a", kind="view", properties={"old": True})
    lake.execute("DROP TABLE lake.main.orders")
    assert not plane.exists("orders")
    make_dataset(plane, "orders", "SELECT 1 AS a", mode="create")
    assert (plane.dataset("orders").kind, plane.dataset("orders").properties) == ("dataset", {})


# Opening


def test_an_unfinished_set_up_is_done_again(settings: Settings) -> None:
    directory = settings.plane_directory("default")
    directory.mkdir(parents=True)
    (directory / "catalog.unfinished").write_bytes(b"half of a catalog")
    (directory / "catalog.unfinished-wal").write_bytes(b"and its log")
    with open_plane("default", directory, settings) as plane:
        assert plane.snapshot() == 1
    assert not list(directory.glob("catalog.unfinished*"))


def test_a_broken_catalog_is_told(settings: Settings) -> None:
    directory = settings.plane_directory("default")
    directory.mkdir(parents=True)
    (directory / "catalog.sqlite").write_bytes(b"this is no catalog" * 100)
    with open_plane("default", directory, settings) as plane, pytest.raises(PlaneUnavailableError) as raised:
        plane.snapshot()
    assert raised.value.remedy


def test_a_folder_that_can_not_be_made_is_told(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PlaneUnavailableError, match="can't be made"):
        open_plane("default", tmp_path / "file" / "plane", settings)


def test_a_network_file_system_is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect_narrative.planes import ducklake

    def refuse(folder: Path) -> None:
        raise NetworkFileSystemError(f"{folder} lies on nfs")

    monkeypatch.setattr(ducklake, "refuse_network_file_system", refuse)
    with pytest.raises(NetworkFileSystemError):
        open_plane("default", settings.plane_directory("default"), settings)


def test_a_missing_extension_is_told_with_the_package(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def execute(self, statement: str) -> Any:
            raise duckdb.IOException(f"can't {statement}")

    monkeypatch.setattr(extensions, "wheel_path", lambda *_: None)
    with pytest.raises(ExtensionMissingError, match="could not load its extension 'ducklake'") as raised:
        extensions.load_extension(Refusing(), "ducklake")  # type: ignore[arg-type]
    assert "pip install" in raised.value.remedy
    assert not raised.value.retryable


def test_the_folder_of_a_dead_process_is_removed_and_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    living = SpillFolder(tmp_path)
    dead = tmp_path / "plane-dead"
    dead.mkdir()
    (dead / "alive").write_text("")
    (dead / "spilled.tmp").write_text("x")
    SpillFolder(tmp_path).remove()
    assert list(tmp_path.iterdir()) == [living.path]
    living.remove()
    assert list(tmp_path.iterdir()) == []


def test_only_our_own_small_writes_go_into_the_catalog_unless_somebody_wants_others_to(settings: Settings) -> None:
    directory = settings.plane_directory("default")
    option = "WHERE key = 'data_inlining_row_limit'"

    def in_catalog(statement: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(Place(directory).catalog)) as connection, connection:
            return connection.execute(statement).fetchall()

    def settled() -> tuple[set[tuple[Any, ...]], set[tuple[Any, ...]]]:
        """Which tables may have rows in the catalog, and what is said about that."""
        prepared = "ducklake_table AS t JOIN ducklake_inlined_data_tables AS i USING (table_id)"
        said = "ducklake_metadata AS m LEFT JOIN ducklake_table AS t ON t.table_id = m.scope_id"
        return (
            set(in_catalog(f"SELECT t.table_name FROM {prepared}")),
            set(in_catalog(f"SELECT t.table_name, m.scope, m.value FROM {said} {option}")),
        )

    def publish() -> None:
        with open_plane("default", directory, settings) as plane:
            for _ in range(2):
                make_dataset(plane, "orders", "SELECT 1 AS a")
            assert rows_of(plane, "FROM orders") == [(1,)]

    ours = {("datasets",), ("ingestions",), ("publications",)}
    options = {(None, None, "0"), *((name, "table", "10") for (name,) in ours)}
    publish()
    assert settled() == (ours, options)
    files = "SELECT t.table_name FROM ducklake_data_file AS f JOIN ducklake_table AS t USING (table_id)"
    assert in_catalog(files) == [("orders",), ("orders",)]
    in_catalog(f"DELETE FROM ducklake_metadata {option}")  # a lake from before it was settled
    publish()
    assert settled() == (ours, options)
    in_catalog(f"UPDATE ducklake_metadata SET value = '5' {option} AND scope IS NULL")
    publish()
    assert settled() == ({*ours, ("orders",)}, options - {(None, None, "0")} | {(None, None, "5")})
