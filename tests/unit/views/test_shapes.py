"""Which queries can be brought up to date by what has changed, and in which words all others are refused."""

from collections.abc import Iterator, Sequence

import duckdb
import pytest

from prefect_narrative.planes import Column
from prefect_narrative.planes.check import QueryCheck
from prefect_narrative.planes.syntax import Parser
from prefect_narrative.views.reasons import NotIncrementalError
from prefect_narrative.views.shapes import Shape, shape_of

DATASETS = {
    "orders": ("id BIGINT", "k INTEGER", "g VARCHAR", "price DECIMAL(10,2)", "ratio DOUBLE", "tags VARCHAR[]"),
    "items": ("k INTEGER", "name VARCHAR", "small SMALLINT"),
    "odd": ("narrative_k0 INTEGER", "rowid INTEGER"),
}


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:") as connection:
        for name, columns in DATASETS.items():
            connection.execute(f"CREATE TABLE {name} ({', '.join(columns)})")
        yield connection


@pytest.fixture(scope="module")
def check() -> Iterator[QueryCheck]:
    found = QueryCheck()
    yield found
    found.close()


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    found = Parser()
    yield found
    found.close()


@pytest.fixture
def look(engine: duckdb.DuckDBPyConnection, check: QueryCheck, parser: Parser) -> "Look":
    return Look(engine, check, parser)


class Look:
    def __init__(self, engine: duckdb.DuckDBPyConnection, check: QueryCheck, parser: Parser) -> None:
        self.engine, self.check, self.parser = engine, check, parser

    def describe(self, sql: str) -> Sequence[Column]:
        from prefect_narrative.planes.failures import translated

        try:
            return [Column(row[0], row[1]) for row in self.engine.execute(f"DESCRIBE {sql}").fetchall()]
        except duckdb.Error as error:
            raise translated(error) from error

    def __call__(self, query: str) -> Shape:
        columns = {name: self.describe(f"FROM {name}") for name in DATASETS}
        checked = self.check.check(query, DATASETS)
        read = {name: columns[name] for name in checked.sources}
        return shape_of(checked, self.parser, self.describe, read)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM orders",
        "SELECT id + 1 AS a, upper(g) FROM orders WHERE price > 3 AND k IN (1, 2) ORDER BY id",
        "SELECT o.id, i.name FROM orders o JOIN items i USING (k)",
        "SELECT * FROM orders NATURAL JOIN items",
        "SELECT a.id, b.id AS other FROM orders a, orders b WHERE a.k < b.k",
        "SELECT id FROM orders UNION ALL SELECT k FROM items UNION ALL SELECT 1",
        "WITH o AS (SELECT k, id FROM orders WHERE id > 1), p(x) AS (SELECT k FROM o) SELECT * FROM p JOIN o ON x = k",
        "SELECT s.id, unnest(s.tags) AS tag FROM (SELECT * FROM orders WHERE id > 3) s",
        "SELECT o.id, t.tag FROM orders o, unnest(o.tags) AS t(tag)",
        "SELECT o FROM orders o",
        "SELECT id, price + 1 AS more, more * 2 AS most FROM orders WHERE more > 3",
        "SELECT id FROM orders o JOIN (VALUES (1), (2)) v(k) ON o.k = v.k",
        "SELECT id FROM orders JOIN items AS old AT (VERSION => 3) ON old.k = orders.k",
    ],
)
def test_rows_change_with_those_of_their_sources(look: Look, query: str) -> None:
    if "AT (VERSION" in query:  # not known to a plain engine
        look.describe = lambda sql: [Column("id", "BIGINT")]  # type: ignore[method-assign]
    assert look(query).results is None


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("SELECT count(*) AS n FROM orders", ["narrative_n"]),
        ("SELECT k, count(*) FROM orders GROUP BY k", ["narrative_k0", "narrative_n"]),
        ("SELECT count(*), k FROM orders GROUP BY ALL", ["narrative_k0", "narrative_n"]),
        ("SELECT k % 2 AS odd, count(*) FROM orders GROUP BY 1", ["narrative_k0", "narrative_n"]),
        ("SELECT lower(g) AS a, count(*) FROM orders GROUP BY a HAVING a <> 'x'", ["narrative_k0", "narrative_n"]),
        (
            "SELECT o.k, sum(price) AS total, avg(o.price), max(price) - min(price) FROM orders o GROUP BY k",
            [
                "narrative_k0", "narrative_n", "narrative_count0", "narrative_sum0", "narrative_avg0", "narrative_min0",
                "narrative_max0",
            ],
        ),
        (
            "SELECT count(g), count(*) FILTER (WHERE k > 1), sum(id) FILTER (WHERE k > 1) FROM orders",
            ["narrative_n", "narrative_count0", "narrative_count1", "narrative_count2", "narrative_sum2"],
        ),
        ("SELECT DISTINCT k, g FROM orders", ["narrative_k0", "narrative_k1", "narrative_n"]),
        ("SELECT k FROM orders UNION SELECT k FROM items", ["narrative_k0", "narrative_n"]),
        ("SELECT k FROM orders UNION (SELECT DISTINCT k FROM items)", ["narrative_k0", "narrative_n"]),
        ("SELECT name, min(ratio) FROM orders JOIN items USING (k) GROUP BY name",
         ["narrative_k0", "narrative_n", "narrative_count0", "narrative_min0"]),
    ],
)  # fmt: skip
def test_of_groups_no_more_is_kept_than_their_results_need(look: Look, query: str, names: list[str]) -> None:
    results = look(query).results
    assert results is not None
    assert results.names == names


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("SELECT now() AS t FROM orders", r"depends on the time \(now\)"),
        ("SELECT k, row_number() OVER (ORDER BY id) FROM orders", r"window function row_number\(\)"),
        ("SELECT sum(count(*)) OVER () FROM orders GROUP BY k", r"window function sum\(\)"),
        ("SELECT id FROM orders QUALIFY row_number() OVER (ORDER BY id) = 1", "QUALIFY"),
        ("SELECT id FROM orders LIMIT 3", "has LIMIT"),
        ("SELECT id FROM orders ORDER BY id LIMIT 3 OFFSET 1", "has LIMIT"),
        ("SELECT * FROM (SELECT id FROM orders LIMIT 3)", "LIMIT within it"),
        ("SELECT o.id FROM orders o LEFT JOIN items i USING (k)", "a LEFT join: only inner joins"),
        ("SELECT o.id FROM orders o SEMI JOIN items i USING (k)", "a SEMI join"),
        ("SELECT o.id FROM orders o ASOF JOIN items i ON o.k >= i.k", "ASOF join"),
        ("SELECT o.id FROM orders o POSITIONAL JOIN items i", "POSITIONAL join"),
        ("SELECT id FROM orders WHERE k IN (SELECT k FROM items)", "a subquery in an expression"),
        ("SELECT id, (SELECT max(k) FROM items) FROM orders", "a subquery in an expression"),
        ("SELECT id FROM orders o, LATERAL (SELECT o.id + 1 AS x) l", "depends on the rows beside it|DEPENDENT"),
        ("SELECT k FROM orders EXCEPT SELECT k FROM items", "EXCEPT within it"),
        ("SELECT k FROM orders INTERSECT ALL SELECT k FROM items", "INTERSECT ALL within it"),
        ("SELECT k FROM orders UNION ALL (SELECT k FROM items UNION SELECT 1)", "UNION within it"),
        ("WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT n FROM r", "recursive"),
        ("SELECT DISTINCT ON (k) k, id FROM orders", "DISTINCT ON"),
        ("SELECT * FROM (SELECT DISTINCT k FROM orders)", "DISTINCT within it"),
        ("SELECT DISTINCT count(*) FROM orders GROUP BY k", "DISTINCT over groups"),
        ("SELECT DISTINCT ratio FROM orders", "tells rows apart by a DOUBLE"),
        ("SELECT DISTINCT tags FROM orders", r"tells rows apart by a VARCHAR\[\]"),
        ("SELECT ratio, count(*) FROM orders GROUP BY ratio", "tells rows apart by a DOUBLE"),
        ("SELECT sum(ratio) FROM orders", "sum of a DOUBLE, which depends on the order of addition"),
        ("SELECT avg(ratio) FROM orders", "avg of a DOUBLE"),
        ("SELECT min(tags) FROM orders", r"min of a VARCHAR\[\]"),
        ("SELECT k, string_agg(g) FROM orders GROUP BY k", r"string_agg\(\): only count"),
        ("SELECT median(price) FROM orders", r"median\(\): only count"),
        ("SELECT count(DISTINCT k) FROM orders", r"count\(DISTINCT"),
        ("SELECT min(k, 2) FROM orders", r"min\(\): only count"),
        ("SELECT sum(price ORDER BY id) FROM orders", "with an order"),
        ("SELECT k, g, count(*) FROM orders GROUP BY ROLLUP (k, g)", "several groupings"),
        ("SELECT k, g, count(*) FROM orders GROUP BY GROUPING SETS ((k, g), ())", "several groupings"),
        ("SELECT a.n FROM (SELECT k, count(*) AS n FROM orders GROUP BY k) a", "groups within it"),
        ("SELECT k FROM orders GROUP BY k UNION ALL SELECT k FROM items", "groups within it"),
        ("SELECT k, unnest([1, 2]), count(*) FROM orders GROUP BY k", "unfolds lists"),
        (
            "SELECT lower(g) AS g, count(*) FROM orders GROUP BY g HAVING g = 'x'",
            "In HAVING g is the name of two columns",
        ),
        ("SELECT k + 1 AS z, count(*) FROM orders WHERE z > 1 GROUP BY k", "names beyond where they are given"),
        ("SELECT id, rowid AS place FROM orders", "only stored rows have"),
        ("SELECT narrative_k0 FROM odd", "Names that begin with narrative_ are ours"),
        ("SELECT k AS narrative_x FROM orders", "Names that begin with narrative_ are ours"),
    ],
)
def test_every_other_query_is_refused_with_the_reason(look: Look, query: str, reason: str) -> None:
    with pytest.raises(NotIncrementalError, match=reason):
        look(query)


def test_more_than_a_few_joins_are_not_looked_at(look: Look) -> None:
    query = "SELECT a0.id FROM " + " JOIN ".join(
        f"orders a{n}" + (f" ON a0.id = a{n}.id" if n else "") for n in range(17)
    )
    with pytest.raises(NotIncrementalError, match="joins 17 datasets"):
        look(query)
