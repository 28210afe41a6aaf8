"""Settings of this process, read from `NARRATIVE_*` environment variables; each default works on one machine."""

import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar

import psutil
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from prefect_narrative.errors import FailureKind, NarrativeError

NETWORK_FILE_SYSTEMS = frozenset(
    {"9p", "afs", "ceph", "cifs", "fuse.sshfs", "glusterfs", "nfs", "nfs4", "smb3", "smbfs"}
)


class NetworkFileSystemError(NarrativeError, OSError):
    """SQLite and file locks are not safe on a network file system."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "network_file_system"
    remedy = "Set NARRATIVE_HOME to a folder on a local disk."


class Settings(BaseSettings):
    """What a process of ours needs to know before it can do anything.

    Values come from the environment: field `memory_limit` from `NARRATIVE_MEMORY_LIMIT`, and so on.
    """

    # An error about a setting must not repeat its value: it may be a secret.
    model_config = SettingsConfigDict(env_prefix="NARRATIVE_", frozen=True, extra="ignore", hide_input_in_errors=True)

    home: Path = Path("~/.narrative")
    """Folder of everything that we keep: job table, planes, outbox, and the Prefect home of `up` and `demo`."""
    database_url: str | None = None
    """SQLAlchemy URL of the job table, SQLite or PostgreSQL. None: `jobs.sqlite` in `home`."""
    import_roots: Annotated[tuple[Path, ...], NoDecode] = ()
    """Folders below which jobs may read files, separated by `:`. None given: `imports` in `home`."""
    memory_limit: str = "2GB"
    """Memory that the query engine of one job may use before it spills to `temp_directory`."""
    threads: int | None = Field(default=None, ge=1)
    """Threads of the query engine of one job. None: all cores."""
    temp_directory: Path | None = None
    """Folder to which big queries spill. None: `temp` in `home`."""
    publish_lock_timeout: timedelta = timedelta(seconds=60)
    """How long a job waits for the lock under which data is published; ISO-8601 or seconds."""
    api_token: SecretStr | None = None
    """What callers of the HTTP job API must show, 16 characters or more. None: nothing, which loopback alone allows."""

    @field_validator("import_roots", mode="before")
    @classmethod
    def _split_roots(cls, value: Any) -> Any:
        return tuple(part for part in value.split(os.pathsep) if part) if isinstance(value, str) else value

    @field_validator("home", "temp_directory", mode="after")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().absolute()

    @field_validator("import_roots", mode="after")
    @classmethod
    def _absolute_roots(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        return tuple(root.expanduser().absolute() for root in value)

    @field_validator("api_token", mode="after")
    @classmethod
    def _fit_for_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"[!-~]{16,1000}", value.get_secret_value()):
            raise ValueError("a token has 16 to 1,000 printable ASCII characters and no space")
        return value

    @property
    def jobs_database_url(self) -> str:
        """SQLAlchemy URL of the job table."""
        return self.database_url or f"sqlite:///{self.home / 'jobs.sqlite'}"

    @property
    def allowed_import_roots(self) -> tuple[Path, ...]:
        """Folders below which jobs may read files."""
        return self.import_roots or (self.home / "imports",)

    @property
    def spill_directory(self) -> Path:
        """Folder to which big queries spill."""
        return self.temp_directory or self.home / "temp"

    @property
    def outbox(self) -> Path:
        """Folder of results and failures that the job table could not take yet."""
        return self.home / "outbox"

    @property
    def planes(self) -> Path:
        """Folder of all data planes."""
        return self.home / "planes"

    def plane_directory(self, name: str) -> Path:
        """Folder of the data plane called `name`."""
        return self.planes / name

    def make_home(self) -> Path:
        """Create `home`, readable by its owner only, and return it.

        Raises:
            NetworkFileSystemError: `home` lies on a network file system.
        """
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        refuse_network_file_system(self.home)
        return self.home


def refuse_network_file_system(folder: Path) -> None:
    """Raise if `folder` lies on a network file system.

    Raises:
        NetworkFileSystemError: with the folder, its mount point and the file system's type.
    """
    resolved = folder.resolve()
    mounts = {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    for place in (resolved, *resolved.parents):
        if place in mounts:
            if mounts[place] in NETWORK_FILE_SYSTEMS:
                raise NetworkFileSystemError(
                    f"{folder} lies on {mounts[place]} (mounted at {place}): "
                    "SQLite and file locks are not safe on a network file system."
                )
            return
