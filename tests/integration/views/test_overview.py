"""How views stand: fresh, stale or behind, since when, and over which others."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import duckdb
import pytest
from definition_samples import define, load, planned, publish

from prefect_narrative.planes import Plane, SourceVersion, Write, open_plane
from prefect_narrative.planes.connection import Place, open_writer
from prefect_narrative.settings import Settings
from prefect_narrative.views.defining import DefinitionPlan
from prefect_narrative.views.definition import NotAViewError
from prefect_narrative.views.overview import ViewNotFoundError, standing_of, standings


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    settings = Settings(home=tmp_path / "home", threads=1, memory_limit="256MB")
    with open_plane("default", settings.plane_directory("default"), settings) as opened:
        yield opened


def states(plane: Plane) -> dict[str, str]:
    return {one.name: one.state for one in standings(plane)}


def test_freshness_is_told_through_views_on_views(plane: Plane) -> None:
    load(plane, "orders", "SELECT 1 AS id")
    load(plane, "customers", "SELECT 1 AS id")
    first = "SELECT count(*) AS n FROM orders"
    define(plane, "counted", first)
    define(plane, "doubled", "SELECT n * 2 AS n FROM counted")
    define(plane, "both", "SELECT n, id FROM doubled, customers")
    define(plane, "today", "SELECT current_date AS day")
    fresh = dict.fromkeys(("both", "counted", "doubled", "today"), "fresh")
    assert states(plane) == fresh

    before = datetime.now(UTC)
    load(plane, "orders", "SELECT 2 AS id", "append")
    after = datetime.now(UTC)
    load(plane, "orders", "SELECT 3 AS id", "append")
    assert states(plane) == {**fresh, "counted": "stale", "doubled": "behind", "both": "behind"}
    for view in ("counted", "doubled", "both"):
        since = standing_of(plane, view).since
        assert since is not None
        assert before <= since <= after, "the first change counts"
    both = standing_of(plane, "both")
    assert [(one.name, one.kind, one.state) for one in both.sources] == [
        ("customers", "dataset", "fresh"),
        ("doubled", "view", "behind"),
    ]
    assert (both.ancestors, both.readers) == (("customers", "doubled", "counted", "orders"), ())
    assert standing_of(plane, "counted").dependants == ("doubled", "both")

    again = planned(plane, "counted", first, if_exists="replace")
    assert isinstance(again, DefinitionPlan)
    publish(plane, again)
    assert states(plane) == {**fresh, "doubled": "stale", "both": "behind"}

    load(plane, "customers", "SELECT 5 AS id")
    replaced = {one.name: one for one in standing_of(plane, "both").sources}
    assert (replaced["customers"].state, replaced["customers"].since is None) == ("stale", False)
    plane_drop(plane, "customers")
    gone = standing_of(plane, "both").sources[0]
    assert (gone.name, gone.kind, gone.state, gone.since) == ("customers", "gone", "stale", None)
    assert standing_of(plane, "both").since is None


def plane_drop(plane: Plane, name: str) -> None:
    job = uuid4()
    plane.claim(job, 1)
    plane.publish(job, 1, [Write(name, "drop")], {})


@pytest.fixture
def maintained(plane: Plane, tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that maintains the plane's lake."""
    settings = Settings(home=tmp_path / "home", threads=1, memory_limit="256MB")
    connection = open_writer(Place(settings.plane_directory("default")), settings, tmp_path / "spill")
    yield connection
    connection.close()


def agreed(plane: Plane, seen: SourceVersion) -> tuple[bool, bool]:
    """Whether contents have changed since, and whether it is known when: as one plane's question and as many's."""
    at = plane.snapshot()
    (freshness,) = plane.freshness([seen], at)
    assert freshness.changed == plane.changed(seen, at)
    return freshness.changed, freshness.since is not None


def test_what_is_fresh_is_what_no_refresh_would_change(plane: Plane) -> None:
    load(plane, "orders", "SELECT range AS id FROM range(3)")
    load(plane, "others", "SELECT 1 AS id")
    (seen,) = plane.versions(["orders"], plane.snapshot())
    assert plane.freshness([], plane.snapshot()) == []
    assert agreed(plane, seen) == (False, False)
    load(plane, "others", "SELECT 2 AS id", "append")
    define(plane, "counted", "SELECT count(*) AS n FROM orders")
    assert agreed(plane, seen) == (False, False)
    load(plane, "orders", "SELECT 9::BIGINT AS id", "append")
    assert agreed(plane, seen) == (True, True)


def test_compaction_makes_nothing_stale(plane: Plane, maintained: duckdb.DuckDBPyConnection) -> None:
    for start in range(3):
        load(plane, "orders", f"SELECT range + {start} AS id FROM range(1000)", "append" if start else "replace")
    define(plane, "counted", "SELECT count(*) AS n FROM orders")
    (seen,) = plane.versions(["orders"], plane.snapshot())
    before = plane.snapshot()
    maintained.execute("CALL ducklake_merge_adjacent_files('lake')").fetchall()
    assert plane.snapshot() > before
    assert agreed(plane, seen) == (False, False)
    assert states(plane) == {"counted": "fresh"}


def test_history_that_has_expired_counts_as_changed(plane: Plane, maintained: duckdb.DuckDBPyConnection) -> None:
    load(plane, "orders", "SELECT 1 AS id")
    define(plane, "counted", "SELECT count(*) AS n FROM orders")
    (seen,) = plane.versions(["orders"], plane.snapshot())
    load(plane, "others", "SELECT 1 AS id")
    load(plane, "others", "SELECT 2 AS id")
    maintained.execute("CALL ducklake_expire_snapshots('lake', older_than => now())").fetchall()
    assert agreed(plane, seen) == (True, False)
    counted = standing_of(plane, "counted")
    assert (counted.state, counted.since) == ("stale", None)


def test_names_that_are_no_views(plane: Plane) -> None:
    load(plane, "orders", "SELECT 1 AS id")
    define(plane, "counted", "SELECT count(*) AS n FROM orders")
    with pytest.raises(ViewNotFoundError, match="Nearest: counted"):
        standing_of(plane, "count")
    with pytest.raises(NotAViewError, match="dataset"):
        standing_of(plane, "orders")
