"""Checking a query and writing it anew must not change what it says: same columns, same types, same rows."""

# ruff: noqa: E501  (queries as somebody would write them)

import warnings
from collections.abc import Iterator

import duckdb
import pytest
from plane_samples import SAMPLES

from prefect_narrative.planes import Plane

QUERIES = [
    "SELECT * FROM orders",
    "FROM orders",
    "TABLE orders",
    "FROM orders SELECT order_id WHERE order_id < 5",
    'SELECT order_id AS "Order Id", "amount" FROM ORDERS',
    "SELECT orders.order_id, main.orders.amount FROM orders",
    "SELECT o.* EXCLUDE (tags, address) REPLACE (amount * 2 AS amount) RENAME (item AS thing) FROM orders AS o",
    "SELECT COLUMNS('order.*') FROM orders",
    "SELECT COLUMNS(c -> c LIKE 'a%') FROM orders",
    "SELECT min(COLUMNS(* EXCLUDE (tags, address))) FROM orders",
    "SELECT customer_id, count(*), sum(amount), avg(amount)::DECIMAL(18, 4) FROM orders GROUP BY customer_id",
    "SELECT customer_id, item, count(*) AS n FROM orders GROUP BY ALL ORDER BY ALL",
    "SELECT customer_id, item, sum(amount), grouping(item) FROM orders GROUP BY ROLLUP (customer_id, item)",
    "SELECT customer_id, item, count(*) FROM orders GROUP BY CUBE (customer_id, item) HAVING count(*) > 3",
    "SELECT customer_id, item, count(*) FROM orders GROUP BY GROUPING SETS ((customer_id), (item), ())",
    "SELECT count(*) FILTER (WHERE amount > 10), count(DISTINCT item), sum(amount) FILTER (item IS NOT NULL) FROM orders",
    "SELECT DISTINCT item FROM orders",
    "SELECT DISTINCT ON (customer_id) customer_id, order_id FROM orders ORDER BY customer_id, order_id DESC",
    "SELECT order_id, row_number() OVER (PARTITION BY customer_id ORDER BY order_id) AS n FROM orders QUALIFY n <= 2",
    "SELECT order_id, lag(amount, 2, 0) OVER w, first_value(item IGNORE NULLS) OVER w FROM orders "
    "WINDOW w AS (PARTITION BY customer_id ORDER BY order_id)",
    "SELECT order_id, sum(amount) OVER (ORDER BY ordered_on, order_id ROWS BETWEEN 3 PRECEDING AND 1 FOLLOWING "
    "EXCLUDE CURRENT ROW) FROM orders",
    "SELECT order_id, count(*) OVER (ORDER BY ordered_on RANGE BETWEEN INTERVAL 3 DAYS PRECEDING AND INTERVAL 1 DAY "
    "FOLLOWING) FROM orders",
    "SELECT order_id, ntile(4) OVER (ORDER BY order_id), percent_rank() OVER (ORDER BY order_id) FROM orders",
    "SELECT order_id, count(DISTINCT item) OVER (PARTITION BY customer_id) FROM orders",
    "SELECT * FROM orders JOIN customers USING (customer_id)",
    "SELECT o.order_id, c.name FROM orders o LEFT JOIN customers c ON o.customer_id = c.customer_id AND c.active",
    "SELECT o.order_id, r.name FROM orders o, sales.regions r WHERE o.order_id % 3 = r.region_id",
    "SELECT count(*) FROM orders CROSS JOIN customers LEFT JOIN sales.regions ON region_id = order_id",
    "SELECT count(*) FROM orders, customers LEFT JOIN sales.regions r ON r.region_id = customers.customer_id",
    "SELECT count(*) FROM orders o JOIN (customers c JOIN sales.regions r ON c.customer_id = r.region_id) "
    "ON o.customer_id = c.customer_id",
    "SELECT count(*) FROM orders FULL OUTER JOIN sales.regions ON order_id = region_id * 100",
    "SELECT count(*) FROM customers NATURAL JOIN orders",
    "SELECT count(*) FROM orders SEMI JOIN sales.regions ON customer_id = region_id",
    "SELECT count(*) FROM orders ANTI JOIN sales.regions ON customer_id = region_id",
    "SELECT o.order_id, c.name FROM orders o ASOF JOIN customers c ON o.ordered_at >= c.since",
    "SELECT o.order_id, c.name FROM orders o ASOF LEFT JOIN customers c "
    "ON o.customer_id = c.customer_id AND o.ordered_at >= c.since",
    "SELECT o.order_id, tag FROM orders o, unnest(o.tags) AS t(tag)",
    "SELECT order_id, unnest(tags) AS tag FROM orders",
    "SELECT order_id, unnest(address) FROM orders",
    "SELECT order_id, x.twice FROM orders, LATERAL (SELECT amount * 2 AS twice) AS x",
    "SELECT order_id FROM orders WHERE amount > (SELECT avg(amount) FROM orders)",
    "SELECT name FROM customers c WHERE EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = c.customer_id)",
    "SELECT name FROM customers WHERE customer_id NOT IN (SELECT customer_id FROM orders)",
    "SELECT order_id FROM orders WHERE (customer_id, item) IN (SELECT customer_id, item FROM orders WHERE order_id < 9)",
    "SELECT order_id FROM orders WHERE amount >= ALL (SELECT amount FROM orders WHERE order_id < 20)",
    "SELECT order_id FROM orders WHERE amount = ANY ([1, 2, 3.25])",
    "WITH big AS (SELECT * FROM orders WHERE amount > 20), named AS MATERIALIZED (SELECT * FROM big JOIN customers "
    "USING (customer_id)) SELECT name, count(*) FROM named GROUP BY name",
    "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 20) SELECT * FROM numbers",
    "WITH RECURSIVE numbers(n) AS (VALUES (1) UNION SELECT n * 2 % 11 FROM numbers) SELECT * FROM numbers",
    "WITH a AS (SELECT 1 AS x), b AS (SELECT x + 1 AS y FROM a) SELECT * FROM a, b",
    "SELECT * FROM (WITH inner_part AS (SELECT 3 AS z) SELECT z FROM inner_part)",
    "SELECT order_id FROM orders WHERE order_id < 5 UNION ALL SELECT customer_id FROM customers",
    "SELECT order_id AS id FROM orders UNION SELECT customer_id FROM customers ORDER BY id LIMIT 5 OFFSET 2",
    "SELECT 1 AS a, 2 AS b UNION ALL BY NAME SELECT 3 AS b",
    "SELECT order_id FROM orders EXCEPT (SELECT customer_id FROM customers INTERSECT SELECT region_id FROM sales.regions)",
    "SELECT i FROM range(10) t(i) EXCEPT ALL SELECT 1 INTERSECT ALL SELECT 1",
    "(SELECT 1 AS a ORDER BY a LIMIT 1) UNION ALL (SELECT 2 ORDER BY 1 LIMIT 1)",
    "VALUES (1, 'a'), (2, 'b')",
    "SELECT * FROM (VALUES (1, 'a'), (2, NULL)) AS v(x, y)",
    "SELECT * FROM (VALUES (1), (2)) v JOIN (VALUES (2), (3)) w ON v.col0 = w.col0",
    "SELECT order_id FROM orders ORDER BY item DESC NULLS FIRST, order_id LIMIT 7",
    "SELECT order_id FROM orders ORDER BY order_id LIMIT (SELECT 4) OFFSET 1 + 1",
    "SELECT order_id FROM orders ORDER BY 1 LIMIT 10%",
    "SELECT list_transform(tags, x -> x + 1), list_filter(tags, lambda x, i: x % 2 = 0 AND i > 0) FROM orders",
    "SELECT [x * 2 FOR x IN tags IF x > 10] FROM orders",
    "SELECT list_reduce(tags, (a, b) -> a + b), list_aggregate(tags, 'max'), tags[1], tags[-1:], tags[1:2:2] FROM orders",
    "SELECT address.city, address['zip'], struct_pack(a := 1, b := 'x'), {'k': [1, NULL]}, row(1, 'x') FROM orders",
    "SELECT struct_insert(address, country := 'NL') FROM orders",
    "SELECT MAP {'a': 1, 'b': 2}['b'], map_keys(MAP {'a': 1}), MAP([1, 2], ['x', 'y'])",
    "SELECT ordered_on + INTERVAL 1 MONTH, ordered_on - INTERVAL '2' DAY, ordered_at + INTERVAL (order_id) HOUR, "
    "ordered_on + 3, ordered_at - ordered_on FROM orders",
    "SELECT date_trunc('month', ordered_at), extract(dow FROM ordered_on), date_part('year', ordered_on), "
    "date_diff('day', DATE '2024-01-01', ordered_on), strftime(ordered_at, '%Y-%m'), time_bucket(INTERVAL '1 week', "
    "ordered_on), age(ordered_at, TIMESTAMP '2020-01-01') FROM orders",
    "SELECT ordered_at AT TIME ZONE 'UTC', TIMESTAMPTZ '2024-01-01 00:00:00+02' FROM orders LIMIT 1",
    "SELECT DATE '2024-02-29', TIME '10:00:00.5', TIMESTAMP '2024-01-01 01:02:03', TIMESTAMP_NS '2024-01-01', "
    "INTERVAL '1 year 2 days', UUID '6f1c1f1e-0000-4000-8000-000000000000'",
    "SELECT CASE WHEN amount > 20 THEN 'big' WHEN amount > 10 THEN 'mid' ELSE 'small' END, CASE item WHEN 'item 1' "
    "THEN 1 END, if(amount > 5, 'a', 'b'), coalesce(item, '-'), nullif(customer_id, 3), ifnull(item, 'x') FROM orders",
    "SELECT CAST(amount AS INTEGER), amount::VARCHAR, TRY_CAST(item AS INTEGER), '12'::TINYINT, CAST('a' AS ENUM('a')), "
    "[1, 2]::DOUBLE[], '{\"a\": 1}'::JSON, NULL::STRUCT(a INTEGER, b VARCHAR[]), 5::DECIMAL(9, 3) FROM orders",
    "SELECT item ILIKE 'ITEM%', item NOT LIKE '%1', item SIMILAR TO 'item [12]', regexp_matches(item, '^i'), item ~ 'item.*', "
    "item GLOB 'it*', item LIKE 'a!_b' ESCAPE '!' FROM orders",
    "SELECT upper(item) || '-' || left(item, 2), substring(item FROM 2 FOR 3), position('m' IN item), trim(BOTH 'i' FROM "
    "item), item.upper().substr(2), concat_ws(',', item, customer_id), format('{:03d}', customer_id), item[1:2] FROM orders",
    "SELECT -amount, +amount, amount % 3, customer_id // 2, customer_id / 2, 2 ** 3, 2 ^ 3, customer_id & 3, customer_id | 8, "
    "customer_id << 2, ~customer_id, @(-amount), -(-1), - -1, NOT true, 5 - (3 - 1), (5 - 3) - 1, 2 * (3 + 4) FROM orders",
    "SELECT true AND NOT false OR false, NOT (true AND false), (1 = 1) IS NOT TRUE, NULL IS UNKNOWN, 1 IS DISTINCT FROM NULL, "
    "NULL IS NOT DISTINCT FROM NULL, 1 BETWEEN 0 AND 2, 3 NOT BETWEEN 1 AND 2, 1 IN (1, NULL), 1 <> 2, 1 != 2, 1 == 1",
    "SELECT 1e5, 1.5e-3, 1.50, 100, 12345678901234567890, 123456789012345678901234567890, 0.1 + 0.2, -1e5, 1_000",
    "SELECT 'it''s', e'tab\\there', $$dollar$$, '', 'ünïcödé ☃', '\\x41'::BLOB, 'a\"b', 'a;b -- c'",
    "SELECT quantile_cont(amount, 0.5), quantile_disc(amount, [0.1, 0.9]), median(amount), mode(customer_id), "
    "arg_max(item, amount), string_agg(item, ',' ORDER BY order_id DESC), list(order_id ORDER BY order_id)[1:3], "
    "percentile_cont(0.25) WITHIN GROUP (ORDER BY amount), histogram(customer_id), approx_count_distinct(order_id), "
    "stddev_pop(amount)::DECIMAL(18, 6), bool_or(item IS NULL), max(order_id, 3), any_value(customer_id) IS NOT NULL FROM orders",
    "SELECT json_extract('{\"a\": [1, 2]}', '$.a[1]'), '{\"a\": {\"b\": 1}}'::JSON->'a'->>'b', to_json(address) FROM orders",
    "SELECT TRY(CAST(item AS INTEGER)), try_cast(item AS DATE) FROM orders",
    "SELECT a: 1, b: a + 1",
    "SELECT order_id AS x, x + 1 AS y FROM orders WHERE y > 190",
    "SELECT #1, #2 FROM (SELECT order_id, customer_id FROM orders)",
    "SELECT * FROM generate_series(1, 10, 3) AS g(n), range(2) AS r(m)",
    "SELECT generate_series, range FROM generate_series(1, 2), range(2)",
    "SELECT * FROM unnest([1, 2, 3]) WITH ORDINALITY AS u(x, position_of_x)",
    "SELECT * FROM (SELECT customer_id, item, amount FROM orders) PIVOT (sum(amount) FOR item IN ('item 1', 'item 2'))",
    "SELECT * FROM (SELECT order_id, customer_id, amount FROM orders) UNPIVOT (value FOR name IN (customer_id, amount))",
    "SELECT * FROM (UNPIVOT (SELECT order_id, customer_id, amount FROM orders) ON customer_id, amount INTO NAME n VALUE v)",
    "SELECT item COLLATE NOCASE = 'ITEM 1', item FROM orders ORDER BY item COLLATE NOCASE, order_id",
    "SELECT o1.order_id FROM orders o1 POSITIONAL JOIN (SELECT 1 AS one) p WHERE p.one = 1",
    "SELECT count(*) FROM orders o JOIN orders AS p ON o.order_id = p.order_id + 1",
    "SELECT /* a comment; DROP TABLE orders */ 1 -- and one more\n;",
    "SELECT 1;;",
    'SELECT "select", "weird ""name" FROM (SELECT 1 AS "select", 2 AS "weird ""name")',
    "SELECT sum(sum(amount)) OVER (ORDER BY customer_id) FROM orders GROUP BY customer_id",
    "SELECT *, count(*) OVER () AS n FROM orders WHERE order_id < 3",
    "SELECT (SELECT max(order_id) FROM orders o WHERE o.customer_id = c.customer_id) AS newest FROM customers c",
    "SELECT exists(FROM orders WHERE amount < 0), NOT EXISTS (FROM orders)",
    "SELECT date_trunc('week', ordered_on) AS week, customer_id, sum(amount) AS total, "
    "sum(sum(amount)) OVER (PARTITION BY customer_id ORDER BY date_trunc('week', ordered_on)) AS running FROM orders GROUP BY week, customer_id",
    "SELECT array_value(1, 2, 3), [1, 2]::INTEGER[2], array_length([[1], [2]]), list_value(), [], [NULL]",
]


@pytest.fixture(scope="module")
def bare() -> Iterator[duckdb.DuckDBPyConnection]:
    """The sample datasets as DuckDB's own tables, where queries run as they were written."""
    connection = duckdb.connect(":memory:", config={"threads": "2"})
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("CREATE SCHEMA sales")
    for name, query in SAMPLES.items():
        connection.execute(f"CREATE TABLE {name} AS {query}")
    yield connection
    connection.close()


@pytest.mark.parametrize("query", QUERIES, ids=[f"{number}-{query[:50]}" for number, query in enumerate(QUERIES)])
def test_the_query_that_runs_says_what_was_written(
    sample_plane: Plane, bare: duckdb.DuckDBPyConnection, query: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = [(row[0], row[1]) for row in bare.execute(f"DESCRIBE {query.rstrip(';')}").fetchall()]
        rows = bare.execute(query).fetchall()
    read = sample_plane.read(sample_plane.check(query), limit=1_000_000)
    assert [column.type for column in read.columns] == [kind for _, kind in expected]
    if "->" not in query and "lambda" not in query and " FOR x IN " not in query:  # a lambda's text is written anew
        assert [plain(column.name) for column in read.columns] == [plain(name) for name, _ in expected]
    if "ORDER BY" in query.upper() and "OVER" not in query.upper():
        assert list(map(repr, read.rows)) == list(map(repr, rows))
    else:
        assert sorted(map(repr, read.rows)) == sorted(map(repr, rows))
    assert rows


def plain(name: str) -> str:
    """Return a column's name without the quotes and spaces with which DuckDB writes some types."""
    return name.replace('"', "").replace(", ", ",")


def test_columns_are_called_the_same_in_every_snapshot(sample_plane: Plane) -> None:
    checked = sample_plane.check(
        "SELECT *, exists(FROM orders), (SELECT max(order_id) FROM orders) + 1 FROM (SELECT exists(FROM customers))"
    )
    newest = sample_plane.snapshot()
    names = {tuple(column.name for column in sample_plane.describe(checked, at)) for at in (newest - 1, newest)}
    assert len(names) == 1


def test_the_written_query_is_a_fixed_point(sample_plane: Plane) -> None:
    for query in QUERIES:
        checked = sample_plane.check(query)
        again = sample_plane.check(checked.sql)
        assert (again.sql, again.sources) == (checked.sql, checked.sources)


@pytest.mark.parametrize(
    ("query", "volatile", "random"),
    [
        (
            "SELECT now(), current_date, CURRENT_TIMESTAMP, today()",
            ("current_date", "current_timestamp", "now", "today"),
            (),
        ),
        ("SELECT age(ordered_at) FROM orders", ("age",), ()),
        ("SELECT ordered_at.age() FROM orders", ("age",), ()),
        ("SELECT age(ordered_at, ordered_at) FROM orders", (), ()),
        ("SELECT get_current_timestamp(), ago(INTERVAL 1 DAY)", ("ago", "get_current_timestamp"), ()),
        ("SELECT random(), uuid(), gen_random_uuid()", (), ("gen_random_uuid", "random", "uuid")),
        ("SELECT * FROM orders TABLESAMPLE 10%", (), ("tablesample",)),
        ("SELECT * FROM orders USING SAMPLE 5 ROWS", (), ("tablesample",)),
        ("SELECT list_aggregate([1], 'reservoir_quantile', 0.5)", (), ("reservoir_quantile",)),
        ("SELECT localtime, localtimestamp", ("localtime", "localtimestamp"), ()),
        ("SELECT max(order_id) FROM orders WHERE ordered_on < (SELECT today())", ("today",), ()),
    ],
)
def test_what_depends_on_time_or_chance_is_told(
    sample_plane: Plane, query: str, volatile: tuple[str, ...], random: tuple[str, ...]
) -> None:
    checked = sample_plane.check(query)
    assert (checked.volatile, checked.random) == (volatile, random)
    sample_plane.describe(checked)


@pytest.mark.parametrize(
    ("query", "sources"),
    [
        ("SELECT 1", ()),
        ("SELECT * FROM Orders o JOIN main.CUSTOMERS USING (customer_id)", ("customers", "orders")),
        ("WITH x AS (FROM sales.regions) SELECT * FROM x, (SELECT * FROM orders)", ("orders", "sales.regions")),
        (
            "SELECT (SELECT count(*) FROM customers), list_transform([1], i -> (SELECT max(order_id) FROM orders))",
            ("customers", "orders"),
        ),
        ("SELECT * FROM main.regions_of_nobody", None),
    ],
)
def test_sources_are_found_wherever_they_stand(
    sample_plane: Plane, query: str, sources: tuple[str, ...] | None
) -> None:
    if sources is None:
        with pytest.raises(LookupError, match="regions_of_nobody"):
            sample_plane.check(query)
    else:
        assert sample_plane.check(query).sources == sources
