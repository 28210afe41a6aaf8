"""How a view is refreshed: what keeps it from being brought up to date, and which way is expected to be quicker."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from plane_samples import INLINES, make_dataset, rows_of, settings_for
from view_samples import make_view, refresh

from prefect_narrative.planes import Plane, open_plane
from prefect_narrative.planes.connection import Place, open_writer
from prefect_narrative.planes.errors import DatasetNotFoundError, OvertakenError, WriteConflictError
from prefect_narrative.views.choosing import TRUSTED_SECONDS, Estimate, estimate
from prefect_narrative.views.definition import PastRefresh
from prefect_narrative.views.reasons import NotIncrementalError
from prefect_narrative.views.refreshing import PLANS, RefreshPlan, carried_out, plan_refresh
from prefect_narrative.views.updating import Mode

TOTALS = "SELECT b, count(*) AS n, sum(a) AS total FROM orders GROUP BY b"
LARGE = 4_000_000


class Lake:
    """A plane, and another program that writes to it."""

    def __init__(self, home: Any) -> None:
        settings = settings_for(home)
        self.plane = open_plane("default", settings.plane_directory("default"), settings)
        self.other = open_writer(Place(settings.plane_directory("default")), settings, settings.home / "spill")
        self.run(INLINES)

    def run(self, statement: str) -> None:
        self.other.execute(statement)

    def close(self) -> None:
        self.other.close()
        self.plane.close()


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    made = Lake(tmp_path_factory.mktemp("choosing") / "home")
    yield made
    made.close()


def orders(plane: Plane, rows: int = 100, first: int = 0, mode: str = "replace") -> None:
    query = f"SELECT i AS a, i % 3 AS b FROM range({first}, {first + rows}) t(i)"
    make_dataset(plane, "orders", query, mode)


def expire(lake: Lake) -> None:
    newest = lake.plane.snapshot()
    lake.run(f"CALL ducklake_expire_snapshots('lake', versions => range(1, {newest}))")


BREAKS: dict[str, tuple[Callable[[Lake], None], str]] = {
    "source replaced": (lambda lake: orders(lake.plane, 7), "orders was replaced since snapshot"),
    "column added": (
        lambda lake: lake.run("ALTER TABLE lake.orders ADD COLUMN c BIGINT"),
        "Columns of orders have changed since snapshot",
    ),
    "column retyped": (
        lambda lake: lake.run("ALTER TABLE lake.narrow ALTER b SET DATA TYPE BIGINT"),
        "Columns of narrow have changed since snapshot",
    ),
    "history expired": (expire, "has expired"),
    "view written by others": (
        lambda lake: lake.run("DELETE FROM lake.totals WHERE b = 1"),
        "The view's rows have changed since its last refresh",
    ),
    "state dropped by others": (
        lambda lake: lake.run("DROP TABLE lake._narrative.state_totals"),
        "What was kept of the view's groups is gone.",
    ),
}


@pytest.mark.parametrize("what", sorted(BREAKS))
def test_what_a_refresh_can_not_go_on_from_is_found_and_made_anew(lake: Lake, what: str) -> None:
    plane = lake.plane
    orders(plane)
    make_dataset(plane, "narrow", "SELECT i AS a, (i % 3)::INTEGER AS b FROM range(10) t(i)")
    query = TOTALS.replace("orders", "narrow") if what == "column retyped" else TOTALS
    make_view(plane, "totals", query)
    orders(plane, 1, first=1000, mode="append")
    make_dataset(plane, "narrow", "SELECT 5::BIGINT AS a, 1::INTEGER AS b", "append")
    break_it, words = BREAKS[what]
    break_it(lake)
    with pytest.raises(NotIncrementalError, match=words):
        plan_refresh(plane, "totals", mode="incremental")
    done = refresh(plane, "totals")
    assert done["action"] == "full"
    assert words in done["reason"]
    assert Counter(rows_of(plane, "FROM totals")) == Counter(rows_of(plane, query))
    for source in ("orders", "narrow"):
        lake.run(f"INSERT INTO lake.{source} BY NAME SELECT 6 AS a, 1 AS b")
    assert refresh(plane, "totals", mode="incremental")["action"] == "incremental"
    assert Counter(rows_of(plane, "FROM totals")) == Counter(rows_of(plane, query))


def test_another_engine_makes_the_rows_anew(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    orders(lake.plane)
    make_view(lake.plane, "totals", TOTALS)
    orders(lake.plane, 1, first=1000, mode="append")
    before = lake.plane.engine()
    monkeypatch.setattr(lake.plane, "engine", lambda: "DuckDB 99")
    with pytest.raises(NotIncrementalError, match=r"made by another engine \(.*\) than this one \(DuckDB 99\)") as seen:
        plan_refresh(lake.plane, "totals", mode="incremental")
    assert before in str(seen.value)
    assert refresh(lake.plane, "totals")["action"] == "full"
    orders(lake.plane, 1, first=2000, mode="append")
    assert refresh(lake.plane, "totals", mode="incremental")["action"] == "incremental"


def test_a_dropped_column_that_the_view_reads_is_a_refusal_and_the_view_stays(lake: Lake) -> None:
    plane = lake.plane
    orders(plane)
    make_view(plane, "totals", TOTALS)
    before = rows_of(plane, "FROM totals")
    lake.run("ALTER TABLE lake.orders RENAME b TO bb")
    with pytest.raises(Exception, match='"b" not found') as seen:
        refresh(plane, "totals")
    assert seen.value.code == "query_refused"  # type: ignore[attr-defined]
    assert rows_of(plane, "FROM totals") == before


def test_a_dropped_source_is_named(lake: Lake) -> None:
    orders(lake.plane)
    make_view(lake.plane, "totals", TOTALS)
    lake.run("DROP TABLE lake.orders")
    with pytest.raises(DatasetNotFoundError, match="orders"):
        refresh(lake.plane, "totals")
    orders(lake.plane, 5)
    assert refresh(lake.plane, "totals")["action"] == "full"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT o.a FROM orders AS o LEFT JOIN orders AS p ON o.a = p.b", "LEFT join: only inner joins"),
        ("SELECT a, row_number() OVER (ORDER BY a) AS place FROM orders", "window function row_number"),
        ("SELECT a FROM orders ORDER BY a LIMIT 3", "LIMIT"),
        ("SELECT median(a) AS middle FROM orders", "median"),
        ("SELECT sum(a / 2) AS halves FROM orders", "order of addition"),
        ("SELECT a FROM orders EXCEPT SELECT b FROM orders", "EXCEPT"),
        ("SELECT a FROM orders WHERE a = (SELECT max(a) FROM orders)", "subquery in an expression"),
    ],
)
def test_every_other_form_is_made_anew_and_says_why(lake: Lake, query: str, words: str) -> None:
    plane = lake.plane
    orders(plane)
    make_view(plane, "other", query)
    orders(plane, 2, first=500, mode="append")
    with pytest.raises(NotIncrementalError, match=words):
        plan_refresh(plane, "other", mode="incremental")
    done = refresh(plane, "other")
    assert done["action"] == "full"
    assert words in done["reason"]
    assert Counter(rows_of(plane, "FROM other")) == Counter(rows_of(plane, query))


def expected(lake: Lake, view: str, past: tuple[PastRefresh, ...] = ()) -> Estimate:
    """Return what a refresh is expected to take, where nothing but `past` is known of earlier ones."""
    plan = plan_refresh(lake.plane, view, mode="incremental")
    assert plan.update is not None
    assert plan.update.found is not None
    return estimate(plan.update.found, past)


def test_the_quicker_way_is_chosen_by_what_has_changed(lake: Lake) -> None:
    plane = lake.plane
    orders(plane, LARGE)
    make_view(plane, "rows", "SELECT a, b FROM orders WHERE a % 10 = 0")
    orders(plane, 1000, first=LARGE, mode="append")
    few = expected(lake, "rows")
    assert (few.better, few.changed_rows, few.source_rows) == ("incremental", 1000, LARGE + 1000)
    assert few.told.startswith("1,000 of 4,001,000 rows, so bringing it up to date")

    orders(plane, LARGE, first=2 * LARGE, mode="append")
    many = expected(lake, "rows")
    assert many.incremental_seconds > few.incremental_seconds
    assert many.changed_rows == LARGE + 1000

    refresh(plane, "rows", mode="full")
    lake.run("DELETE FROM lake.orders WHERE a < 1000")
    gone = expected(lake, "rows")
    assert (gone.better, gone.changed_rows) == ("full", 1000), "to find deleted rows takes as long as to run the query"
    assert gone.told.startswith("1,000 of 8,000,000 rows, so making it anew")


def test_earlier_refreshes_of_the_view_tell_how_quick_the_next_one_is(lake: Lake) -> None:
    orders(lake.plane, LARGE)
    make_view(lake.plane, "totals", TOTALS)
    orders(lake.plane, 1000, first=LARGE, mode="append")
    usual = expected(lake, "totals")
    seen = PastRefresh(
        action="full", seconds=TRUSTED_SECONDS, usual_seconds=0, changed_rows=LARGE, source_rows=LARGE, rows=3
    )  # fmt: skip
    twice = expected(lake, "totals", (seen,))
    assert twice.full_seconds == pytest.approx(2 * usual.full_seconds)
    assert twice.incremental_seconds == pytest.approx(2 * usual.incremental_seconds)
    slow = seen.model_copy(update={"action": "incremental", "seconds": 1000.0})
    assert expected(lake, "totals", (seen, slow)).better == "full"


class Refusals:
    """Carries out plans, and fails so often before."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.plans: list[tuple[Mode, str | None]] = []

    def plan(self, mode: Mode, instead: str | None) -> RefreshPlan:
        self.plans.append((mode, instead))
        return PLAN

    def do(self, _: RefreshPlan) -> str:
        if self.errors:
            raise self.errors.pop(0)
        return "done"


PLAN: Any = object()


def test_a_refresh_that_was_overtaken_is_planned_again() -> None:
    told = Refusals(OvertakenError("somebody was quicker"), OvertakenError("somebody was quicker"))
    assert carried_out(told.plan, told.do, "auto") == "done"
    assert told.plans == [("auto", None)] * 3


def test_who_is_overtaken_for_ever_says_so() -> None:
    told = Refusals(*(OvertakenError(f"number {number}") for number in range(PLANS + 1)))
    with pytest.raises(WriteConflictError, match=f"number {PLANS - 1}"):
        carried_out(told.plan, told.do, "auto")


def test_what_turns_out_not_to_be_possible_is_done_in_full_unless_nobody_wants_that() -> None:
    told = Refusals(NotIncrementalError("It is not."))
    assert carried_out(told.plan, told.do, "auto") == "done"
    assert told.plans == [("auto", None), ("full", "It could not be brought up to date: It is not.")]
    told = Refusals(NotIncrementalError("It is not."))
    with pytest.raises(NotIncrementalError):
        carried_out(told.plan, told.do, "incremental")
