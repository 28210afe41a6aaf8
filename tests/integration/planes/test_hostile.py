"""Queries, names and paths of somebody who means harm, or who pasted the wrong thing: each refused with a reason."""

import os
import re
from pathlib import Path
from uuid import uuid4

import pytest
from plane_samples import rows_of, settings_for

from prefect_narrative.errors import NarrativeError
from prefect_narrative.planes import CheckedQuery, Plane, open_plane
from prefect_narrative.planes.connection import Place, execute_one, open_importer, open_reader
from prefect_narrative.planes.errors import (
    DatasetNotFoundError,
    ImportRefusedError,
    InvalidNameError,
    QueryRefusedError,
    SnapshotNotFoundError,
    UnreadableFileError,
)
from prefect_narrative.settings import Settings

REFUSED = QueryRefusedError
MISSING = DatasetNotFoundError

QUERIES: list[tuple[str, type[NarrativeError], str]] = [
    # Not one SELECT
    ("", REFUSED, "empty"),
    ("  \n\t", REFUSED, "empty"),
    ("-- nothing", REFUSED, "0 statements"),
    (";", REFUSED, "0 statements"),
    ("SELECT 1; SELECT 2", REFUSED, "2 statements"),
    ("SELECT 1; DROP TABLE orders", REFUSED, "exactly one SELECT"),
    ("SELECT 1 /* ; */ ; DELETE FROM orders -- ", REFUSED, "exactly one SELECT"),
    ("INSERT INTO orders SELECT * FROM orders", REFUSED, "INSERT"),
    ("UPDATE orders SET amount = 0", REFUSED, "UPDATE"),
    ("DELETE FROM orders", REFUSED, "DELETE"),
    ("MERGE INTO orders USING customers ON true WHEN MATCHED THEN DELETE", REFUSED, "MERGE"),
    ("TRUNCATE orders", REFUSED, "exactly one SELECT"),
    ("DROP TABLE orders", REFUSED, "DROP"),
    ("CREATE TABLE x AS SELECT 1", REFUSED, "CREATE"),
    ("CREATE VIEW x AS SELECT 1", REFUSED, "CREATE"),
    ("CREATE MACRO f(x) AS x + 1", REFUSED, "CREATE"),
    ("CREATE TEMP TABLE x AS SELECT 1", REFUSED, "CREATE"),
    ("ALTER TABLE orders ADD COLUMN x INT", REFUSED, "ALTER"),
    ("COPY orders TO '/tmp/orders.csv'", REFUSED, "COPY"),
    ("COPY (SELECT 1) TO '/tmp/x.parquet'", REFUSED, "COPY"),
    ("ATTACH '/tmp/x.db'", REFUSED, "ATTACH"),
    ("DETACH lake", REFUSED, "DETACH"),
    ("USE lake", REFUSED, "USE"),
    ("PRAGMA database_list", REFUSED, "exactly one SELECT"),
    ("PRAGMA table_info('orders')", REFUSED, "exactly one SELECT"),
    ("SET threads = 1", REFUSED, "SET"),
    ("RESET threads", REFUSED, "RESET"),
    ("INSTALL httpfs", REFUSED, "INSTALL"),
    ("LOAD httpfs", REFUSED, "LOAD"),
    ("EXPLAIN SELECT 1", REFUSED, "EXPLAIN"),
    ("EXPLAIN ANALYZE SELECT 1", REFUSED, "EXPLAIN"),
    ("CALL ducklake_expire_snapshots('lake', older_than => now())", REFUSED, "CALL"),
    ("CHECKPOINT", REFUSED, "exactly one SELECT"),
    ("VACUUM", REFUSED, "VACUUM"),
    ("BEGIN", REFUSED, "exactly one SELECT"),
    ("COMMIT", REFUSED, "exactly one SELECT"),
    ("PREPARE p AS SELECT 1", REFUSED, "PREPARE"),
    ("EXECUTE p", REFUSED, "EXECUTE"),
    ("EXPORT DATABASE '/tmp/x'", REFUSED, "EXPORT"),
    ("IMPORT DATABASE '/tmp/x'", REFUSED, "exactly one SELECT"),
    ("CREATE SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')", REFUSED, "CREATE"),
    ("DESCRIBE orders", REFUSED, "DESCRIBE"),
    ("SUMMARIZE orders", REFUSED, "SUMMARIZE"),
    ("SHOW TABLES", REFUSED, "SHOW"),
    ("SHOW ALL TABLES", REFUSED, "SHOW"),
    ("SELECT * FROM (DESCRIBE orders)", REFUSED, "DESCRIBE"),
    ("SELECT * FROM (SHOW ALL TABLES)", REFUSED, "SHOW"),
    ("WITH x AS (INSERT INTO orders SELECT 1 RETURNING *) SELECT * FROM x", REFUSED, "CTE needs a SELECT"),
    ("WITH x AS (DELETE FROM orders RETURNING *) SELECT * FROM x", REFUSED, "CTE needs a SELECT"),
    ("WITH x AS (SELECT 1) DELETE FROM orders", REFUSED, "exactly one SELECT"),
    ("WITH x AS (SELECT 1) INSERT INTO orders FROM x", REFUSED, "exactly one SELECT"),
    ("SELECT 1 INTO x", REFUSED, "INTO"),
    ("SELECT * FROM orders FOR UPDATE", REFUSED, "locking"),
    ("SELEKT 1", REFUSED, "syntax error"),
    ("SELECT (1", REFUSED, "syntax error"),
    ("SELECT 'open", REFUSED, "unterminated"),
    ("SELECT 1 /* open", REFUSED, "unterminated"),
    ("PIVOT orders ON item USING sum(amount)", REFUSED, "PIVOT"),
    # Files and replacement scans
    ("SELECT * FROM '/etc/passwd'", REFUSED, "reads no files"),
    ("SELECT * FROM 'x.csv'", REFUSED, "reads no files"),
    ('SELECT * FROM "x.parquet"', REFUSED, "reads no files"),
    ("FROM 'https://example.com/x.parquet'", REFUSED, "reads no files"),
    ("SELECT * FROM 's3://bucket/x.parquet'", REFUSED, "reads no files"),
    ('SELECT * FROM "orders.csv" AS orders', REFUSED, "reads no files"),
    ('SELECT * FROM main."a/b"', REFUSED, "reads no files"),
    ("SELECT * FROM read_csv('/etc/passwd')", REFUSED, "read_csv"),
    ("SELECT * FROM read_csv_auto('x')", REFUSED, "read_csv_auto"),
    ("SELECT * FROM read_parquet('**/*.parquet')", REFUSED, "read_parquet"),
    ("SELECT * FROM parquet_scan('x')", REFUSED, "parquet_scan"),
    ("SELECT * FROM parquet_metadata('x')", REFUSED, "parquet_metadata"),
    ("SELECT * FROM read_json('x')", REFUSED, "read_json"),
    ("SELECT * FROM read_text('/etc/passwd')", REFUSED, "read_text"),
    ("SELECT * FROM read_blob('/etc/passwd')", REFUSED, "read_blob"),
    ("SELECT * FROM glob('/**')", REFUSED, "glob"),
    ("SELECT * FROM sniff_csv('x')", REFUSED, "sniff_csv"),
    ("SELECT (SELECT content FROM read_text('/etc/passwd'))", REFUSED, "read_text"),
    ("SELECT * FROM orders, LATERAL (SELECT * FROM read_text(item))", REFUSED, "read_text"),
    ("SELECT 1 FROM orders WHERE EXISTS (FROM glob('*'))", REFUSED, "glob"),
    ("SELECT * FROM orders UNION ALL FROM read_csv('x')", REFUSED, "read_csv"),
    ("WITH x AS (SELECT * FROM glob('*')) SELECT 1", REFUSED, "glob"),
    ("SELECT 1 ORDER BY (SELECT count(*) FROM glob('*'))", REFUSED, "glob"),
    ("SELECT 1 LIMIT (SELECT count(*) FROM glob('*'))", REFUSED, "glob"),
    ("SELECT list_transform([1], x -> (SELECT count(*) FROM glob('*')))", REFUSED, "glob"),
    ("VALUES ((SELECT count(*) FROM glob('*')))", REFUSED, "glob"),
    # The catalog, other databases and SQL from a text
    ("SELECT * FROM sqlite_scan('catalog.sqlite', 'ducklake_snapshot')", REFUSED, "sqlite_scan"),
    ("SELECT * FROM sqlite_query('catalog.sqlite', 'select 1')", REFUSED, "sqlite_query"),
    ("SELECT * FROM sqlite_attach('catalog.sqlite')", REFUSED, "sqlite_attach"),
    ("SELECT * FROM query('SELECT 1')", REFUSED, "query"),
    ("SELECT * FROM query_table('orders')", REFUSED, "query_table"),
    ("SELECT * FROM json_execute_serialized_sql('{}')", REFUSED, "json_execute_serialized_sql"),
    ("SELECT json_serialize_sql('SELECT 1')", REFUSED, "json_serialize_sql"),
    ("SELECT json_deserialize_sql('{}')", REFUSED, "json_deserialize_sql"),
    ("SELECT * FROM ducklake_expire_snapshots('lake', older_than => now())", REFUSED, "ducklake_expire_snapshots"),
    ("SELECT * FROM ducklake_delete_orphaned_files('lake', cleanup_all => true)", REFUSED, "ducklake_delete_orphaned"),
    ("SELECT * FROM ducklake_snapshots('lake')", REFUSED, "ducklake_snapshots"),
    ("SELECT * FROM lake.snapshots()", REFUSED, "snapshots"),
    ("SELECT * FROM ducklake_table_changes('lake', 'main', 'orders', 0, 9)", REFUSED, "ducklake_table_changes"),
    ("SELECT * FROM __ducklake_metadata_lake.ducklake_snapshot", REFUSED, "__ducklake_metadata_lake"),
    ("SELECT * FROM __ducklake_metadata_lake.main.ducklake_snapshot", REFUSED, "three parts"),
    ("SELECT * FROM ducklake_snapshot", MISSING, "ducklake_snapshot"),
    ("SELECT * FROM _narrative.publications", REFUSED, "our own tables"),
    ('SELECT * FROM "_NARRATIVE"."publications"', REFUSED, "our own tables"),
    ("SELECT * FROM lake._narrative.publications", REFUSED, "three parts"),
    ("SELECT * FROM publications", MISSING, "publications"),
    ("SELECT * FROM lake.main.orders", REFUSED, "three parts"),
    ("SELECT * FROM lake.orders", REFUSED, "belongs to the engine"),
    ("SELECT * FROM memory.main.orders", REFUSED, "three parts"),
    ("SELECT * FROM information_schema.tables", REFUSED, "belongs to the engine"),
    ("SELECT * FROM pg_catalog.pg_tables", REFUSED, "belongs to the engine"),
    ("SELECT * FROM system.main.duckdb_tables", REFUSED, "three parts"),
    ("SELECT * FROM sqlite_master", REFUSED, "engine's catalog"),
    ("SELECT * FROM pg_tables", REFUSED, "engine's catalog"),
    ("SELECT * FROM duckdb_tables", REFUSED, "engine's catalog"),
    ("SELECT * FROM main.duckdb_settings", REFUSED, "engine's catalog"),
    ("SELECT * FROM duckdb_settings()", REFUSED, "duckdb_settings"),
    ("SELECT * FROM duckdb_databases()", REFUSED, "duckdb_databases"),
    ("SELECT * FROM duckdb_secrets()", REFUSED, "duckdb_secrets"),
    ("SELECT * FROM duckdb_functions()", REFUSED, "duckdb_functions"),
    ("SELECT * FROM pragma_version()", REFUSED, "pragma_version"),
    ("SELECT * FROM pragma_table_info('orders')", REFUSED, "pragma_table_info"),
    ("SELECT * FROM pragma_storage_info('orders')", REFUSED, "pragma_storage_info"),
    ("SELECT * FROM which_secret('x', 's3')", REFUSED, "which_secret"),
    ("SELECT * FROM seq_scan('orders')", REFUSED, "seq_scan"),
    ("SELECT * FROM pandas_scan(1)", REFUSED, "pandas_scan"),
    ("SELECT * FROM arrow_scan(1, 2, 3)", REFUSED, "arrow_scan"),
    ("SELECT * FROM python_map_function(1)", REFUSED, "python_map_function"),
    ("SELECT * FROM test_all_types()", REFUSED, "test_all_types"),
    ("SELECT * FROM checkpoint()", REFUSED, "checkpoint"),
    ("SELECT * FROM enable_logging()", REFUSED, "enable_logging"),
    ("SELECT * FROM histogram_values(orders, amount)", REFUSED, "histogram_values"),
    # Functions that do more than compute
    ("SELECT current_setting('memory_limit')", REFUSED, "current_setting"),
    ("SELECT getvariable('x')", REFUSED, "getvariable"),
    ("SELECT getenv('HOME')", REFUSED, "getenv"),
    ("SELECT nextval('s')", REFUSED, "nextval"),
    ("SELECT setseed(0.5)", REFUSED, "setseed"),
    ("SELECT sleep_ms(1000)", REFUSED, "sleep_ms"),
    ("SELECT pg_sleep(10)", REFUSED, "pg_sleep"),
    ("SELECT write_log('x')", REFUSED, "write_log"),
    ("SELECT version()", REFUSED, "version"),
    ("SELECT current_database()", REFUSED, "current_database"),
    ("SELECT current_schemas(true)", REFUSED, "current_schemas"),
    ("SELECT current_query()", REFUSED, "current_query"),
    ("SELECT txid_current()", REFUSED, "txid_current"),
    ("SELECT stats(order_id) FROM orders", REFUSED, "stats"),
    ("SELECT in_search_path('a', 'b')", REFUSED, "in_search_path"),
    ("SELECT pg_get_viewdef(1)", REFUSED, "pg_get_viewdef"),
    ("SELECT system.main.current_setting('threads')", REFUSED, "current_setting"),
    ("SELECT ('threads').current_setting()", REFUSED, "current_setting"),
    ("SELECT item.getvariable() FROM orders", REFUSED, "getvariable"),
    ("SELECT \"CURRENT_SETTING\"('threads')", REFUSED, "current_setting"),
    ("SELECT sum(amount) OVER (ORDER BY current_setting('threads')) FROM orders", REFUSED, "current_setting"),
    ("SELECT sum(amount) FILTER (WHERE write_log('x')) FROM orders", REFUSED, "write_log"),
    ("SELECT nextval('s') OVER () FROM orders", REFUSED, "nextval"),
    ("SELECT [getvariable(x) FOR x IN ['a']]", REFUSED, "getvariable"),
    ("SELECT list_aggregate([1], item) FROM orders", REFUSED, "takes an aggregate's name"),
    ("SELECT list_aggregate([1], 'getvariable')", REFUSED, "takes an aggregate's name"),
    ("SELECT summ(amount) FROM orders", REFUSED, "Nearest: sum"),
    ("SELECT * FROM orders.read_csv('x')", REFUSED, "read_csv"),
    ("SELECT * FROM range(3, (SELECT count(*) FROM glob('*')))", REFUSED, "glob"),
    ("SELECT * FROM main.range(3)", REFUSED, "range"),
    ("SELECT 1::lake.main.thing", REFUSED, "a type in a schema"),
    ("SELECT CAST(1 AS _narrative.thing)", REFUSED, "a type in a schema"),
    # Parameters and words without a meaning here
    ("SELECT ?", REFUSED, "parameter"),
    ("SELECT $1", REFUSED, "parameter"),
    ("SELECT $name", REFUSED, "parameter"),
    ("SELECT * FROM orders LIMIT ?", REFUSED, "parameter"),
    ("SELECT DEFAULT", REFUSED, "DEFAULT"),
    ("SELECT 1e999", REFUSED, "too big for a DOUBLE"),
    # Names
    ("SELECT * FROM order", REFUSED, "syntax error"),
    ("SELECT * FROM ordres", MISSING, "Nearest: orders"),
    ("SELECT * FROM sales.orders", MISSING, "sales.orders"),
    ("SELECT * FROM df", MISSING, "df"),
    ("WITH orders AS (SELECT 1 AS order_id) SELECT * FROM orders", REFUSED, "as a dataset is called"),
    ("WITH ORDERS AS (SELECT 1) SELECT * FROM customers", REFUSED, "as a dataset is called"),
    ("SELECT * FROM (WITH customers AS (SELECT 1) FROM customers)", REFUSED, "as a dataset is called"),
    ("SELECT * FROM (WITH x AS (SELECT 1) FROM x), x", REFUSED, "outside of the WITH"),
    ("WITH x AS (SELECT * FROM y), y AS (SELECT 1) SELECT * FROM x", REFUSED, "outside of the WITH"),
    ("WITH x AS (SELECT * FROM x) SELECT * FROM x", REFUSED, "outside of the WITH"),
    ('WITH "/etc/passwd" AS (SELECT 1) SELECT 1', REFUSED, "letters, digits and underscores"),
    ('WITH "a.csv" AS (SELECT 1) SELECT * FROM "a.csv"', REFUSED, "letters, digits and underscores"),
    ("WITH x AS (SELECT 1) SELECT * FROM x AT (VERSION => 1)", REFUSED, "AT is for datasets"),
    ("SELECT * FROM orders AT (TIMESTAMP => now())", REFUSED, "AT something else"),
    ("SELECT * FROM orders AT (VERSION => 1 + 1)", REFUSED, "AT something else"),
    ("SELECT * FROM orders AT (VERSION => (SELECT 1))", REFUSED, "AT something else"),
    ("SELECT * FROM orders AT (VERSION => -1)", REFUSED, "AT something else"),
    ("SELECT * FROM orders AT (VERSION => '1')", REFUSED, "AT something else"),
    ("SELECT * FROM orders AT (VERSION => 4.0)", REFUSED, "AT something else"),
    ("SELECT * FROM orders AT (VERSION => 999999)", SnapshotNotFoundError, "no snapshot 999999"),
    ("SELECT * FROM orders AT (VERSION => 1)", MISSING, "orders"),
    # Unicode and control characters
    ("SELECT * FROM \u043erders", REFUSED, "\\u043e"),
    ("SELECT * FROM ord\u200bers", MISSING, "'ord'"),
    ('SELECT * FROM "orders\u00a0"', REFUSED, "\\xa0"),
    ("SELECT * FROM \uff4f\uff52\uff44\uff45\uff52\uff53", REFUSED, "\\uff4f"),
    ("SELECT * FROM ORDER\u017f", REFUSED, "\\u017f"),
    ("SELECT * FROM \u202eorders", REFUSED, "\\u202e"),
    ("SELECT 'a\0b'", REFUSED, "NUL"),
    ("SELECT * FROM orders\0", REFUSED, "NUL"),
    ("SELECT '\ud800'", REFUSED, "Unicode"),
    # Too much
    ("SELECT " + "1, " * 50_000 + "1", REFUSED, "at most 100000"),
    ("SELECT " + "(" * 20_000 + "1" + ")" * 20_000, REFUSED, "memory exhausted"),
    ("SELECT " + "abs(" * 400 + "1" + ")" * 400, REFUSED, "nested too deeply"),
    ("SELECT " + "(SELECT " * 300 + "1" + ")" * 300, REFUSED, "nested too deeply"),
    ("SELECT " + "(SELECT " * 5_000 + "1" + ")" * 5_000, REFUSED, "can't be read"),
    ("SELECT " + "[" * 900 + "1" + "]" * 900, REFUSED, "nested too deeply"),
    ("SELECT " + "NOT " * 20_000 + "true", REFUSED, "can't be read"),
    ("SELECT " + "+".join(["1"] * 20_000), REFUSED, "depth"),
    ("SELECT " + "CASE WHEN true THEN 1 ELSE " * 3_000 + "1" + " END" * 3_000, REFUSED, "can't be read"),
    ("SELECT * FROM " + "(SELECT * FROM " * 3_000 + "orders" + ")" * 3_000, REFUSED, "can't be read"),
    ("SELECT NULL::INTEGER" + "[]" * 5_000, REFUSED, "depth"),
]


@pytest.mark.parametrize(
    ("query", "error", "fragment"),
    QUERIES,
    ids=[f"{number}-{query[:40]!r}" for number, (query, *_) in enumerate(QUERIES)],
)
def test_a_hostile_query_is_refused(
    sample_plane: Plane, query: str, error: type[NarrativeError], fragment: str
) -> None:
    with pytest.raises(error, match=re.escape(fragment)) as raised:
        plane_checks_and_describes(sample_plane, query)
    assert len(str(raised.value)) < 800
    assert raised.value.remedy


def plane_checks_and_describes(plane: Plane, query: str) -> None:
    plane.describe(plane.check(query))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM main.orders; DROP TABLE main.orders",
        "SELECT * FROM lake.main.orders",
        "SELECT * FROM main.customers",
    ],
)
def test_a_query_made_by_hand_is_checked_again_before_it_runs(sample_plane: Plane, sql: str) -> None:
    forged = CheckedQuery(text=sql, sql=sql, sources=("orders",), volatile=(), random=())
    with pytest.raises(QueryRefusedError):
        sample_plane.read(forged, limit=1)
    with pytest.raises(QueryRefusedError):
        sample_plane.stage_query(uuid4(), 1, "copy_of_orders", forged, at=sample_plane.snapshot())


def test_a_variable_of_the_calling_program_is_no_table(sample_plane: Plane) -> None:
    class Frame:
        """What the engine's Python package would look for in the callers' frames."""

    df = Frame()
    with pytest.raises(DatasetNotFoundError, match="df"):
        sample_plane.check("SELECT * FROM df")
    assert df is not None


@pytest.mark.parametrize(
    "name",
    [
        "",
        " orders",
        "Orders",
        "1orders",
        "_narrative.publications",
        "_orders",
        "orders;drop",
        'orders"',
        "orders--",
        "a.b.c",
        ".orders",
        "orders.",
        "../orders",
        "or/ders",
        "\u043erders",
        "ord\u200bers",
        "orders\n",
        "orders\0",
        "information_schema.tables",
        "pg_catalog.x",
        "lake.orders",
        "x" * 129,
        "s." + "x" * 127,
    ],
)
def test_a_hostile_name_is_refused_wherever_a_name_is_given(sample_plane: Plane, name: str) -> None:
    query = sample_plane.check("SELECT 1 AS a")
    for attempt in (
        lambda: sample_plane.dataset(name),
        lambda: sample_plane.exists(name),
        lambda: sample_plane.versions([name], sample_plane.snapshot()),
        lambda: sample_plane.stage_query(uuid4(), 1, name, query, at=sample_plane.snapshot()),
        lambda: sample_plane.stage_files(uuid4(), 1, name, "x.csv", "csv"),
    ):
        with pytest.raises(InvalidNameError, match="is no dataset's name"):
            attempt()


# The sandbox itself, without the check before it.

ESCAPES = [
    ("SELECT * FROM read_csv('/etc/passwd')", "Permission"),
    ("SELECT * FROM '/etc/passwd'", ""),
    ("SELECT * FROM read_text('/etc/hostname')", "Permission"),
    ("SELECT * FROM read_blob('{directory}/publish.lock')", "Permission"),
    ("SELECT * FROM glob('/etc/*')", "Permission"),
    ("SELECT * FROM read_parquet('https://example.com/x.parquet')", ""),
    ("ATTACH '/tmp/stolen.db' AS stolen", "Permission"),
    ("COPY (SELECT 1) TO '/tmp/stolen.csv'", "Permission"),
    ("COPY (SELECT 1) TO '{data}/../stolen.csv'", "Permission"),
    ("COPY lake.main.orders FROM '/etc/passwd'", ""),
    ("EXPORT DATABASE '/tmp/stolen'", ""),
    ("SET threads = 1", "locked"),
    ("SET enable_external_access = true", ""),
    ("SET allowed_directories = ['/']", ""),
    ("SET lock_configuration = false", "locked"),
    ("RESET lock_configuration", "locked"),
    ("PRAGMA enable_logging", ""),
    ("INSTALL httpfs", ""),
    ("LOAD '/tmp/evil.duckdb_extension'", ""),
    ("INSERT INTO lake.main.orders SELECT * FROM lake.main.orders", "read-only"),
    ("DELETE FROM lake.main.orders", "read-only"),
    ("UPDATE lake.main.orders SET item = 'x'", "read-only"),
    ("DROP TABLE lake.main.orders", "read-only"),
    ("CREATE TABLE lake.main.stolen AS SELECT 1", "read-only"),
    ("ALTER TABLE lake.main.orders ADD COLUMN x INTEGER", "read-only"),
    ("DELETE FROM lake._narrative.publications", "read-only"),
    ("DELETE FROM __ducklake_metadata_lake.ducklake_snapshot", "read-only"),
    ("SELECT * FROM ducklake_expire_snapshots('lake', older_than => now())", "read-only"),
    ("CALL ducklake_delete_orphaned_files('lake', cleanup_all => true)", ""),
    ("CALL ducklake_merge_adjacent_files('lake')", ""),
    ("SELECT getenv('HOME')", "getenv"),
]


def test_the_reading_connection_refuses_by_itself(sample_plane: Plane, tmp_path: Path) -> None:
    import duckdb

    place: Place = sample_plane._place  # type: ignore[attr-defined]
    before = sorted(str(path) for path in place.data.rglob("*.parquet"))
    connection = open_reader(place, settings_for(tmp_path), tmp_path / "spill")
    passed = []
    for statement, fragment in ESCAPES:
        sql = statement.format(directory=place.directory, data=place.data)
        try:
            connection.execute(sql).fetchall()
        except duckdb.Error as error:
            said = str(error).lower()
        else:
            passed.append(sql)
            continue
        assert fragment.lower() in said, sql
    # What maintenance would do on a lake that is read-only may be nothing at all; it must leave everything as it was.
    assert [sql for sql in passed if not sql.startswith("CALL ducklake_")] == []
    assert connection.execute("SELECT count(*) FROM lake.main.orders").fetchall() == [(200,)]
    connection.close()
    assert sorted(str(path) for path in place.data.rglob("*.parquet")) == before
    assert rows_of(sample_plane, "SELECT count(*) FROM orders") == [(200,)]


@pytest.mark.parametrize(
    "statement",
    [
        # The sandbox lets these pass: SQLite's files are not opened through the engine's own file system.
        "ATTACH '{directory}/catalog.sqlite' AS again (TYPE sqlite)",
        "ATTACH 'ducklake:sqlite:{directory}/catalog.sqlite' AS again",
        "ATTACH '{directory}/other.sqlite' AS other (TYPE sqlite)",
        "SELECT 1; ATTACH '{directory}/other.sqlite' AS other (TYPE sqlite)",
        "SELECT * FROM (SELECT 1) AS result; DETACH lake",
        "DESCRIBE SELECT 1; SELECT 2",
        "COPY (SELECT 1) TO '{data}/x.parquet'",
        "CREATE TABLE x AS SELECT 1",
        "",
    ],
)
def test_nothing_but_the_statement_that_was_meant_runs(sample_plane: Plane, tmp_path: Path, statement: str) -> None:
    place: Place = sample_plane._place  # type: ignore[attr-defined]
    connection = open_reader(place, settings_for(tmp_path), tmp_path / "spill")
    with pytest.raises(QueryRefusedError, match="not exactly one SELECT"):
        execute_one(connection, statement.format(directory=place.directory, data=place.data), "SELECT")
    databases = connection.execute("SELECT database_name FROM duckdb_databases() WHERE NOT internal").fetchall()
    connection.close()
    assert set(databases) == {("lake",), ("memory",)}
    assert not (place.directory / "other.sqlite").exists()


def test_the_importing_connection_reads_its_files_only(tmp_path: Path) -> None:
    import duckdb

    allowed, other, stage = tmp_path / "allowed.csv", tmp_path / "other.csv", tmp_path / "stage"
    allowed.write_text("a\n1\n")
    other.write_text("a\n2\n")
    stage.mkdir()
    connection = open_importer(settings_for(tmp_path), tmp_path / "spill", [allowed], stage)
    assert connection.execute(f"FROM read_csv('{allowed}')").fetchall() == [(1,)]
    for statement in (
        f"FROM read_csv('{other}')",
        f"FROM read_csv('{tmp_path}/*.csv')",
        f"COPY (SELECT 1) TO '{tmp_path}/out.csv'",
        f"COPY (SELECT 1) TO '{allowed.parent}/stage/../out.csv'",
        "SET lock_configuration = false",
    ):
        with pytest.raises(duckdb.Error):
            connection.execute(statement).fetchall()
    allowed.unlink()
    allowed.symlink_to("/etc/passwd")
    with pytest.raises(duckdb.Error):
        connection.execute(f"FROM read_csv('{allowed}', header = false, delim = ':')").fetchall()
    connection.close()


# Paths of imports.


@pytest.fixture(scope="module")
def importing(tmp_path_factory: pytest.TempPathFactory) -> "tuple[Plane, Path]":
    home = tmp_path_factory.mktemp("imports")
    settings = settings_for(home)
    root = settings.allowed_import_roots[0]
    root.mkdir(parents=True)
    outside = home / "outside.csv"
    outside.write_text("secret\nvalue\n")
    (home / "imports-beside").mkdir()
    (home / "imports-beside" / "a.csv").write_text("secret\nvalue\n")
    (root / "good.csv").write_text("a,b\n1,x\n2,y\n")
    (root / "folder").mkdir()
    (root / "folder" / "nested.csv").write_text("a\n1\n")
    (root / "link_out.csv").symlink_to(outside)
    (root / "link_in.csv").symlink_to(root / "good.csv")
    (root / "link_nowhere.csv").symlink_to(root / "nothing.csv")
    (root / "loop.csv").symlink_to(root / "loop.csv")
    (root / "link_folder").symlink_to(home / "imports-beside")
    (root / "device.csv").symlink_to("/dev/zero")
    os.mkfifo(root / "pipe.csv")
    (root / "with[1].csv").write_text("a\n1\n")
    plane = open_plane("default", settings.plane_directory("default"), settings)
    yield plane, root
    plane.close()


@pytest.mark.parametrize(
    ("source", "fragment"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("/etc/passwd", "outside the import roots"),
        ("../outside.csv", "has a .. in it"),
        ("folder/../../outside.csv", "has a .. in it"),
        ("{root}/../outside.csv", "has a .. in it"),
        ("{root}-beside/a.csv", "outside the import roots"),
        ("link_out.csv", "outside the import roots"),
        ("link_*.csv", "lead"),
        ("link_folder/a.csv", "outside the import roots"),
        ("link_nowhere.csv", "leads nowhere"),
        ("loop.csv", "leads nowhere"),
        ("nothing.csv", "names no file"),
        ("nothing*.csv", "names no file"),
        ("folder", "no regular file"),
        (".", "no regular file"),
        ("pipe.csv", "no regular file"),
        ("device.csv", "outside the import roots"),
        ("/dev/stdin", "outside the import roots"),
        ("/dev/zero", "outside the import roots"),
        ("/proc/self/environ", "outside the import roots"),
        ("/proc/1/environ", "outside the import roots"),
        ("~/x.csv", "not expanded"),
        ("~root/x.csv", "not expanded"),
        ("https://example.com/x.csv", "URL"),
        ("file:///etc/passwd", "URL"),
        ("s3://bucket/x.csv", "URL"),
        ("good.csv\0.txt", "no path needs"),
        ("good\n.csv", "no path needs"),
        ("x" * 5000, "too long"),
        ("x" * 300, "names no file"),
        ("with[1].csv", "may not have *, ? or ["),
        ("good.csv'; ATTACH 'x", "names no file"),
    ],
)
def test_a_hostile_path_is_refused(importing: "tuple[Plane, Path]", source: str, fragment: str) -> None:
    plane, root = importing
    with pytest.raises(ImportRefusedError, match=re.escape(fragment)):
        plane.stage_files(uuid4(), 1, "imported", source.format(root=root), "csv")


@pytest.mark.parametrize("source", ["good.csv", "{root}/good.csv", "link_in.csv", "go*.csv", "**/good.csv"])
def test_a_path_below_the_import_roots_is_read(importing: "tuple[Plane, Path]", source: str) -> None:
    plane, root = importing
    assert plane.stage_files(uuid4(), 1, "imported", source.format(root=root), "auto").rows == 2


def test_a_hidden_file_is_not_taken_by_a_glob(importing: "tuple[Plane, Path]") -> None:
    plane, root = importing
    hidden = root / ".hidden.tsv"
    hidden.write_text("a\n1\n")
    with pytest.raises(ImportRefusedError, match="names no file"):
        plane.stage_files(uuid4(), 1, "imported", "*.tsv", "csv")


def test_an_unknown_ending_needs_a_format(importing: "tuple[Plane, Path]") -> None:
    plane, root = importing
    (root / "data.bin").write_bytes(b"\0\1")
    with pytest.raises(UnreadableFileError, match="can't be told"):
        plane.stage_files(uuid4(), 1, "imported", "data.bin", "auto")


def test_a_planes_folder_may_not_be_a_pattern(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(ConnectionError, match="may not have"):
        open_plane("default", tmp_path / "a[b]", settings)
