"""The tables themselves: migrated as modelled, guarded by checks, read by index."""

import logging
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import CompoundSelect, Connection, Select, inspect, text
from sqlalchemy.exc import DBAPIError

from prefect_narrative.jobs.cursor import cursor_after, position_of
from prefect_narrative.jobs.record import Heartbeat, Job, JobFilter, JobId, PrefectState, RequestSource, Usage
from prefect_narrative.jobs.schema import HEAD
from prefect_narrative.jobs.sql import SqlJobStore, active_query, heartbeats_query, open_store, page_query
from prefect_narrative.jobs.states import JobState
from prefect_narrative.jobs.table import metadata
from prefect_narrative.settings import Settings
from prefect_narrative.testing import observed

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
JOB_ID = JobId(UUID(int=7))


def test_the_constant_is_alembics_head() -> None:
    config = Config()
    config.set_main_option("script_location", "prefect_narrative.jobs:migrations")
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_migrations_make_what_the_models_say(sql_store: SqlJobStore) -> None:
    with sql_store.database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
        reflected = inspect(connection)
        for table in metadata.sorted_tables:
            modelled = {one.name for one in table.constraints if one.name and str(one.name).startswith("ck_")}
            assert {one["name"] for one in reflected.get_check_constraints(table.name)} == modelled


def test_checks_of_the_migration_are_those_of_the_models(url: str, empty_url: str) -> None:
    if url.startswith("sqlite") != empty_url.startswith("sqlite"):
        return  # both are of one kind in the two cases that count
    found = []
    with SqlJobStore(empty_url) as modelled, SqlJobStore(url) as migrated:
        metadata.create_all(modelled.database.engine)
        for store in (modelled, migrated):
            reflected = inspect(store.database.engine)
            checks = {name: reflected.get_check_constraints(name) for name in metadata.tables}
            found.append({(table, one["name"]): one["sqltext"] for table in checks for one in checks[table]})
    assert found[0] == found[1]


def test_a_table_of_version_0001_keeps_its_rows(empty_url: str, tmp_path: Path) -> None:
    used = {"usage": """'{"cpu_seconds": 1.5, "peak_memory_bytes": 7, "read_rows": null}'"""}
    event = {"job_id": FULL["job_id"], "number": "1", "to_state": "'pending'", "move": "'normal'", "attempt": "1"}
    event |= {"at": FULL["created_at"], "cause": "'x'"}
    sign = {"job_id": FULL["job_id"], "token": "1", "at": FULL["created_at"], "host": "'h'", "boot_id": "'b'"}
    sign |= {"pid_namespace": "'n'", "pid": "1", "process_started_at": "1.0"}
    inserts = [
        insert_text("jobs", FULL | used),
        insert_text("jobs", FULL | {"job_id": f"'{UUID(int=8).hex}'"}),
        insert_text("job_events", event),
        insert_text("job_heartbeats", sign),
    ]
    with SqlJobStore(empty_url) as old:

        def make(connection: Connection) -> None:
            config = Config()
            config.set_main_option("script_location", "prefect_narrative.jobs:migrations")
            config.attributes["connection"] = connection
            command.upgrade(config, "0001")
            for insert in inserts:
                connection.execute(text(insert))

        old.database.write(make)
    with open_store(Settings(home=tmp_path, database_url=empty_url)) as store:
        expected = Job(
            job_id=JOB_ID,
            type="t",
            request_source=RequestSource(type="api"),
            state=JobState.PENDING,
            usage=Usage(cpu_seconds=1.5, peak_memory_bytes=7),
            created_at=NOON,
            updated_at=NOON,
            prefect=PrefectState(state_id=JOB_ID, type="X", name="X", timestamp=NOON),
        )
        assert store.get(JOB_ID) == expected
        other = expected.model_copy(update={"job_id": UUID(int=8), "usage": Usage()})
        assert store.get(JobId(UUID(int=8))) == other
        assert [one.cause for one in store.events(JOB_ID)] == ["x"]
        assert store.heartbeats() == {}  # the next one comes within seconds
        for _ in range(2):
            store.add_usage(JOB_ID, 5, Usage(cpu_seconds=0.5, read_rows=3))
        job = store.get(JOB_ID)
        assert job is not None
        assert job.usage == Usage(cpu_seconds=2.0, peak_memory_bytes=7, read_rows=3)
        # A process that runs on with the older version writes what it always wrote.
        with store.database.engine.begin() as connection:
            connection.execute(text(insert_text("jobs", FULL | {"job_id": f"'{UUID(int=9).hex}'"})))
        assert store.get(JobId(UUID(int=9))) == other.model_copy(update={"job_id": UUID(int=9)})


def test_a_second_opening_does_not_import_alembic(sqlite_url: str, tmp_path: Path) -> None:
    code = (
        "import sys; from prefect_narrative.settings import Settings;"
        "from prefect_narrative.jobs.sql import open_store;"
        f"open_store(Settings(home={str(tmp_path)!r}, database_url={sqlite_url!r})).close();"
        "print([one for one in ('alembic', 'prefect', 'psycopg', 'duckdb') if one in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"


def test_making_the_tables_leaves_logging_alone(empty_url: str, tmp_path: Path) -> None:
    before = logging.getLogger().handlers[:]
    open_store(Settings(home=tmp_path, database_url=empty_url)).close()
    assert logging.getLogger().handlers == before


FULL = {
    "job_id": f"'{JOB_ID.hex}'",
    "type": "'t'",
    "request_source_type": "'api'",
    "tags": "'[]'",
    "failures": "'[]'",
    "input": "'{}'",
    "sources": "'[]'",
    "usage": "'{}'",
    "created_at": "'2026-03-01 12:00:00+00:00'",
    "updated_at": "'2026-03-01 12:00:00+00:00'",
    "prefect_state_id": f"'{JOB_ID.hex}'",
    "prefect_type": "'X'",
    "prefect_name": "'X'",
    "prefect_timestamp": "'2026-03-01 12:00:00+00:00'",
    "trusted": "true",
    "state": "'pending'",
    "attempt": "1",
    "rested_attempt": "0",
    "version": "1",
    "token": "0",
    "last_event": "1",
}
END = "'2026-03-01 13:00:00+00:00'"


def insert_text(table: str, values: dict[str, str]) -> str:
    return f"INSERT INTO {table} ({', '.join(values)}) VALUES ({', '.join(values.values())})"


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "'dreaming'"},
        {"state": "'PENDING'"},
        *({"state": f"'{state}'", "ended_at": END} for state in ("pending", "running", "pending_cancellation")),
        *({"state": f"'{state}'"} for state in ("failed", "cancelled")),
        {"state": "'completed'", "result": "'{}'"},
        {"state": "'completed'", "ended_at": END},
        {"state": "'failed'", "ended_at": END, "result": "'{}'"},
        {"result": "'{}'"},
        {"state": "'running'", "waiting_for": "'{}'"},
        {"attempt": "0"},
        {"rested_attempt": "2"},
        {"rested_attempt": "-1"},
        {"version": "0"},
        {"token": "-1"},
        {"last_event": "0"},
        {"job_id": "NULL"},
        {"created_at": "NULL"},
    ],
)
def test_the_database_refuses_a_row_that_can_not_be(sql_store: SqlJobStore, changes: dict[str, str]) -> None:
    with sql_store.database.engine.begin() as connection:
        connection.execute(text(insert_text("jobs", FULL)))
    with pytest.raises(DBAPIError), sql_store.database.engine.begin() as connection:
        connection.execute(text(insert_text("jobs", {**FULL, "job_id": f"'{UUID(int=8).hex}'", **changes})))


@pytest.mark.parametrize("state", list(JobState))
def test_the_database_takes_every_state_as_it_should_be(sql_store: SqlJobStore, state: JobState) -> None:
    values = {**FULL, "state": f"'{state}'"}
    values |= {"ended_at": END} if state.terminal else {}
    values |= {"result": "'{}'"} if state is JobState.COMPLETED else {}
    with sql_store.database.engine.begin() as connection:
        connection.execute(text(insert_text("jobs", values)))


EVENT = {
    "job_id": f"'{JOB_ID.hex}'",
    "number": "2",
    "from_state": "'pending'",
    "to_state": "'running'",
    "move": "'normal'",
    "at": END,
    "cause": "'x'",
    "attempt": "1",
}


@pytest.mark.parametrize(
    "changes",
    [
        {"number": "0"},
        {"number": "1"},
        {"number": "3", "from_state": "NULL"},
        {"from_state": "'dreaming'"},
        {"to_state": "'dreaming'"},
        {"move": "'odd'"},
        {"attempt": "0"},
        {"job_id": f"'{UUID(int=9).hex}'"},
        {},
    ],
)
def test_the_database_refuses_an_event_that_can_not_be(sql_store: SqlJobStore, changes: dict[str, str]) -> None:
    with sql_store.database.engine.begin() as connection:
        connection.execute(text(insert_text("jobs", FULL)))
        connection.execute(text(insert_text("job_events", EVENT)))
    with pytest.raises(DBAPIError), sql_store.database.engine.begin() as connection:
        connection.execute(text(insert_text("job_events", {**EVENT, **changes})))


def test_events_can_not_be_rewritten_and_go_with_their_job(sql_store: SqlJobStore) -> None:
    sql_store.apply(observed(JOB_ID, "RUNNING", NOON, tags=("x",)), cause="hook")
    sql_store.beat(
        Heartbeat(
            job_id=JOB_ID,
            token=1,
            at=NOON,
            host="h",
            machine_id="m",
            boot_id="b",
            pid_namespace="n",
            pid=1,
            start_ticks=1,
        )
    )
    with (
        pytest.raises(DBAPIError, match="append-only"),
        sql_store.database.engine.begin() as connection,
    ):
        connection.execute(text("UPDATE job_events SET cause = 'another'"))
    with sql_store.database.engine.begin() as connection:
        connection.execute(text("DELETE FROM jobs"))
        for table in metadata.tables:
            assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar() == 0


def fill(connection: Connection, sqlite: bool) -> None:
    numbers = (
        "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 20000) "
        if sqlite
        else "WITH numbers AS (SELECT generate_series(1, 20000) AS n) "
    )
    job_id = "printf('%032x', n)" if sqlite else "lpad(to_hex(n), 32, '0')::uuid"
    created_at = (
        "strftime('%Y-%m-%dT%H:%M:%S', 1772366400 + n, 'unixepoch') || '.000000+00:00'"
        if sqlite
        else "to_timestamp(1772366400 + n)"
    )
    values = FULL | {
        "job_id": job_id,
        "created_at": created_at,
        "type": "'t' || (n % 200)",
        "dataset": "'d' || (n % 50)",
        "data_plane": "'p' || (n % 50)",
        "request_source_type": "'s' || (n % 500)",
        "state": "CASE WHEN n % 100 = 0 THEN 'running' ELSE 'failed' END",
        "ended_at": f"CASE WHEN n % 100 = 0 THEN NULL ELSE {created_at} END",
    }
    if not sqlite:
        values = {name: f"({value})::jsonb" if value in ("'[]'", "'{}'") else value for name, value in values.items()}
        values |= {name: f"{values[name]}::timestamptz" for name in ("updated_at", "prefect_timestamp")}
        values |= {"prefect_state_id": f"{values['prefect_state_id']}::uuid"}
    insert = f"INSERT INTO jobs ({', '.join(values)}) "
    select = f"SELECT {', '.join(values.values())} FROM numbers"
    connection.execute(text(numbers + insert + select if not sqlite else insert + numbers + select))
    connection.execute(
        text("INSERT INTO job_tags (tag, created_at, job_id) SELECT 'g' || type, created_at, job_id FROM jobs")
    )
    connection.execute(
        text(
            "INSERT INTO job_heartbeats "
            "(job_id, token, at, host, machine_id, boot_id, pid_namespace, pid, start_ticks) "
            "SELECT job_id, 1, created_at, 'h', 'm', 'b', 'n', 1, 1 FROM jobs"
        )
    )
    connection.execute(text("ANALYZE"))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def plan_of(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Give what tells how a full table answers a query."""
    home = tmp_path_factory.mktemp("plans")
    url = request.getfixturevalue("new_postgresql")() if request.param == "postgresql" else None
    with open_store(Settings(home=home, database_url=url)) as store:
        sqlite = store.database.is_sqlite
        with store.database.engine.begin() as connection:
            fill(connection, sqlite)

        def plan(query: Select[Any] | CompoundSelect[Any]) -> str:
            with store.database.engine.connect() as connection:
                compiled = query.compile(connection, compile_kwargs={"render_postcompile": True})
                words = "EXPLAIN QUERY PLAN " if sqlite else "EXPLAIN "
                processed = compiled.construct_params()
                bound = {
                    name: (compiled._bind_processors[name](value) if name in compiled._bind_processors else value)
                    for name, value in processed.items()
                }
                given: Any = tuple(bound[name] for name in compiled.positiontup) if compiled.positiontup else bound
                return "\n".join(str(row[-1]) for row in connection.exec_driver_sql(words + str(compiled), given))

        yield plan


PLACE = (NOON + timedelta(seconds=12500), UUID(int=1))
CURSOR = cursor_after(Job.model_construct(created_at=PLACE[0], job_id=PLACE[1]))


@pytest.mark.parametrize("cursor", [None, CURSOR])
@pytest.mark.parametrize(
    ("index", "narrowed"),
    [
        ("ix_jobs_created_at", {}),
        ("ix_jobs_state", {"state": frozenset({JobState.RUNNING})}),
        ("ix_jobs_type", {"type": "t3"}),
        ("ix_jobs_dataset", {"dataset": "d3"}),
        ("ix_jobs_data_plane", {"data_plane": "p3"}),
        ("ix_jobs_request_source", {"request_source": "s3"}),
        ("job_tags", {"tag": "gt3"}),
        ("ix_jobs_created_at", {"created_from": NOON + timedelta(seconds=2000), "created_before": NOON}),
        ("ix_jobs_", {"ended_from": NOON + timedelta(seconds=19900)}),
        ("ix_jobs_", {"ended_before": NOON + timedelta(seconds=19900)}),
        ("ix_jobs_", {"state": frozenset({JobState.RUNNING, JobState.PENDING})}),
    ],
)
def test_every_list_is_read_by_an_index(
    plan_of: Callable[[Select[Any]], str], index: str, narrowed: dict[str, Any], cursor: str | None
) -> None:
    assert position_of(CURSOR) == PLACE
    plan = plan_of(page_query(JobFilter(**narrowed), cursor=cursor, limit=50))
    assert index in plan
    assert "Seq Scan" not in plan
    assert "SCAN jobs\n" not in plan + "\n"
    if index != "ix_jobs_":
        assert "TEMP B-TREE" not in plan


def test_active_jobs_and_single_ones_are_read_by_an_index(plan_of: Callable[[Select[Any]], str]) -> None:
    assert "ix_jobs_active" in plan_of(active_query())


def test_signs_of_life_are_read_by_an_index(plan_of: Callable[[Select[Any] | CompoundSelect[Any]], str]) -> None:
    plan = plan_of(heartbeats_query(NOON + timedelta(seconds=19900)))
    assert "ix_jobs_active" in plan
    assert "ix_jobs_state" in plan or "ix_jobs_ended_at" in plan
    assert "SCAN jobs\n" not in plan + "\n"
    assert "Seq Scan on jobs" not in plan
