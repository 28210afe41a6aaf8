"""DELTA(TABLE x) by itself, without a lake: what is read as it, what is refused, and what runs in its place."""

# ruff: noqa: PT017  (a text may pass or be refused, and nothing else)

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefect_narrative.errors import NarrativeError
from prefect_narrative.planes.check import QueryCheck
from prefect_narrative.planes.deltas import FORM, PURPOSE, parenthesised
from prefect_narrative.planes.errors import DatasetNotFoundError, QueryRefusedError
from prefect_narrative.planes.plane import CheckedQuery

KNOWN = {"orders", "sales.regions"}
ALL_ROWS = dict.fromkeys(KNOWN)
PIECES = """
SELECT * FROM DELTA DELTA( delta(TABLE DELTA(TABLE ( ) , . ; TABLE orders sales.regions sales "orders" 'orders' AS d
(a) /* -- */ -- ' $$ $x$ " JOIN USING WITH w (SELECT 1) WHERE EXISTS é AT (VERSION => 3) LATERAL VALUES UNION ALL
""".split()  # noqa: SIM905


@pytest.fixture(scope="module")
def check() -> Iterator[QueryCheck]:
    opened = QueryCheck()
    yield opened
    opened.close()


def test_delta_reads_what_stands_for_it(check: QueryCheck) -> None:
    checked = check.check(
        "SELECT d.a, orders.b FROM delta ( /* of */ TABLE Sales.Regions ) AS d JOIN Delta(TABLE orders) USING (id), "
        "orders AS o",
        KNOWN,
        deltas=True,
    )
    assert (checked.sources, checked.deltas) == (("orders", "sales.regions"), ("orders", "sales.regions"))
    changes = {
        "sales.regions": None,
        "orders": "SELECT * FROM ducklake_table_insertions('lake', 'main', 'orders', 2, 7)",
    }
    assert check.pinned(checked, 7, "lake", changes) == (
        "SELECT d.a, orders.b FROM (SELECT * FROM lake.sales.regions AT (VERSION => 7)) AS d INNER JOIN "
        "(SELECT * FROM ducklake_table_insertions('lake', 'main', 'orders', 2, 7)) AS orders USING (id) INNER JOIN "
        "lake.main.orders AS o AT (VERSION => 7) ON (CAST('t' AS BOOLEAN))"
    )


def test_texts_and_names_that_look_like_it_stay_as_they_are(check: QueryCheck) -> None:
    written = (
        "SELECT 'é DELTA(TABLE orders)' AS a, $$DELTA(TABLE orders)$$ AS b, \"DELTA(TABLE orders)\", delta "
        "FROM DELTA(TABLE orders) -- DELTA(TABLE orders)"
    )
    checked = check.check(written, KNOWN, deltas=True)
    assert checked.sql == (
        "SELECT 'é DELTA(TABLE orders)' AS a, 'DELTA(TABLE orders)' AS b, \"DELTA(TABLE orders)\", delta "
        "FROM delta((SELECT * FROM main.orders))"
    )
    for text in ("SELECT delta FROM orders", "SELECT 'DELTA(TABLE x)'", "SELECT 1 /* DELTA(TABLE x) */"):
        assert parenthesised(text) == text
        assert check.check(text, KNOWN).deltas == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("SELECT DELTA(TABLE orders)", FORM),
        ("SELECT * FROM orders WHERE DELTA(TABLE orders)", FORM),
        ("SELECT * FROM DELTA(orders)", FORM),
        ("SELECT * FROM DELTA('orders')", FORM),
        ("SELECT * FROM DELTA()", FORM),
        ("SELECT * FROM other.DELTA(TABLE orders)", FORM),
        ("SELECT * FROM DELTA((TABLE orders), (TABLE orders))", FORM),
        ("SELECT * FROM DELTA(x := (TABLE orders))", FORM),
        ("SELECT * FROM DELTA(DISTINCT (TABLE orders))", FORM),
        ("SELECT * FROM DELTA((TABLE orders ORDER BY 1))", FORM),
        ("SELECT * FROM DELTA((SELECT * FROM orders WHERE a = 1))", FORM),
        ("SELECT * FROM DELTA((SELECT * FROM orders, orders AS o))", FORM),
        ("SELECT * FROM DELTA((SELECT * FROM orders AS o))", FORM),
        ("SELECT * FROM DELTA((SELECT * FROM orders AT (VERSION => 3)))", FORM),
        ("SELECT * FROM DELTA((SELECT * FROM orders TABLESAMPLE 3))", FORM),
        ("SELECT * FROM DELTA((SELECT * FROM read_csv('/etc/passwd')))", FORM),
        ("SELECT * FROM DELTA((VALUES (1)))", FORM),
        ("SELECT * FROM DELTA(DELTA(TABLE orders))", FORM),
        ("SELECT * FROM DELTA(EXISTS (TABLE orders))", FORM),
        ("SELECT * FROM DELTA(TABLE orders) WITH ORDINALITY", FORM),
        ("SELECT * FROM DELTA(TABLE orders AT (VERSION => 3))", "syntax error"),
        ("SELECT * FROM DELTA(TABLE orders, TABLE orders)", "syntax error"),
        ("SELECT * FROM DELTA(TABLE read_csv('/etc/passwd'))", "syntax error"),
        ("SELECT * FROM DELTA(TABLE orders WHERE a = 1)", "syntax error"),
        ("SELECT * FROM DELTA(TABLE", "syntax error"),
        ("SELECT * FROM \"DELTA\"(TABLE orders)", "syntax error"),
        ("SELECT * FROM DELTA(TABLE '/etc/passwd')", "reads no files"),
        ("SELECT * FROM DELTA(TABLE \"/etc/passwd\")", "reads no files"),
        ("SELECT * FROM DELTA(TABLE _narrative.publications)", "one of our own tables"),
        ("SELECT * FROM DELTA(TABLE duckdb_settings)", "engine's catalog"),
        ("SELECT * FROM DELTA((TABLE lake.main.orders))", "three parts"),
        ("WITH w AS (SELECT 1) SELECT * FROM DELTA(TABLE w)", "names a subquery"),
        ("FROM DELTA(TABLE orders); DROP TABLE orders", "exactly one SELECT"),
        ("INSERT INTO orders FROM DELTA(TABLE orders)", "exactly one SELECT"),
    ],
)  # fmt: skip
def test_another_form_is_refused(check: QueryCheck, text: str, words: str) -> None:
    with pytest.raises(QueryRefusedError) as raised:
        check.check(text, KNOWN, deltas=True)
    assert words in str(raised.value)
    assert raised.value.remedy


def test_only_who_may_read_changes_gets_them(check: QueryCheck) -> None:
    with pytest.raises(QueryRefusedError) as raised:
        check.check("FROM DELTA(TABLE orders)", KNOWN)
    assert str(raised.value) == PURPOSE
    checked = check.check("FROM DELTA(TABLE orders)", KNOWN, deltas=True)
    for changes in (None, {}, {"sales.regions": None}):
        with pytest.raises(QueryRefusedError, match="last refresh of the view"):
            check.pinned(checked, 3, "lake", changes)
    with pytest.raises(QueryRefusedError, match="other datasets"):
        check.pinned(CheckedQuery("", checked.sql, ("sales.regions",), (), ()), 3, "lake", ALL_ROWS)
    with pytest.raises(DatasetNotFoundError, match="no dataset 'absent'"):
        check.check("FROM DELTA(TABLE absent)", KNOWN, deltas=True)


def test_a_sample_of_changes_is_random(check: QueryCheck) -> None:
    assert check.check("FROM DELTA(TABLE orders) TABLESAMPLE 3", KNOWN, deltas=True).random == ("tablesample",)


@given(st.lists(st.sampled_from(PIECES), max_size=20).map(" ".join))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_heap_of_words_is_refused_or_reads_known_datasets(check: QueryCheck, text: str) -> None:
    try:
        checked = check.check(f"SELECT * FROM DELTA(TABLE orders) {text}", KNOWN, deltas=True)
    except NarrativeError as error:
        assert error.kind == "input"
        return
    assert "orders" in checked.deltas
    assert set(checked.deltas) <= set(checked.sources) <= KNOWN
    pinned = check.pinned(checked, 3, "lake", ALL_ROWS)
    assert "delta((" not in pinned
    assert pinned.count("lake.") >= len(checked.deltas)
