"""What a full disk, a broken engine and odd files do to a plane: a clear error, and the next call works."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import pytest
from plane_samples import make_dataset, rows_of

from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.planes import Plane, Stage, open_plane
from prefect_narrative.planes.errors import (
    ImportRefusedError,
    PlaneUnavailableError,
    QueryFailedError,
    UnreadableFileError,
)
from prefect_narrative.planes.failures import translated
from prefect_narrative.settings import Settings


def load(plane: Plane, settings: Settings, source: str) -> Stage:
    return plane.stage_files(uuid4(), 1, "loaded", str(settings.allowed_import_roots[0] / source), "auto")


@pytest.fixture
def imports(settings: Settings) -> Path:
    folder = settings.allowed_import_roots[0]
    folder.mkdir(parents=True)
    return folder


def test_a_full_disk_keeps_nobody_from_removing_what_fills_it(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    job = uuid4()
    stage = plane.stage_query(job, 1, "numbers", plane.check("SELECT 1 AS a"), at=plane.snapshot())

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    plane.discard(job, 1)
    assert not stage.folder.exists()


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 'orders'::JSON",
        "SELECT error('no space left on device')",
        "SELECT error('No snapshot found')",
        "SELECT 'database is locked'::INTEGER",
        "SELECT 'Transaction conflict'::INTEGER",
    ],
)
def test_words_in_the_data_are_not_taken_for_a_trouble_of_the_plane(plane: Plane, query: str) -> None:
    with pytest.raises(QueryFailedError) as raised:
        rows_of(plane, query)
    assert raised.value.kind is FailureKind.DATA


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (duckdb.Error("database or disk is full"), FailureKind.RESOURCE),
        (duckdb.IOException("IO Error: No space left on device"), FailureKind.RESOURCE),
        (duckdb.Error("attempt to write a readonly database"), FailureKind.EXTERNAL),
        (duckdb.Error("database is locked"), FailureKind.EXTERNAL),
    ],
)
def test_what_the_catalog_says_is_told_by_its_words(error: duckdb.Error, kind: FailureKind) -> None:
    assert translated(error).kind is kind


def test_a_stack_of_the_engine_is_not_shown() -> None:
    error = duckdb.InternalException("INTERNAL Error: broken\n\nStack Trace:\n\n/usr/lib/engine.so(+0x1)")
    assert "engine.so" not in str(translated(error))


@pytest.mark.parametrize("kind", [duckdb.FatalException, duckdb.InternalException])
def test_a_plane_works_on_after_an_error_that_makes_its_connections_useless(
    plane: Plane, kind: type[Exception]
) -> None:
    make_dataset(plane, "orders", "SELECT 1 AS a")
    inside: Any = plane

    def break_down() -> None:
        for connection in (inside._reader, inside._writer):
            connection.close()
        raise kind("the database has been invalidated")

    run: Callable[[Callable[[], None]], None] = inside._run
    with pytest.raises(NarrativeError, match="engine failed"):
        run(break_down)
    assert rows_of(plane, "SELECT a FROM orders") == [(1,)]
    make_dataset(plane, "orders", "SELECT 2 AS a")
    assert rows_of(plane, "SELECT a FROM orders") == [(2,)]


def test_a_query_that_grows_when_it_is_written_anew_may_run(plane: Plane) -> None:
    query = f"SELECT 1 WHERE 3 IN ({','.join(['3'] * 40_000)})"
    assert len(query) < 100_000 < len(plane.check(query).sql)
    assert rows_of(plane, query) == [(1,)]


def test_a_header_longer_than_a_field_may_be_is_named(plane: Plane, settings: Settings, imports: Path) -> None:
    (imports / "long.csv").write_text("a" * 200_000 + ",b\n1,2\n3,4,5\n")
    with pytest.raises(UnreadableFileError, match=r"long\.csv"):
        load(plane, settings, "long.csv")


def test_a_file_name_that_is_not_utf_8_is_refused(plane: Plane, settings: Settings, imports: Path) -> None:
    Path(os.fsdecode(bytes(imports) + b"/odd\xff.csv")).write_text("a\n1\n")
    with pytest.raises(ImportRefusedError, match="UTF-8"):
        load(plane, settings, "odd*.csv")


def test_folders_that_link_to_each_other_name_too_many_files(plane: Plane, settings: Settings, imports: Path) -> None:
    for name in ("first", "second"):
        (imports / name).mkdir()
        (imports / name / "one.csv").write_text("a\n1\n")
        for link in ("up", "again"):
            (imports / name / link).symlink_to(imports)
    with pytest.raises(ImportRefusedError, match="more than 1000 files"):
        load(plane, settings, "**/*.csv")


def test_an_emptied_catalog_is_not_taken_for_a_new_plane(plane: Plane, settings: Settings) -> None:
    make_dataset(plane, "orders", "SELECT 1 AS a")
    plane.close()
    catalog = settings.plane_directory("default") / "catalog.sqlite"
    catalog.write_bytes(b"")
    with open_plane("default", settings.plane_directory("default"), settings) as again:
        for attempt in (lambda: again.claim(uuid4(), 1), again.snapshot):
            with pytest.raises(PlaneUnavailableError):
                attempt()
