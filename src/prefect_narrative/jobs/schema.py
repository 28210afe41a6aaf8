"""The job table's schema on its way to the version that this code needs."""

import sqlite3
from datetime import timedelta
from typing import ClassVar

from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from prefect_narrative.jobs.database import Database
from prefect_narrative.jobs.store import JobTableUnavailableError

HEAD = "0003"
"""The newest step in `migrations.versions`. A constant, since to ask Alembic means to import it, at each start."""

_ADVISORY_LOCK = 0x6E61727261746976
"""Key of the lock under which one process at a time migrates a PostgreSQL database."""


class NewerSchemaError(JobTableUnavailableError):
    """The job table was made by a newer version of prefect-narrative."""

    code: ClassVar[str] = "newer_schema"
    remedy = "Upgrade prefect-narrative in this environment: pip install --upgrade prefect-narrative"


def is_up_to_date(database: Database) -> bool:
    """Return whether the tables are there, as this code needs them.

    Raises:
        JobTableUnavailableError: the database can't be used.
        NewerSchemaError: it is newer than this code.
    """
    return _is_current(database, database.read(_version))


def bring_up_to_date(database: Database, *, patience: timedelta | None = None) -> None:
    """Make or migrate the tables where needed; any number of processes may do so at once.

    Args:
        database: Where the tables lie.
        patience: How long to wait for a lock on the whole of an SQLite file. None: as long as the database says.

    Raises:
        JobTableUnavailableError: the database can't be used.
        NewerSchemaError: it is newer than this code.
    """
    if not is_up_to_date(database):
        from alembic import command  # noqa: PLC0415 - slow to import, and needed once in a table's life
        from alembic.config import Config  # noqa: PLC0415

        config = Config()
        config.set_main_option("script_location", "prefect_narrative.jobs:migrations")

        def migrate(connection: Connection) -> None:
            if not database.is_sqlite:
                connection.execute(text("SET LOCAL statement_timeout = 60000"))
                connection.execute(text("SET LOCAL lock_timeout = 60000"))
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
            if not _is_current(database, _version(connection)):
                config.attributes["connection"] = connection
                command.upgrade(config, "head")

        database.write(migrate, patience=patience)


def _version(connection: Connection) -> str | None:
    try:
        with connection.begin_nested() if connection.in_transaction() else connection.begin():
            return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    except (OperationalError, ProgrammingError) as error:
        cause = error.orig
        missing = (
            "no such table" in str(cause)
            if isinstance(cause, sqlite3.Error)
            else getattr(cause, "sqlstate", None) == "42P01"
        )
        if missing:
            return None
        raise


def _is_current(database: Database, version: str | None) -> bool:
    if version is not None and version > HEAD:
        raise NewerSchemaError(
            f"The job table {database.name} is at schema {version}; this version of prefect-narrative knows {HEAD}."
        )
    return version == HEAD
