"""The query check by itself, without a lake."""

# ruff: noqa: E501, PT017, SIM905  (words as they are; a text may pass or be refused, and nothing else)

from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefect_narrative.errors import NarrativeError
from prefect_narrative.planes import functions
from prefect_narrative.planes.check import QueryCheck
from prefect_narrative.planes.errors import QueryRefusedError
from prefect_narrative.planes.plane import CheckedQuery

KNOWN = {"orders", "customers", "sales.regions"}
PIECES = """
SELECT FROM WHERE WITH AS ( ) , * . ; ' " -- /* */ orders customers sales.regions x y 1 2.5 'a' "b" JOIN LEFT ON USING
GROUP BY ORDER LIMIT UNION ALL INSERT INTO DELETE COPY TO ATTACH read_csv( '/etc/passwd' sum( now() AT (VERSION => 3)
:: INTEGER [ ] { } : -> => OVER PARTITION QUALIFY HAVING CASE WHEN THEN END NULL NOT IN EXISTS VALUES LATERAL $1 ? \0 \u200b
""".split()


@pytest.fixture(scope="module")
def check() -> Iterator[QueryCheck]:
    opened = QueryCheck()
    yield opened
    opened.close()


@given(st.lists(st.sampled_from(PIECES), max_size=25).map(" ".join))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_heap_of_words_is_refused_or_reads_known_datasets(check: QueryCheck, text: str) -> None:
    try:
        checked = check.check(text, KNOWN)
    except NarrativeError as error:
        assert error.kind == "input"
        return
    assert set(checked.sources) <= KNOWN
    for word in ("read_csv", "passwd' )", "INSERT INTO", "COPY "):
        assert word not in checked.sql
    assert "lake" in check.pinned(checked, 3, "lake") or not checked.sources


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_refused_or_read(check: QueryCheck, text: str) -> None:
    try:
        check.check(text, KNOWN)
    except NarrativeError as error:
        assert error.kind == "input"


def test_pinning_qualifies_every_dataset_and_nothing_else(check: QueryCheck) -> None:
    checked = check.check(
        "WITH part AS (SELECT * FROM Orders) SELECT part.*, c.name FROM part JOIN customers c AT (VERSION => 2) "
        "USING (id), sales.regions WHERE EXISTS (SELECT 1 FROM orders)",
        KNOWN,
    )
    assert checked.sources == ("customers", "orders", "sales.regions")
    pinned = check.pinned(checked, 7, "lake")
    assert pinned.count("lake.main.orders AT (VERSION => 7)") == 2
    assert pinned.count("lake.main.customers AS c AT (VERSION => 2)") == 1
    assert pinned.count("lake.sales.regions AT (VERSION => 7)") == 1
    assert pinned.count("lake.") == 4
    assert check.versions(checked) == [("customers", 2)]


def test_comments_do_not_survive(check: QueryCheck) -> None:
    checked = check.check("SELECT /* secret */ a -- more\nFROM orders", KNOWN)
    assert checked.sql == "SELECT a FROM main.orders"
    assert checked.text == "SELECT /* secret */ a -- more\nFROM orders"


def test_a_checked_query_with_other_sources_is_refused(check: QueryCheck) -> None:
    forged = CheckedQuery("", "SELECT * FROM main.customers", ("orders",), (), ())
    with pytest.raises(QueryRefusedError, match="other datasets"):
        check.pinned(forged, 1, "lake")


def test_every_allowed_function_is_one_of_the_engine() -> None:
    with duckdb.connect() as connection:
        rows = connection.execute(
            "SELECT DISTINCT lower(function_name) FROM duckdb_functions() WHERE function_type IN "
            "('scalar', 'aggregate', 'macro')"
        ).fetchall()
    # The parser knows these two by themselves.
    assert functions.ALLOWED - {row[0] for row in rows} == {"->", "unnest"}
    assert len(functions.ALLOWED) > 500


def test_no_function_that_the_engine_calls_volatile_is_taken_for_pure() -> None:
    with duckdb.connect() as connection:
        rows = connection.execute(
            "SELECT DISTINCT lower(function_name) FROM duckdb_functions() WHERE stability <> 'CONSISTENT'"
        ).fetchall()
    told = functions.VOLATILE | functions.RANDOM
    assert {row[0] for row in rows} & functions.ALLOWED - told == {"error"}


def test_the_lists_of_functions_do_not_overlap() -> None:
    lists = (
        functions.NUMBERS, functions.TEXTS, functions.TIMES, functions.NESTED, functions.JSON, functions.CONDITIONS,
        functions.AGGREGATES, functions.WINDOWS, functions.VOLATILE, functions.RANDOM, functions.OPERATORS,
    )  # fmt: skip
    assert sum(map(len, lists)) == len(functions.ALLOWED)
