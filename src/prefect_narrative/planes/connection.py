"""The plane's connections: one that reads and runs users' SQL, one that publishes, one for files to be imported.

All of them are sealed once they are set up: no network, no file outside the folders named here, no setting changed.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect_narrative.planes.errors import PlaneUnavailableError, QueryRefusedError
from prefect_narrative.planes.extensions import load_extension
from prefect_narrative.planes.failures import translated
from prefect_narrative.planes.names import literal
from prefect_narrative.settings import Settings

if TYPE_CHECKING:
    import duckdb

LAKE = "lake"
"""The name under which the lake is attached."""
METADATA = "__ducklake_metadata_lake"
"""The name under which DuckLake attaches the catalog's own tables."""
ENGINE = "narrative_engine"
"""The variable of a reading connection that says what runs its queries."""
CATALOG_BUSY_MILLISECONDS = 60_000


@dataclass(frozen=True)
class Place:
    """Where a plane lies."""

    directory: Path

    @property
    def catalog(self) -> Path:
        """The catalog's file. It exists once the plane has been set up completely."""
        return self.directory / "catalog.sqlite"

    @property
    def lock(self) -> Path:
        """The publish lock's file."""
        return self.directory / "publish.lock"

    @property
    def data(self) -> Path:
        """Folder of all data files."""
        return self.directory / "data"

    def staged(self, job_id: object, token: int) -> Path:
        """Folder of what one attempt of a job has staged."""
        return self.data / "jobs" / str(job_id) / str(token)


class SpillFolder:
    """A folder of our own below the spill directory: engines of several processes may not share one.

    A lock on a file in it says that its process lives; folders whose process died are removed by the next one.
    """

    def __init__(self, below: Path) -> None:
        below.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._remove_abandoned(below)
        self.path = Path(tempfile.mkdtemp(prefix="plane-", dir=below))
        self._descriptor = os.open(self.path / "alive", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._descriptor)

    @staticmethod
    def _remove_abandoned(below: Path) -> None:
        for alive in below.glob("plane-*/alive"):
            try:
                descriptor = os.open(alive, os.O_RDWR | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(alive.parent, ignore_errors=True)
            except BlockingIOError:
                pass
            finally:
                os.close(descriptor)


def open_reader(place: Place, settings: Settings, spill: Path) -> "duckdb.DuckDBPyConnection":
    """Return a connection that reads the lake and writes files below its data folder, and can do nothing else."""
    connection = _connect(settings, spill)
    # Once it is sealed nobody may look into the folder of extensions any more.
    versions = "SELECT extension_version FROM duckdb_extensions() WHERE extension_name = 'ducklake'"
    connection.execute(f"SET VARIABLE {ENGINE} = 'DuckDB ' || version() || ' with DuckLake ' || ({versions})")
    _attach(connection, place.catalog, place.data, read_only=True)
    _seal(connection, directories=[place.data])
    return connection


def open_writer(
    place: Place, settings: Settings, spill: Path, catalog: Path | None = None
) -> "duckdb.DuckDBPyConnection":
    """Return a connection that publishes. No user's SQL ever runs on it.

    Args:
        place: The plane.
        settings: Memory and threads.
        spill: Where to spill.
        catalog: Another catalog's file than the plane's, for the plane that is being set up.
    """
    connection = _connect(settings, spill)
    # A commit that lost against another writer would get another snapshot's id than its result says.
    connection.execute("SET ducklake_max_retry_count = 0")
    _attach(connection, catalog or place.catalog, place.data, read_only=False, new=catalog is not None)
    _seal(connection, directories=[place.data])
    return connection


def open_importer(settings: Settings, spill: Path, files: Sequence[Path], below: Path) -> "duckdb.DuckDBPyConnection":
    """Return a connection that reads exactly these files and writes below a folder. No lake is attached."""
    connection = _connect(settings, spill, extensions=())
    _seal(connection, directories=[below], paths=files)
    return connection


def execute_one(connection: "duckdb.DuckDBPyConnection", sql: str, kind: str) -> list[tuple[Any, ...]]:
    """Run a text that is exactly one statement of a kind, and return its rows.

    A second line behind the query check: the engine lets a sealed connection attach the files that it has attached
    already, once more and for writing, so nothing but the statement that was meant may run.

    Args:
        connection: A sealed connection.
        sql: The statement, with a user's checked query in it.
        kind: `SELECT` (DESCRIBE is one as well) or `COPY`.

    Raises:
        QueryRefusedError: the text is something else.
    """
    statements = connection.extract_statements(sql)
    if len(statements) != 1 or statements[0].type.name != kind:
        raise QueryRefusedError("The query is not exactly one SELECT.")
    return connection.execute(statements[0]).fetchall()


@contextmanager
def one_moment(connection: "duckdb.DuckDBPyConnection") -> Iterator[None]:
    """Let a connection see the lake as it is at one moment, for a block in which it writes nothing."""
    import duckdb  # noqa: PLC0415

    connection.execute("BEGIN")
    try:
        yield
    finally:
        with suppress(duckdb.Error):  # what has failed may have ended it already
            connection.execute("ROLLBACK")


def _connect(
    settings: Settings, spill: Path, extensions: Sequence[str] = ("sqlite_scanner", "ducklake")
) -> "duckdb.DuckDBPyConnection":
    import duckdb  # noqa: PLC0415  (the engine is loaded by those who open a plane only)

    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
        "memory_limit": settings.memory_limit,
        "preserve_insertion_order": "false",
        "temp_directory": str(spill),
    }
    if settings.threads is not None:
        config["threads"] = str(settings.threads)
    connection = duckdb.connect(":memory:", config=config)
    for setting in (
        "python_enable_replacements = false",
        "enable_progress_bar = true",
        "enable_progress_bar_print = false",
        "progress_bar_time = 0",
    ):
        connection.execute(f"SET {setting}")
    for extension in extensions:
        load_extension(connection, extension)
    # ICU, which is built in, makes casts of times depend on it.
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _attach(
    connection: "duckdb.DuckDBPyConnection", catalog: Path, data: Path, *, read_only: bool, new: bool = False
) -> None:
    import duckdb  # noqa: PLC0415

    options = [
        f"DATA_PATH {literal(f'{data}/')}",
        "META_JOURNAL_MODE 'WAL'",
        f"META_BUSY_TIMEOUT {CATALOG_BUSY_MILLISECONDS}",
    ]
    if not new:
        # Where the catalog's file was emptied, an empty lake must not take the place of the one that is lost.
        options.append("CREATE_IF_NOT_EXISTS false")
    if read_only:
        options.append("READ_ONLY")
    try:
        connection.execute(f"ATTACH {literal(f'ducklake:sqlite:{catalog}')} AS {LAKE} ({', '.join(options)})")
    except duckdb.InvalidInputException as error:
        raise PlaneUnavailableError(f"The plane's catalog {catalog} has no lake in it.") from error
    except duckdb.Error as error:
        raise translated(error) from error


def _seal(connection: "duckdb.DuckDBPyConnection", directories: Sequence[Path], paths: Sequence[Path] = ()) -> None:
    folders = ", ".join(literal(f"{folder}/") for folder in directories)
    connection.execute(f"SET allowed_directories = [{folders}]")
    if paths:
        connection.execute(f"SET allowed_paths = [{', '.join(literal(str(path)) for path in paths)}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
