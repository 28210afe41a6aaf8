"""What every kind of test shares."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def with_prefect_database(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], None]:
    """Put an empty database of Prefect's into a PREFECT_HOME.

    A server makes its own where there is none, by all of Prefect's migrations: ten seconds of work for each server.
    Here they are done once for all processes of a test run.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    home = shared / "prefect-database"

    def put(prefect_home: Path) -> None:
        with (shared / "prefect-database.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (home / "prefect.db").exists():
                _migrate(home)
        for folder in (prefect_home.parent, prefect_home):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copy(home / "prefect.db", prefect_home / "prefect.db")

    return put


def _migrate(home: Path) -> None:
    unfinished = home.with_name(f"{home.name}-{os.getpid()}")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NARRATIVE_", "PREFECT_"))}
    subprocess.run(
        [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"],
        env={**kept, "PREFECT_HOME": str(unfinished), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"},
        check=True,
        capture_output=True,
        timeout=240,
    )
    assert not list(unfinished.glob("prefect.db-*")), "the database is not closed"
    unfinished.rename(home)
