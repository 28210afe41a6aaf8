"""Data planes: where data lives and queries run."""

from pathlib import Path

from prefect_narrative.planes.plane import (
    CheckedQuery,
    Column,
    Dataset,
    Plane,
    PlaneUsage,
    Published,
    Rows,
    SourceVersion,
    Stage,
    Write,
)
from prefect_narrative.settings import Settings

__all__ = [
    "CheckedQuery",
    "Column",
    "Dataset",
    "Plane",
    "PlaneUsage",
    "Published",
    "Rows",
    "SourceVersion",
    "Stage",
    "Write",
    "open_plane",
]


def open_plane(name: str, directory: Path, settings: Settings) -> Plane:
    """Return the data plane that lies in a folder; an empty one where there is none yet.

    Args:
        name: The plane's name.
        directory: Its folder, such as `settings.plane_directory(name)`.
        settings: Memory, threads, temporary folder, lock timeout and import roots.

    Raises:
        NetworkFileSystemError: the folder lies on a network file system.
        PlaneUnavailableError: the folder or its catalog can't be used.
        ExtensionMissingError: the query engine lacks an extension.
        PublishLockTimeoutError: another process has been setting the plane up for too long.
    """
    # The engine takes 0.1 s to load: only those who open a plane wait for it.
    from prefect_narrative.planes.ducklake import DuckLakePlane  # noqa: PLC0415

    return DuckLakePlane(name, directory, settings)
