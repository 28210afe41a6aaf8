"""What becomes of views when the columns of a source change: by another load, or by the lake's own ALTER TABLE."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from definition_samples import define, load, rows

from prefect_narrative.errors import NarrativeError
from prefect_narrative.planes import Plane, open_plane
from prefect_narrative.planes.connection import Place, open_writer
from prefect_narrative.settings import Settings
from prefect_narrative.views.refreshing import RefreshPlan, carried_out, plan_refresh, stage_refresh


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", threads=1, memory_limit="256MB")


@pytest.fixture
def plane(settings: Settings) -> Iterator[Plane]:
    with open_plane("default", settings.plane_directory("default"), settings) as opened:
        yield opened


def refresh(plane: Plane, view: str) -> dict[str, Any]:
    """Bring a view up to date as the job does, and return what it says of it."""

    def do(plan: RefreshPlan) -> dict[str, Any]:
        if plan.action == "no_data":
            return {"action": plan.action, "reason": plan.reason}
        job = uuid4()
        plane.claim(job, 1)
        outcome = stage_refresh(plane, job, 1, plan)
        plane.publish(job, 1, [outcome.write], {})
        return {"action": plan.action, "reason": " ".join(filter(None, (plan.reason, outcome.told)))}

    return carried_out(lambda mode, instead: plan_refresh(plane, view, mode=mode, instead=instead), do, "auto")


def shape(plane: Plane, view: str) -> list[str]:
    return [f"{column.name} {column.type}" for column in plane.dataset(view).columns]


VIEWS: dict[str, tuple[str, dict[str, Any]]] = {
    "named": ("SELECT id, amount FROM orders WHERE id > 0", {}),
    "all_columns": ("SELECT * FROM orders", {}),
    "totals": ("SELECT id, sum(amount) AS amount FROM orders GROUP BY id", {}),
    "ids": ("SELECT id FROM orders", {}),
    "appended": ("SELECT id, amount FROM DELTA(TABLE orders)", {"write_mode": "append"}),
    "merged": ("SELECT id, amount FROM DELTA(TABLE orders)", {"write_mode": "append", "merge_on": ("id",)}),
}
BEFORE = "SELECT 1 AS id, 10 AS amount, 'x' AS note"
OLD = {
    "named": [(1, 10)], "all_columns": [(1, 10, "x")], "totals": [(1, 10)], "ids": [(1,)], "appended": [(1, 10)],
    "merged": [(1, 10)],
}  # fmt: skip
NEW = {**OLD, "named": [(2, 20)], "all_columns": [(2, 20, "x")], "totals": [(2, 20)], "ids": [(2,)]}
LOADS = {
    "added": "SELECT true AS paid, 'x' AS note, 20 AS amount, 2 AS id",
    "dropped": "SELECT 2 AS id, 'x' AS note",
    "renamed": "SELECT 2 AS id, 20 AS price, 'x' AS note",
    "retyped": "SELECT 2 AS id, 20::DECIMAL(9, 2) AS amount, 'x' AS note",
}
ALTERS = {
    "added": "ADD COLUMN paid BOOLEAN",
    "dropped": "DROP COLUMN amount",
    "renamed": "RENAME COLUMN amount TO price",
    "retyped": "ALTER COLUMN amount TYPE BIGINT",
}
GONE = {
    "named": "query_refused", "all_columns": "column_mismatch", "totals": "query_refused", "ids": "full",
    "appended": "query_refused", "merged": "query_refused",
}  # fmt: skip
OUTCOMES = {
    "added": {
        "named": "full", "all_columns": "full", "totals": "full", "ids": "full", "appended": "delta_lost",
        "merged": "incremental",
    },
    "dropped": GONE,
    "renamed": GONE,
    "retyped": {
        "named": "full", "all_columns": "full", "totals": "full", "ids": "full", "appended": "view_columns_changed",
        "merged": "view_columns_changed",
    },
}  # fmt: skip
"""What each view's refresh does after a change of its source's columns, or with which code it fails."""


def refreshed(plane: Plane) -> tuple[dict[str, str], dict[str, str]]:
    """Refresh all views, and return what was done, or with which code it failed, and what was said."""
    done, said = {}, {}
    for view in VIEWS:
        try:
            told = refresh(plane, view)
            done[view], said[view] = told["action"], told["reason"]
        except NarrativeError as error:
            done[view], said[view] = error.code, str(error)
    return done, said


def contents(plane: Plane) -> dict[str, list[tuple[Any, ...]]]:
    return {view: rows(plane, f"SELECT * FROM {view} ORDER BY ALL") for view in VIEWS}


def begin(plane: Plane) -> dict[str, list[str]]:
    load(plane, "orders", BEFORE)
    for view, (query, more) in VIEWS.items():
        define(plane, view, query, **more)
    assert contents(plane) == OLD
    return {view: shape(plane, view) for view in VIEWS}


@pytest.mark.parametrize(
    "change", ["retyped", *(pytest.param(name, marks=pytest.mark.long) for name in ("added", "dropped", "renamed"))]
)
def test_a_source_that_is_loaded_anew_with_other_columns(plane: Plane, change: str) -> None:
    before = begin(plane)
    load(plane, "orders", LOADS[change])
    done, said = refreshed(plane)
    assert done == OUTCOMES[change]
    failed = {view for view, action in done.items() if action not in {"full", "incremental"}}
    expected = {view: OLD[view] if view in failed else NEW[view] for view in VIEWS}
    if change == "added":
        expected["merged"] = [(1, 10), (2, 20)]
    assert contents(plane) == expected, "a view whose refresh has failed is as it was"
    after = {view: shape(plane, view) for view in VIEWS}
    if change == "retyped":
        decimal = ["id INTEGER", "amount DECIMAL(9,2)"]
        totals = ["id INTEGER", "amount DECIMAL(38,2)"]
        assert after == {**before, "named": decimal, "all_columns": [*decimal, "note VARCHAR"], "totals": totals}
        assert said["named"].endswith("Columns: amount is DECIMAL(9,2) and was INTEGER.")
        assert "amount is DECIMAL(9,2), the dataset has INTEGER" in said["appended"]
    else:
        assert after == before, "columns that come to be there are not taken up"
    if change in {"dropped", "renamed"}:
        assert all("amount" in said[view] for view in failed)
        load(plane, "orders", BEFORE.replace("1 AS id", "3 AS id"))
        again = refresh(plane, "named")
        assert (again["action"], rows(plane, "SELECT * FROM named")) == ("full", [(3, 10)])


@pytest.mark.parametrize(
    "change", ["renamed", *(pytest.param(name, marks=pytest.mark.long) for name in ("added", "dropped", "retyped"))]
)
def test_a_source_whose_columns_are_altered(plane: Plane, settings: Settings, tmp_path: Path, change: str) -> None:
    before = begin(plane)
    connection = open_writer(Place(settings.plane_directory("default")), settings, tmp_path / "spill")
    connection.execute(f"ALTER TABLE lake.main.orders {ALTERS[change]}")
    connection.close()
    done, said = refreshed(plane)
    assert done == OUTCOMES[change]
    assert contents(plane) == OLD
    after = {view: shape(plane, view) for view in VIEWS}
    if change == "retyped":
        bigint = ["id INTEGER", "amount BIGINT"]
        assert after == {**before, "named": bigint, "all_columns": [*bigint, "note VARCHAR"]}
    else:
        assert after == before
    assert "Columns of orders have changed since snapshot" in said["ids"]
