"""A job table that can't be used says so, in time, and without its password."""

import os
import resource
import shutil
import socket
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import create_engine, make_url, text

from prefect_narrative.jobs import schema
from prefect_narrative.jobs.database import InvalidDatabaseUrlError, MissingDriverError
from prefect_narrative.jobs.record import JobId
from prefect_narrative.jobs.schema import NewerSchemaError
from prefect_narrative.jobs.sql import SqlJobStore, open_store
from prefect_narrative.jobs.store import JobTableUnavailableError
from prefect_narrative.settings import Settings
from prefect_narrative.testing import observed

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
JOB_ID = JobId(UUID(int=7))
PATIENCE = timedelta(seconds=0.5)
SEEN = observed(JOB_ID, "RUNNING", NOON)


def file_of(url: str) -> Path:
    return Path(make_url(url).database or "")


def refused(call: Callable[[], Any], *, within: float = 2.0) -> JobTableUnavailableError:
    began = time.monotonic()
    with pytest.raises(JobTableUnavailableError) as caught:
        call()
    assert time.monotonic() - began < within
    assert caught.value.code == "job_table_unavailable"
    assert isinstance(caught.value, ConnectionError)
    return caught.value


def in_a_child(work: Callable[[], object]) -> int:
    """Run `work` in a fork; return 0 where it was refused as it should be, 1 where it went through."""
    child = os.fork()
    if child == 0:
        code = 3
        try:
            try:
                work()
                code = 1
            except JobTableUnavailableError:
                code = 0
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Give a folder that other users of this machine may look into."""
    folder = Path(tempfile.mkdtemp(prefix="narrative-open-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_locked_file_is_given_up_in_time_and_can_still_be_read(sqlite_url: str) -> None:
    with SqlJobStore(sqlite_url, patience=PATIENCE) as store:
        store.apply(SEEN, cause="hook")
        holder = sqlite3.connect(file_of(sqlite_url), isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        error = refused(lambda: store.raise_fence(JOB_ID))
        assert time.monotonic() - began >= 0.4
        assert "locked" in str(error)
        assert str(file_of(sqlite_url)) in str(error)
        assert store.get(JOB_ID) is not None
        holder.rollback()
        holder.close()
        assert store.raise_fence(JOB_ID) == 1


def test_a_lock_that_goes_in_time_is_waited_for(sqlite_url: str) -> None:
    with SqlJobStore(sqlite_url, patience=timedelta(seconds=30)) as store:
        holder = sqlite3.connect(file_of(sqlite_url), isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(store.apply, SEEN, cause="hook")
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.3)
            holder.rollback()
            holder.close()
            assert waiting.result(timeout=5) == store.get(JOB_ID)


def test_a_file_that_may_only_be_read(open_folder: Path) -> None:
    url = f"sqlite:///{open_folder / 'jobs.sqlite'}"
    open_store(Settings(home=open_folder / "home", database_url=url)).close()
    file_of(url).chmod(0o444)
    open_folder.chmod(0o555)

    def write() -> None:
        if os.getuid() == 0:
            os.setuid(65534)
        SqlJobStore(url, patience=PATIENCE).apply(SEEN, cause="hook")

    assert in_a_child(write) == 0
    open_folder.chmod(0o755)


def test_a_disk_that_is_full_costs_no_data(sqlite_url: str) -> None:
    with SqlJobStore(sqlite_url, patience=PATIENCE) as store:
        before = store.apply(SEEN, cause="hook")
    size = file_of(sqlite_url).stat().st_size

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        with SqlJobStore(sqlite_url, patience=PATIENCE) as child:
            for number in range(100, 400):
                child.apply(observed(UUID(int=number), "RUNNING", NOON, input={"x": "y" * 5000}), cause="hook")

    assert in_a_child(fill) == 0
    with SqlJobStore(sqlite_url, patience=PATIENCE) as store:
        assert store.get(JOB_ID) == before
        store.apply(observed(UUID(int=9), "RUNNING", NOON), cause="hook")
        with store.database.engine.connect() as connection:
            assert connection.execute(text("PRAGMA integrity_check")).scalar() == "ok"


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "jobs.sqlite").write_bytes(b"garbage " * 4096)
    settings = Settings(home=tmp_path)
    assert "not a database" in str(refused(lambda: open_store(settings, patience=PATIENCE)))


def test_a_file_that_is_damaged(sqlite_url: str) -> None:
    file = file_of(sqlite_url)
    content = bytearray(file.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    file.write_bytes(content)
    with SqlJobStore(sqlite_url, patience=PATIENCE) as store:
        refused(lambda: store.apply(SEEN, cause="hook"))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, database_url=f"sqlite:///{tmp_path}/no/jobs.sqlite")
    refused(lambda: open_store(settings, patience=PATIENCE))


def test_tables_that_are_not_there(empty_url: str) -> None:
    with SqlJobStore(empty_url, patience=PATIENCE) as store:
        refused(lambda: store.get(JOB_ID))
        refused(lambda: store.apply(SEEN, cause="hook"))


def test_a_server_that_is_not_there_and_its_password(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        url = f"postgresql://someone:s3cret@127.0.0.1:{port}/jobs?application_name=s3cret"
        error = refused(lambda: open_store(Settings(home=tmp_path, database_url=url), patience=PATIENCE))
    assert "s3cret" not in str(error) + repr(error.detail)
    assert f"someone:***@127.0.0.1:{port}/jobs" in str(error)


def test_a_server_that_does_not_answer(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"postgresql://someone@127.0.0.1:{silent.getsockname()[1]}/jobs"
        settings = Settings(home=tmp_path, database_url=url)
        refused(lambda: open_store(settings, patience=PATIENCE), within=4)  # 2 s is the driver's least


def test_a_row_that_stays_locked(postgresql_url: str) -> None:
    with SqlJobStore(postgresql_url, patience=PATIENCE) as store:
        store.apply(SEEN, cause="hook")
        with store.database.engine.begin() as holder:
            holder.execute(text("SELECT 1 FROM jobs FOR UPDATE"))
            refused(lambda: store.raise_fence(JOB_ID))
            other = observed(UUID(int=8), "RUNNING", NOON)
            assert store.apply(other, cause="hook").state == "running"  # only that row is locked
            assert store.get(JOB_ID) is not None
        assert store.raise_fence(JOB_ID) == 1


def test_a_connection_that_was_cut_is_replaced(postgresql_url: str) -> None:
    with SqlJobStore(postgresql_url, patience=PATIENCE) as store:
        store.apply(SEEN, cause="hook")
        engine = create_engine(make_url(postgresql_url).set(drivername="postgresql+psycopg"))
        with engine.begin() as connection:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        engine.dispose()
        assert store.raise_fence(JOB_ID) == 1


def test_a_table_of_a_newer_version(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(home=tmp_path, database_url=url)
    newer = f"is at schema {schema.HEAD}; this version of prefect-narrative knows 0000"
    monkeypatch.setattr(schema, "HEAD", "0000")
    with pytest.raises(NewerSchemaError, match=newer):
        open_store(settings)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///relative.sqlite",
        "sqlite+aiosqlite:////absolute.sqlite",
        "sqlite:///file:/x.sqlite?uri=true",
        "mysql://u:s3cret@h/d",
        "postgresql+asyncpg://u:s3cret@h/d",
        "postgresql://u:s3cret@h:notaport/d",
    ],
)
def test_a_url_of_something_else(url: str) -> None:
    with pytest.raises(InvalidDatabaseUrlError) as caught:
        SqlJobStore(url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_a_url_of_postgresql_means_our_driver(scheme: str) -> None:
    with SqlJobStore(f"{scheme}://u:s3cret@h/d") as store:
        assert store.database.name == "postgresql+psycopg://u:***@h/d"


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingDriverError, match="psycopg") as caught:
        SqlJobStore("postgresql://u@h/d")
    assert caught.value.remedy == "pip install 'prefect-narrative[postgres]'"
