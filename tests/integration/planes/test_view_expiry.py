"""Rows go when they are as old as the view's policy says."""

import pytest
from plane_samples import make_dataset, rows_of
from view_samples import START, after, make_view, refresh

from prefect_narrative.planes import Plane
from prefect_narrative.views.definition import ViewDefinition
from prefect_narrative.views.expiring import due


def events(plane: Plane, first: int, mode: str = "append") -> None:
    make_dataset(plane, "events", f"SELECT i AS n FROM range({first}, {first + 2}) t(i)", mode)


def log(plane: Plane, expire: str = "P1M") -> None:
    events(plane, 0, "replace")
    make_view(plane, "log", "SELECT * FROM DELTA(TABLE events)", write_mode="append", expire=expire)


def kept(plane: Plane, view: str = "log") -> list[int]:
    return sorted(row[0] for row in rows_of(plane, f"SELECT n FROM {view}"))


def test_a_refresh_adds_and_expires_at_once(shared_plane: Plane) -> None:
    log(shared_plane, "P2D")
    events(shared_plane, 10)
    assert refresh(shared_plane, "log", after(days=3)) == {
        "action": "incremental",
        "reason": "Changed since the last refresh: events. Rows: 2 added, 2 expired.",
        "inserted_rows": 2,
        "deleted_rows": 2,
        "rows": 2,
    }
    assert kept(shared_plane) == [10, 11]
    done = refresh(shared_plane, "log", after(days=5))
    assert (done["action"], done["reason"], done["rows"]) == ("incremental", "Ingested P2D ago or earlier: 2 rows.", 0)
    assert refresh(shared_plane, "log", after(days=6))["action"] == "no_data"
    events(shared_plane, 20)
    refresh(shared_plane, "log", after(days=7))
    assert refresh(shared_plane, "log", after(days=8))["action"] == "no_data"  # no older than the rows are
    assert kept(shared_plane) == [20, 21]


def test_a_merged_row_is_as_old_as_its_last_change(shared_plane: Plane) -> None:
    make_dataset(shared_plane, "states", "SELECT * FROM (VALUES (1, 'a'), (2, 'a'), (3, 'a')) t(n, v)")
    make_view(shared_plane, "keyed", "FROM states", write_mode="append", merge_on=("n",), expire="P10D")
    make_dataset(shared_plane, "states", "SELECT * FROM (VALUES (1, 'a'), (2, 'b')) t(n, v)")
    refresh(shared_plane, "keyed", after(days=5))
    refresh(shared_plane, "keyed", after(days=11))
    assert kept(shared_plane, "keyed") == [2]
    make_dataset(shared_plane, "states", "SELECT * FROM (VALUES (1, 'a'), (2, 'b')) t(n, v)")
    done = refresh(shared_plane, "keyed", after(days=16))  # what is old goes, even where it comes in as it is
    assert (done["inserted_rows"], done["deleted_rows"], done["rows"]) == (2, 1, 2)


def test_a_clock_that_was_set_back_makes_no_row_older(shared_plane: Plane) -> None:
    log(shared_plane, "P2D")
    events(shared_plane, 10)
    refresh(shared_plane, "log", after(days=-30))
    assert due(shared_plane, "log", after(days=1)) is None
    found = due(shared_plane, "log", after(days=2))
    assert found is not None
    assert found.rows == 4


def test_a_full_refresh_begins_a_new_age(shared_plane: Plane) -> None:
    log(shared_plane, "P2D")
    refresh(shared_plane, "log", after(days=5), mode="full")
    assert due(shared_plane, "log", after(days=6)) is None
    found = due(shared_plane, "log", after(days=7))
    assert found is not None
    assert found.rows == 2


def test_other_views_expire_as_a_whole_and_come_back_when_a_source_changes(shared_plane: Plane) -> None:
    plane = shared_plane
    events(plane, 0, "replace")
    make_view(plane, "copy", "FROM events", expire="P1D")
    assert refresh(plane, "copy", after(hours=23))["action"] == "no_data"
    done = refresh(plane, "copy", after(days=1))
    assert (done["action"], done["deleted_rows"], done["rows"]) == ("incremental", 2, 0)
    assert kept(plane, "copy") == []
    assert ViewDefinition.of(plane.dataset("copy")).emptied_at == after(days=1)
    done = refresh(plane, "copy", after(days=2))
    assert (done["action"], "have expired" in done["reason"]) == ("no_data", True)
    events(plane, 10)
    assert refresh(plane, "copy", after(days=3))["action"] == "full"
    assert kept(plane, "copy") == [0, 1, 10, 11]
    assert ViewDefinition.of(plane.dataset("copy")).emptied_at is None


@pytest.mark.parametrize("write_mode", ["overwrite", "append"])
def test_expire_everything_keeps_the_view_and_none_of_its_rows(shared_plane: Plane, write_mode: str) -> None:
    plane = shared_plane
    events(plane, 0, "replace")
    make_view(plane, "empty", "FROM events", write_mode=write_mode, expire="expire_everything")
    assert [column.name for column in plane.dataset("empty").columns] == ["n"]
    events(plane, 10)
    done = refresh(plane, "empty")
    assert (done["action"], done["reason"], done["rows"]) == (
        "no_data", "expire_everything: the view is kept empty.", 0,
    )  # fmt: skip
    assert refresh(plane, "empty", mode="full")["rows"] == 0
    assert kept(plane, "empty") == []


def test_retained_rows_stay_for_ever(shared_plane: Plane) -> None:
    log(shared_plane, "retain_everything")
    assert due(shared_plane, "log", START.replace(year=9000)) is None
