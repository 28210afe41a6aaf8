"""Which columns of a query derive from sensitive ones: the clean are named, everything else counts as sensitive."""

from collections.abc import Iterator

import pytest

from prefect_narrative.planes.check import QueryCheck
from prefect_narrative.planes.derivation import derive
from prefect_narrative.planes.outputs import Named, Outputs
from prefect_narrative.planes.syntax import Parser

DATASETS: dict[str, list[Named]] = {
    "people": [("id", False), ("Email", True), ("city", False), ("salary", True)],
    "orders": [("id", False), ("person_id", False), ("amount", False), ("notes", False)],
    "former": [("id", False), ("email", True)],
    "guesses": [("guess", False), ("more", False)],
}


@pytest.fixture(scope="module")
def tools() -> Iterator[tuple[QueryCheck, Parser]]:
    check, parser = QueryCheck(), Parser()
    yield check, parser
    check.close()
    parser.close()


def outputs(tools: tuple[QueryCheck, Parser], text: str) -> Outputs:
    check, parser = tools
    tree = parser.tree(check.check(text, DATASETS, deltas=True).sql)
    return derive(tree["node"], lambda name, _: DATASETS[name])


@pytest.mark.parametrize(
    ("query", "columns"),
    [
        ("SELECT id, email FROM people", [("id", False), ("email", True)]),
        ("SELECT * FROM people", [("id", False), ("Email", True), ("city", False), ("salary", True)]),
        ("SELECT p.* EXCLUDE (email) FROM people AS p", [("id", False), ("city", False), ("salary", True)]),
        ("SELECT * REPLACE ('x' AS email) FROM former", [("id", False), ("email", False)]),
        ("SELECT * REPLACE (email AS id) FROM former", [("id", True), ("email", True)]),
        ("SELECT * RENAME (email AS e) FROM former", [("id", False), ("e", True)]),
        ("SELECT id AS a, email AS b FROM former", [("a", False), ("b", True)]),
        ("SELECT id AS a, lower(email) AS b, b || 'x' AS c, a + 1 AS d FROM former",
         [("a", False), ("b", True), ("c", True), ("d", False)]),
        ("SELECT EMAIL.length() AS n, id.abs() AS m FROM former", [("n", True), ("m", False)]),
        ("SELECT city, max(salary) AS m, count(*) AS n FROM people GROUP BY city",
         [("city", False), ("m", True), ("n", False)]),
        ("SELECT city, max(salary) AS m FROM people GROUP BY ALL", [("city", False), ("m", True)]),
        ("SELECT city, max(salary) AS m FROM people GROUP BY 1 ORDER BY 1", [("city", False), ("m", True)]),
        ("SELECT count(*) AS n FROM people", [("n", False)]),
        ("SELECT p AS whole, p.id FROM former AS p", [("whole", True), ("id", False)]),
        ("SELECT o.amount, p.email FROM orders AS o JOIN people AS p ON o.person_id = p.id",
         [("amount", False), ("email", True)]),
        ("SELECT * FROM orders JOIN former USING (id)",
         [("id", False), ("person_id", False), ("amount", False), ("notes", False), ("email", True)]),
        ("SELECT * FROM orders SEMI JOIN former USING (id)",
         [("id", False), ("person_id", False), ("amount", False), ("notes", False)]),
        ("SELECT a.id FROM people AS a NATURAL JOIN orders AS b", [("id", False)]),
        ("WITH c(x, y) AS (SELECT id, email FROM former) SELECT y, x FROM c", [("y", True), ("x", False)]),
        ("SELECT b, a FROM (SELECT id, email FROM former) AS s(a, b)", [("b", True), ("a", False)]),
        ("SELECT id, email FROM people UNION ALL SELECT id, notes FROM orders", [("id", False), ("email", True)]),
        ("SELECT notes, id FROM orders UNION ALL SELECT email, id FROM former", [("notes", True), ("id", False)]),
        ("SELECT id, (SELECT max(email) FROM former) AS top FROM orders", [("id", False), ("top", True)]),
        ("SELECT id, EXISTS (SELECT id FROM former AS f WHERE f.id = o.id) AS known FROM orders AS o",
         [("id", False), ("known", False)]),
        ("SELECT id, (SELECT o.amount) AS same FROM orders AS o, (SELECT email FROM former) AS e",
         [("id", False), ("same", False)]),
        ("SELECT id, row_number() OVER (ORDER BY salary) AS place FROM people", [("id", False), ("place", True)]),
        ("SELECT id, sum(1) FILTER (email IS NULL) OVER () AS n FROM former", [("id", False), ("n", True)]),
        ("SELECT id, list_transform([1], lambda x: x + salary) AS l FROM people", [("id", False), ("l", True)]),
        ("SELECT id, CASE WHEN salary > 5 THEN 1 END AS rich FROM people", [("id", False), ("rich", True)]),
        ("SELECT i FROM range(3) AS r(i)", [("i", False)]),
        ("SELECT * FROM DELTA(TABLE former)", [("id", False), ("email", True)]),
    ],
)  # fmt: skip
def test_each_column_is_told(tools: tuple[QueryCheck, Parser], query: str, columns: list[Named]) -> None:
    found = outputs(tools, query)
    assert not found.rows
    assert found.columns == tuple(columns)
    assert {name for name, _ in columns if found.has(name)} == {name for name, sensitive in columns if sensitive}


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id FROM people WHERE salary < 5",
        "SELECT guess FROM guesses JOIN people ON guess = salary",
        "SELECT guess FROM guesses, people WHERE salary = guess",
        "SELECT guess FROM guesses JOIN (SELECT salary AS guess FROM people) AS p USING (guess)",
        "SELECT guess FROM guesses NATURAL JOIN (SELECT salary AS guess FROM people) AS p",
        "SELECT guess FROM guesses SEMI JOIN people ON guess = salary",
        "SELECT count(*) FROM people GROUP BY salary",
        "SELECT salary, count(*) FROM people GROUP BY ALL",
        "SELECT city, salary FROM people GROUP BY 1, 2",
        "SELECT city FROM people GROUP BY city HAVING max(salary) > 5",
        "SELECT id FROM people QUALIFY row_number() OVER (ORDER BY salary) = 1",
        "SELECT id FROM people ORDER BY salary",
        "SELECT id, salary FROM people ORDER BY 2",
        "SELECT id, salary AS s FROM people ORDER BY s LIMIT 1",
        "SELECT id FROM people ORDER BY p.salary".replace("people", "people AS p"),
        "SELECT id FROM orders LIMIT (SELECT max(salary) FROM people)",
        "SELECT DISTINCT city, salary FROM people",
        "SELECT DISTINCT ON (salary) id FROM people",
        "SELECT guess, guess AS g FROM guesses INTERSECT SELECT salary, guess FROM people, guesses",
        "SELECT guess FROM guesses EXCEPT SELECT salary FROM people",
        "SELECT guess FROM guesses UNION SELECT salary FROM people",
        "SELECT id, unnest(range(salary)) AS i FROM people",
        "SELECT i FROM people, range(people.salary) AS r(i)",
        "SELECT x FROM people, (SELECT salary AS s) AS l, (SELECT 1 AS x WHERE l.s > 1) AS m",
        "SELECT count(*) FROM (SELECT 1 FROM people WHERE salary < 5)",
        "WITH c AS (SELECT id FROM people WHERE salary < 5) SELECT count(*) FROM c",
        "SELECT guess FROM guesses WHERE guess IN (SELECT salary FROM people)",
        "SELECT guess FROM guesses WHERE EXISTS (SELECT 1 FROM people WHERE salary = guess)",
        "SELECT guess FROM guesses AS g WHERE (SELECT g.guess = max(salary) FROM people)",
        "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r, people WHERE i < salary) SELECT i FROM r",
    ],
)
def test_what_decides_about_rows_makes_all_of_them_sensitive(tools: tuple[QueryCheck, Parser], query: str) -> None:
    found = outputs(tools, query)
    assert found.rows
    assert found.has("whatever")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT COLUMNS('.*') FROM former",
        "SELECT COLUMNS(*) AS 'c_\\0' FROM former",
        "SELECT min(COLUMNS(*)) FROM former",
        "SELECT #2 FROM former",
        "SELECT unnest({'a': email}) FROM former",
        # The second column of this name gets another one from the engine.
        "SELECT * FROM (SELECT p.email, f.email FROM people AS p JOIN former AS f ON p.id = f.id)",
        "SELECT * FROM (SELECT n.id AS email, f.email FROM orders AS n JOIN former AS f ON n.id = f.id)",
        "SELECT * FROM (SELECT email AS id, n.id FROM orders AS n JOIN former AS f ON n.id = f.id)",
    ],
)
def test_columns_whose_names_can_not_be_told_are_all_sensitive(tools: tuple[QueryCheck, Parser], query: str) -> None:
    found = outputs(tools, query)
    assert (found.every, found.has("whatever")) == (True, True)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM orders AS a JOIN guesses AS b ON a.amount = b.guess WHERE a.id > 3 ORDER BY 1",
        "SELECT COLUMNS('.*'), #1 FROM orders",
        "SELECT DISTINCT notes FROM orders INTERSECT SELECT guess FROM guesses",
        "PIVOT orders ON notes IN ('a', 'b') USING sum(amount)",
        "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 3) SELECT i FROM r",
        "SELECT id FROM people WHERE id IN (SELECT person_id FROM orders) ORDER BY city",
    ],
)
def test_what_reads_nothing_sensitive_is_clean(tools: tuple[QueryCheck, Parser], query: str) -> None:
    found = outputs(tools, query)
    assert (found.any, found.rows) == (False, False)
