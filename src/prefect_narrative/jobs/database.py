"""A database for the job table: who it is, how it is opened, and how one transaction is made to last or to give up."""

import json
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.jobs.forking import ForkGate
from prefect_narrative.jobs.store import JobTableUnavailableError
from prefect_narrative.settings import refuse_network_file_system

Answer = TypeVar("Answer")

_SQLITE_PASSING = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_POSTGRESQL_PASSING = frozenset({"40001", "40P01"})
"""Serialization failure and deadlock: another transaction was first; the next try sees its work."""

_inherited: list[Engine] = []
"""Engines of the parent process. Their connections belong to it: to close them here would talk over its sockets, so
they are kept from the garbage collector as long as this process lives. SQLite's are closed before, see `forking`."""

_UNTIL_A_HOST_IS_GONE = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
"""Seconds, and milliseconds: a connection to a PostgreSQL host that has vanished is given up after 25 seconds. By
itself Linux would wait for a quarter of an hour, or two hours, while a job that can't give signs of life passes for
dead."""

_PAGES_IN_LOG = 4000
"""How long SQLite's log grows, in pages of 4 KiB, before a commit must move it into the file and wait for the disk. A
commit writes about six: with SQLite's own 1000, one hook in a hundred and sixty would wait."""

_LONGEST_SQLITE_WAIT_SECONDS = 0.1
"""How long SQLite itself waits for a lock; the rest of the patience is spent where a fork need not wait for it."""


class InvalidDatabaseUrlError(NarrativeError, ValueError):
    """The job table's URL names no database that it can lie in."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "invalid_database_url"
    remedy = (
        "Set NARRATIVE_DATABASE_URL to sqlite:////absolute/path/jobs.sqlite or to postgresql://user@host/database, "
        "or leave it out."
    )


class MissingDriverError(NarrativeError, ImportError):
    """The PostgreSQL driver is not installed."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "missing_driver"
    remedy = "pip install 'prefect-narrative[postgres]'"


class Database:
    """One SQLite file or PostgreSQL database, used by any number of threads and safe after a fork.

    Args:
        url: SQLAlchemy URL; `postgresql://` means the driver psycopg.
        patience: How long an operation waits for a connection and for locks before it gives up. PostgreSQL's own
            connection timeout is never below 2 seconds.

    Raises:
        InvalidDatabaseUrlError: the URL is not one of an SQLite file with an absolute path or of PostgreSQL.
        MissingDriverError: psycopg is not installed.
        NetworkFileSystemError: the SQLite file lies on a network file system.
    """

    def __init__(self, url: str, *, patience: timedelta) -> None:
        self._url = _checked(url)
        self.patience = patience
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._engine = self._new_engine()
        self._gate = ForkGate(self.close) if self.is_sqlite else None

    @property
    def name(self) -> str:
        """The URL without password and options, for messages."""
        return self._url.set(query={}).render_as_string(hide_password=True)

    @property
    def is_sqlite(self) -> bool:
        """Whether this is SQLite; else it is PostgreSQL."""
        return self._url.get_backend_name() == "sqlite"

    @property
    def engine(self) -> Engine:
        """The engine of this process."""
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    _inherited.append(self._engine)
                    self._engine = self._new_engine()
                    self._pid = os.getpid()
        return self._engine

    def read(self, work: Callable[[Connection], Answer]) -> Answer:
        """Return what `work` returns; it makes one SELECT, outside any transaction.

        Raises:
            JobTableUnavailableError: the database can't be used.
        """
        return self._persist(lambda: self._read(work))

    def write(self, work: Callable[[Connection], Answer], *, patience: timedelta | None = None) -> Answer:
        """Return what `work` returns, in one transaction that is alone in writing (SQLite) or locks rows (PostgreSQL).

        `work` may be called again where another transaction was first, so it does nothing but use its connection.

        Args:
            work: Writes, on the connection that it gets.
            patience: How long to try again in this call. None: as long as always.

        Raises:
            JobTableUnavailableError: the database can't be used, or not within the patience.
        """
        return self._persist(lambda: self._write(work), patience)

    def unavailable(self, error: BaseException) -> JobTableUnavailableError:
        """Return the error that says why the database can't be used."""
        cause = getattr(error, "orig", None) or error
        reason = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        return JobTableUnavailableError(
            f"The job table {self.name} can't be used: {reason}", detail={"database": self.name, "reason": reason}
        )

    def close(self) -> None:
        """Release this process's connections; the next use opens new ones."""
        if self._pid == os.getpid():
            self._engine.dispose()

    def _read(self, work: Callable[[Connection], Answer]) -> Answer:
        with self.engine.connect() as connection:
            if not self.is_sqlite:
                connection.execution_options(isolation_level="AUTOCOMMIT")
            return work(connection)

    def _write(self, work: Callable[[Connection], Answer]) -> Answer:
        with self.engine.connect() as connection, connection.execution_options(begin_immediate=True).begin():
            return work(connection)

    def _persist(self, run: Callable[[], Answer], patience: timedelta | None = None) -> Answer:
        deadline = time.monotonic() + (self.patience if patience is None else patience).total_seconds()
        while True:
            try:
                with self._gate.work() if self._gate else nullcontext():
                    return run()
            except (IntegrityError, DataError):
                raise  # what was to be written is wrong, not the database
            except (DBAPIError, PoolTimeoutError) as error:
                if not _passes(error) or time.monotonic() >= deadline:
                    raise self.unavailable(error) from error
            time.sleep(random.uniform(0.001, 0.02))  # noqa: S311 - spreads retries, guards nothing

    def _new_engine(self) -> Engine:
        seconds = self.patience.total_seconds()
        common: dict[str, Any] = {
            "hide_parameters": True,  # an error's text must not carry inputs into logs
            "json_serializer": partial(json.dumps, separators=(",", ":"), allow_nan=False),
            "pool_timeout": seconds,
            "max_overflow": 20,
        }
        if self.is_sqlite:
            engine = create_engine(
                self._url, connect_args={"timeout": min(seconds, _LONGEST_SQLITE_WAIT_SECONDS)}, **common
            )
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            return engine
        try:
            engine = create_engine(
                self._url,
                connect_args={"connect_timeout": max(2, round(seconds)), **_UNTIL_A_HOST_IS_GONE},
                pool_pre_ping=True,
                **common,
            )
        except ModuleNotFoundError as error:
            raise MissingDriverError(f"The job table {self.name} needs the package psycopg.") from error
        event.listen(engine, "connect", partial(_prepare_postgresql, milliseconds=max(1, round(seconds * 1000))))
        return engine


def _checked(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise InvalidDatabaseUrlError("The job table's URL is not a database URL.") from error
    if parsed.drivername in {"postgresql", "postgres", "postgresql+psycopg"}:
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in {"sqlite", "sqlite+pysqlite"}:
        raise InvalidDatabaseUrlError(f"The job table can't lie in {parsed.drivername}, only in sqlite or postgresql.")
    if parsed.database is None or not Path(parsed.database).is_absolute():
        # Every process must find the same file, wherever it was started.
        raise InvalidDatabaseUrlError(f"The job table needs the absolute path of a file, not {parsed.database!r}.")
    refuse_network_file_system(Path(parsed.database).parent)
    return parsed


def _passes(error: DBAPIError | PoolTimeoutError) -> bool:
    """Return whether the same transaction may succeed a moment later."""
    cause = getattr(error, "orig", None)
    if isinstance(cause, sqlite3.Error):
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF in _SQLITE_PASSING
    return getattr(cause, "sqlstate", None) in _POSTGRESQL_PASSING


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where _begin_sqlite says so, not where the driver guesses
    for pragma in (
        "journal_mode = WAL",
        "synchronous = NORMAL",
        "foreign_keys = ON",
        f"wal_autocheckpoint = {_PAGES_IN_LOG}",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    if connection.get_execution_options().get("begin_immediate"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _prepare_postgresql(connection: Any, _record: object, *, milliseconds: int) -> None:
    connection.autocommit = True
    connection.execute(
        f"SET lock_timeout = {milliseconds}; SET statement_timeout = {milliseconds}; "
        "SET idle_in_transaction_session_timeout = 60000; SET timezone = 'UTC'"
    )
    connection.autocommit = False
