"""Views defined, kept, replaced and dropped on a plane: what is refused, what it says, and what two at once do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from definition_samples import NOON, define, load, planned, publish, rows

from prefect_narrative.errors import NarrativeError
from prefect_narrative.planes import Plane, Write, open_plane
from prefect_narrative.planes.errors import DatasetNotFoundError, OvertakenError
from prefect_narrative.settings import Settings
from prefect_narrative.views.defining import DefinitionPlan, KeptView
from prefect_narrative.views.definition import ViewDefinition
from prefect_narrative.views.dropping import HasDependantsError, plan_drop
from prefect_narrative.views.lineage import ViewCycleError
from prefect_narrative.views.refreshing import plan_refresh
from prefect_narrative.views.replacing import DependantsBreakError

ORDERS = """SELECT i AS id, i % 3 AS customer, (i * 1.5)::DECIMAL(9, 2) AS amount, DATE '2026-01-01' + i::INTEGER AS day
            FROM range(9) AS source(i)"""
TOTALS = "SELECT customer, sum(amount) AS total, count(*) AS n FROM orders GROUP BY customer"


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    settings = Settings(home=tmp_path / "home", threads=1, memory_limit="256MB")
    with open_plane("default", settings.plane_directory("default"), settings) as opened:
        load(opened, "orders", ORDERS)
        yield opened


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A plane whose views tests plan to change, and do not."""
    settings = Settings(home=tmp_path_factory.mktemp("shop") / "home", threads=1, memory_limit="256MB")
    with open_plane("default", settings.plane_directory("default"), settings) as opened:
        load(opened, "orders", ORDERS)
        define(opened, "totals", TOTALS, refresh_schedule="@daily")
        old = opened.snapshot()
        define(opened, "biggest", "SELECT max(total) AS most FROM totals")
        define(opened, "everything", "SELECT * FROM totals")
        define(opened, "customers", "SELECT count(*) AS customers FROM totals")
        define(opened, "pairs", "SELECT t.*, b.most FROM totals AS t, biggest AS b")
        define(opened, "past", f"SELECT sum(total) AS then FROM totals AT (VERSION => {old})")
        define(opened, "report", "SELECT most FROM pairs")
        yield opened


def test_everything_that_is_said_is_kept_with_the_rows(plane: Plane) -> None:
    said: dict[str, Any] = {
        "write_mode": "append",
        "merge_on": ("CUSTOMER",),
        "partitioned_by": ("Customer",),
        "expire": "P90D",
        "refresh_schedule": "@daily",
        "timezone": "Europe/Berlin",
        "display_name": "Totals",
        "description": "What each has spent",
        "tags": ("money",),
    }
    plan = define(plane, "totals", TOTALS, **said)
    assert plan.reason == "There was no view of this name."
    dataset = plane.dataset("totals")
    kept = ViewDefinition.of(dataset)
    canonical = {**said, "merge_on": ("customer",), "partitioned_by": ("customer",)}
    assert {name: getattr(kept, name) for name in said} == canonical
    assert kept.refreshed_at == NOON
    assert dataset.files == 3
    assert dataset.properties["tags"] == ["money"]


def test_a_definition_of_before_there_were_these_fields_is_still_read() -> None:
    old = {
        "query": "SELECT 1 AS a",
        "columns": [{"name": "a", "type": "INTEGER"}],
        "sources": [{"name": "orders", "table_id": 1, "snapshot_id": 2}],
        "volatile": [],
        "refresh_schedule": "@daily",
        "timezone": "UTC",
        "display_name": None,
        "description": None,
        "tags": [],
    }
    read = ViewDefinition.model_validate(old)
    assert (read.write_mode, read.merge_on, read.partitioned_by) == ("overwrite", (), ())
    assert (read.expire, read.extended_stats, read.refreshed_at) == ("retain_everything", "none", None)


@pytest.mark.parametrize(
    ("values", "code", "words"),
    [
        ({"name": "totals"}, "dataset_exists", "There is a view called 'totals' already"),
        ({"name": "orders"}, "dataset_exists", "There is a dataset called 'orders' already"),
        ({"name": "orders", "if_exists": "replace"}, "wrong_kind", "orders"),
        ({"name": "orders", "if_exists": "keep"}, "wrong_kind", "orders"),
        ({"merge_on": ("customer",)}, "invalid_merge_key", "write_mode=append"),
        ({"merge_on": ("custmer",), "write_mode": "append"}, "invalid_merge_key", "Nearest: customer"),
        ({"merge_on": ("customer", "Customer"), "write_mode": "append"}, "invalid_merge_key", "twice"),
        ({"partitioned_by": ("year(total)",)}, "invalid_partition", "total is"),
        ({"query": "SELECT customer FROM new"}, "dataset_not_found", "new"),
        ({"name": "totals", "if_exists": "replace", "query": "SELECT most AS total FROM report"}, "view_cycle",
         "totals, which reads report, which reads pairs, which reads totals"),
        ({"name": "totals", "if_exists": "replace", "query": "SELECT * FROM totals"}, "view_cycle", "totals"),
    ],
    ids=["view", "dataset", "replace-dataset", "keep-dataset", "merge-overwrite", "no-key", "key-twice", "partition",
         "no-source", "cycle", "itself"],
)  # fmt: skip
def test_what_is_refused_before_anything_runs(shop: Plane, values: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(NarrativeError) as refused:
        planned(shop, **{"name": "new", "query": TOTALS, **values})
    assert (refused.value.code, refused.value.kind) == (code, "input")
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"refresh_schedule": "@daily"}, "There was a view called 'totals' already, with this definition."),
        ({"timezone": "Asia/Tokyo", "tags": ("x",)},
         "There was a view called 'totals' already; it was kept, though its refresh_schedule, timezone and tags is "
         "another."),
    ],
    ids=["same", "another"],
)  # fmt: skip
def test_a_view_that_is_kept_is_as_it_was(shop: Plane, values: dict[str, Any], reason: str) -> None:
    kept = planned(shop, "totals", TOTALS, if_exists="keep", **values)
    assert isinstance(kept, KeptView)
    assert (kept.reason, kept.dataset.rows, kept.definition.query) == (reason, 3, TOTALS)
    assert kept.dependants == ("biggest", "customers", "everything", "pairs", "past", "report")


@pytest.mark.parametrize(
    ("query", "broken"),
    [
        ("SELECT customer, sum(amount) + 1 AS total, count(*) AS n FROM orders GROUP BY customer", {}),
        ("SELECT customer, sum(amount) AS total, count(*) AS n, 1 AS more FROM orders GROUP BY customer", {}),
        ("SELECT customer, sum(amount) AS total FROM orders GROUP BY customer", {
            "everything": "its column n would be gone", "pairs": "its column n would be gone"}),
        ("SELECT customer, sum(amount)::DOUBLE AS total, count(*) AS n FROM orders GROUP BY customer", {
            "biggest": "its column most would be DOUBLE, no longer DECIMAL(38,2)",
            "everything": "its column total would be DOUBLE, no longer DECIMAL(38,2)",
            "pairs": "its column total would be DOUBLE, no longer DECIMAL(38,2)"}),
        ("SELECT customer, sum(amount) AS total, count(*) AS n, 2 AS most FROM orders GROUP BY customer", {
            "pairs": "it would have 2 columns called most"}),
    ],
    ids=["same-columns", "one-more", "gone", "retyped", "doubled"],
)  # fmt: skip
def test_what_a_new_definition_would_break(shop: Plane, query: str, broken: dict[str, str]) -> None:
    if not broken:
        plan = planned(shop, "totals", query, if_exists="replace")
        assert isinstance(plan, DefinitionPlan)
        assert plan.dependants == ("biggest", "customers", "everything", "pairs", "past", "report")
        assert all(view in plan.reason for view in plan.dependants)
        return
    with pytest.raises(DependantsBreakError) as refused:
        planned(shop, "totals", query, if_exists="replace")
    assert refused.value.detail == {"dependants": broken}
    assert isinstance(planned(shop, "totals", query, if_exists="replace", force=True), DefinitionPlan)


def test_a_column_that_is_only_named_counts_as_read(plane: Plane) -> None:
    define(plane, "days", "SELECT day, customer FROM orders")
    define(plane, "late", "SELECT count(*) AS late FROM days WHERE day > '2026-01-02'")
    query = "SELECT day::VARCHAR AS day, customer FROM orders"
    with pytest.raises(DependantsBreakError, match="late: day is VARCHAR, no longer DATE"):
        planned(plane, "days", query, if_exists="replace")


def test_replacing_is_whole_and_a_refresh_of_the_old_view_does_not_undo_it(plane: Plane) -> None:
    define(plane, "totals", TOTALS)
    refresh = plan_refresh(plane, "totals", mode="full")
    define(plane, "totals", "SELECT 7 AS seven", if_exists="replace")
    assert rows(plane, "SELECT * FROM totals") == [(7,)]
    assert ViewDefinition.of(plane.dataset("totals")).column_names == ("seven",)
    job = uuid4()
    plane.claim(job, 1)
    stage = plane.stage_query(job, 1, "totals", refresh.query, at=refresh.at)
    write = Write("totals", "replace", stage, kind="view", properties={}, replaces=refresh.table_id)
    with pytest.raises(OvertakenError):
        plane.publish(job, 1, [write], {})
    assert rows(plane, "SELECT * FROM totals") == [(7,)]


def test_what_comes_up_while_a_query_runs_is_seen_under_the_lock(plane: Plane) -> None:
    define(plane, "first", "SELECT 1 AS a FROM orders")
    define(plane, "second", "SELECT 2 AS a FROM orders")
    one = planned(plane, "first", "SELECT a FROM second", if_exists="replace")
    define(plane, "second", "SELECT a FROM first", if_exists="replace")
    assert isinstance(one, DefinitionPlan)
    with pytest.raises(ViewCycleError):
        publish(plane, one)
    two = planned(plane, "first", "SELECT 3 AS a, 4 AS b FROM orders", if_exists="replace")
    define(plane, "third", "SELECT a FROM first")
    assert isinstance(two, DefinitionPlan)
    with pytest.raises(OvertakenError, match="third"):
        publish(plane, two)
    three = planned(plane, "fourth", "SELECT a FROM third")
    load(plane, "other", "SELECT 1 AS a")
    drop = plan_drop(plane, ["third"], "refuse")
    job = uuid4()
    plane.claim(job, 1)
    plane.publish(job, 1, [Write("third", "drop", kind="view")], {}, drop.guard)
    assert isinstance(three, DefinitionPlan)
    with pytest.raises(DatasetNotFoundError, match="third"):
        publish(plane, three)


def test_a_view_is_not_dropped_from_under_its_readers(shop: Plane) -> None:
    with pytest.raises(HasDependantsError) as refused:
        plan_drop(shop, ["biggest"], "refuse")
    assert refused.value.detail == {"dependants": ["pairs"], "further": ["report"]}
    assert "pairs reads biggest" in str(refused.value)
    with_readers = plan_drop(shop, ["biggest"], "drop")
    assert ([one.name for one in with_readers.doomed], with_readers.left) == (["report", "pairs", "biggest"], ())
    alone = plan_drop(shop, ["biggest"], "leave")
    assert ([one.name for one in alone.doomed], alone.left) == (["biggest"], ("pairs",))
    both = plan_drop(shop, ["pairs", "report"], "refuse")
    assert ([one.name for one in both.doomed], both.left) == (["report", "pairs"], ())
    source = plan_drop(shop, ["orders"], "leave")
    assert ([one.name for one in source.doomed], source.left) == (["orders"], ("totals",))


def test_what_can_be_dropped_is_there_or_has_left_a_schedule(shop: Plane) -> None:
    with pytest.raises(DatasetNotFoundError, match="Nearest: report"):
        plan_drop(shop, ["reports"], "refuse")
    with pytest.raises(NarrativeError, match="no dataset's name"):
        plan_drop(shop, ["No Name"], "refuse")
    left_over = plan_drop(shop, ["reports"], "refuse", has_schedule=lambda name: name == "reports")
    assert (left_over.doomed, left_over.left) == ((), ())


def test_a_new_reader_stops_a_drop(plane: Plane) -> None:
    define(plane, "totals", TOTALS)
    drop = plan_drop(plane, ["totals"], "refuse")
    define(plane, "biggest", "SELECT max(total) AS most FROM totals")
    job = uuid4()
    plane.claim(job, 1)
    with pytest.raises(OvertakenError, match="biggest"):
        plane.publish(job, 1, [Write("totals", "drop", kind="view")], {}, drop.guard)
    assert rows(plane, "SELECT count(*) FROM biggest") == [(1,)]
