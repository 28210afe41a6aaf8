"""Appending what a query yields: each row once, whatever happens to refreshes and sources meanwhile."""

from collections import Counter
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from plane_samples import make_dataset, rows_of
from view_samples import make_view, publish_plan, refresh

from prefect_narrative.planes import Plane
from prefect_narrative.planes.errors import DeltaLostError, OvertakenError, QueryRefusedError
from prefect_narrative.views.refreshing import plan_refresh, stage_refresh

STEPS = ("append", "refresh", "retry", "killed", "two at once", "full")


def log(plane: Plane, query: str = "SELECT * FROM DELTA(TABLE events)") -> None:
    make_view(plane, "log", query, write_mode="append")


def events(plane: Plane, first: int, count: int, mode: str = "append") -> None:
    make_dataset(plane, "events", f"SELECT i AS n FROM range({first}, {first + count}) t(i)", mode)


@given(st.lists(st.sampled_from(STEPS), min_size=3, max_size=8))
@hypothesis_settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_row_is_lost_or_doubled(shared_plane: Plane, steps: list[str]) -> None:
    plane = shared_plane
    events(plane, 0, 2, "replace")
    log(plane)
    for number, step in enumerate(steps):
        if step == "append":
            events(plane, 100 * number + 100, 3)
        elif step == "refresh":
            refresh(plane, "log")
        elif step == "full":
            refresh(plane, "log", mode="full")
        elif step == "retry":  # the same job once more: it finds what it has published
            job = uuid4()
            plan = plan_refresh(plane, "log")
            assert publish_plan(plane, plan, job) == publish_plan(plane, plan, job)
        elif step == "killed":  # staged, and never published
            plan = plan_refresh(plane, "log")
            if plan.action != "no_data":
                stage_refresh(plane, uuid4(), 1, plan)
        else:
            late = plan_refresh(plane, "log")
            refresh(plane, "log")
            if late.action != "no_data":
                with pytest.raises(OvertakenError):
                    publish_plan(plane, late)
    refresh(plane, "log")
    assert Counter(rows_of(plane, "FROM log")) == Counter(rows_of(plane, "FROM events"))
    assert refresh(plane, "log")["action"] == "no_data"


def test_without_delta_the_whole_result_is_added_when_a_source_has_changed(shared_plane: Plane) -> None:
    events(shared_plane, 0, 2, "replace")
    log(shared_plane, "SELECT count(*) AS events FROM events")
    assert refresh(shared_plane, "log")["action"] == "no_data"
    events(shared_plane, 10, 1)
    assert refresh(shared_plane, "log") == {
        "action": "incremental",
        "reason": "Changed since the last refresh: events. Rows: 1 added.",
        "inserted_rows": 1,
        "deleted_rows": 0,
        "rows": 2,
    }
    assert sorted(rows_of(shared_plane, "FROM log")) == [(2,), (3,)]


def test_a_query_of_the_time_is_added_each_time(shared_plane: Plane) -> None:
    log(shared_plane, "SELECT now() IS NOT NULL AS it_is")
    assert refresh(shared_plane, "log")["rows"] == 2
    assert refresh(shared_plane, "log")["rows"] == 3


def test_delta_beside_another_source_that_changes(shared_plane: Plane) -> None:
    events(shared_plane, 0, 2, "replace")
    make_dataset(shared_plane, "names", "SELECT i AS n, 'old' AS name FROM range(9) t(i)")
    log(shared_plane, "SELECT n, name FROM DELTA(TABLE events) JOIN names USING (n)")
    make_dataset(shared_plane, "names", "SELECT i AS n, 'new' AS name FROM range(9) t(i)")
    done = refresh(shared_plane, "log")
    assert (done["action"], done["inserted_rows"], done["rows"]) == ("incremental", 0, 2)
    events(shared_plane, 5, 1)
    refresh(shared_plane, "log")
    assert sorted(rows_of(shared_plane, "FROM log")) == [(0, "old"), (1, "old"), (5, "new")]


def test_a_replaced_source_fails_an_append_and_is_read_anew_by_a_merge(shared_plane: Plane) -> None:
    plane = shared_plane
    events(plane, 0, 2, "replace")
    log(plane)
    make_view(plane, "keyed", "SELECT * FROM DELTA(TABLE events)", write_mode="append", merge_on=("n",))
    events(plane, 1, 2, "replace")
    with pytest.raises(DeltaLostError, match="'events' since the view's last refresh can't be told: it was replaced"):
        refresh(plane, "log")
    assert sorted(rows_of(plane, "FROM log")) == [(0,), (1,)]
    done = refresh(plane, "keyed")
    assert (done["action"], done["inserted_rows"], done["rows"]) == ("incremental", 1, 3)
    assert "all rows of events were read, since it was replaced" in done["reason"]
    assert sorted(rows_of(plane, "FROM keyed")) == [(0,), (1,), (2,)]
    assert refresh(plane, "log", mode="full")["action"] == "full"
    assert sorted(rows_of(plane, "FROM log")) == [(1,), (2,)]
    events(plane, 7, 1)
    assert refresh(plane, "log")["inserted_rows"] == 1


def test_an_older_snapshot_than_was_read_is_left_alone(shared_plane: Plane) -> None:
    events(shared_plane, 0, 2, "replace")
    log(shared_plane)
    older = shared_plane.snapshot()
    events(shared_plane, 5, 1)
    refresh(shared_plane, "log")
    assert refresh(shared_plane, "log", pins={"events": older})["action"] == "no_data"
    assert refresh(shared_plane, "log")["action"] == "no_data"
    assert shared_plane.dataset("log").rows == 3


def test_delta_is_for_views_that_append(shared_plane: Plane) -> None:
    events(shared_plane, 0, 2, "replace")
    with pytest.raises(QueryRefusedError, match="write_mode=append"):
        make_view(shared_plane, "other", "SELECT * FROM DELTA(TABLE events)")
