"""A real Prefect server for the flows that run in this process, and in processes that the tests kill."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from live_platform import Platform
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_HOME,
    PREFECT_LOGGING_TO_API_ENABLED,
    temporary_settings,
)

from prefect_narrative.cli.server import (
    api_url,
    base_environment,
    client_environment,
    free_port,
    server_command,
    server_environment,
)
from prefect_narrative.jobs.hooks import here, process_store
from prefect_narrative.settings import Settings


@pytest.fixture(scope="session")
def started(
    tmp_path_factory: pytest.TempPathFactory, with_prefect_database: Callable[[Path], None]
) -> Iterator[Platform]:
    """A server that runs, and a home; this process does not know of them."""
    home = tmp_path_factory.mktemp("platform") / "home"
    (home / "imports").mkdir(parents=True)
    port = free_port()
    base = base_environment(Settings(home=home), os.environ)
    for folder in ("PREFECT_HOME", "TMPDIR"):
        Path(base[folder]).mkdir(parents=True, exist_ok=True)
    with_prefect_database(Path(base["PREFECT_HOME"]))
    log = (home / "server.log").open("w")
    server = subprocess.Popen(server_command(), env=server_environment(base, port, None), stdout=log, stderr=log)
    try:
        _wait_for(api_url(port), server, home / "server.log")
        yield Platform(home, api_url(port), client_environment(base, api_url(port), None))
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        log.close()


@pytest.fixture(scope="module")
def platform(started: Platform) -> Iterator[Platform]:
    """The platform that this process works on, while the tests of one module run."""
    before = dict(os.environ)
    os.environ.update({name: value for name, value in started.environment.items() if name.startswith("NARRATIVE_")})
    mine = {
        PREFECT_API_URL: started.url,
        PREFECT_HOME: Path(started.environment["PREFECT_HOME"]),
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,  # its thread is waited for, about a second at each flow's end
        PREFECT_LOGGING_TO_API_ENABLED: False,  # else the log of the last flow is sent when the server is gone
    }
    try:
        with temporary_settings(mine):
            yield started
    finally:
        here()[0].close()
        process_store.cache_clear()
        os.environ.clear()
        os.environ.update(before)


def _wait_for(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + 90
    while time.monotonic() < until:
        if server.poll() is not None:
            break
        try:
            if httpx.get(f"{url}/health", timeout=2).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    pytest.fail(f"the server did not start: {log.read_text()[-2000:]}")


@pytest.fixture
def trips(platform: Platform) -> str:
    """A file of three rows below the import root."""
    (platform.imports / "trips.csv").write_text(
        "day,city,amount\n2024-01-01,Oslo,10.5\n2024-01-02,Oslo,3\n2024-01-02,Rome,7\n"
    )
    return "trips.csv"
