"""A Prefect server and a worker of a bench's own, on loopback, of which nothing is left at the end."""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx

from prefect_narrative.cli.child import Child, Program
from prefect_narrative.cli.server import (
    api_url,
    base_environment,
    client_environment,
    free_port,
    server_command,
    server_environment,
)
from prefect_narrative.settings import Settings

BENCH = Path(__file__).parent
START_SECONDS = 120.0


class PrivatePrefect:
    """A running server.

    Args:
        home: The folder that everything lies in.
        url: Address of the server's API.
        environment: What a process needs to talk to it.
        closing: Ends what is started later.
    """

    def __init__(self, home: Path, url: str, environment: dict[str, str], closing: ExitStack) -> None:
        self.home = home
        self.url = url
        self.environment = environment
        self._closing = closing

    def start_worker(self, pool: str, *, poll_seconds: float) -> None:
        """Start a worker for an existing process pool; its flows may be modules of this folder."""
        environment = {
            **self.environment,
            "PYTHONPATH": os.pathsep.join(filter(None, (str(BENCH), os.environ.get("PYTHONPATH")))),
            "PREFECT_WORKER_QUERY_SECONDS": str(poll_seconds),
        }
        options = ["--pool", pool, "--type", "process", "--name", "bench", "--install-policy", "never"]
        command = [sys.executable, "-m", "prefect", "worker", "start", *options, "--no-create-pool-if-not-found"]
        since = datetime.now(UTC).isoformat()
        worker = self._closing.enter_context(_running("worker", command, environment, self.home))

        def asked_for_work() -> bool:
            answer = httpx.post(f"{self.url}/work_pools/{pool}/queues/filter", json={}, timeout=10)
            return any((queue.get("last_polled") or "") >= since for queue in answer.raise_for_status().json())

        _wait(worker, asked_for_work)


@contextmanager
def private_prefect() -> Iterator[PrivatePrefect]:
    """Start a server in a new temporary folder; this process's environment is that of its clients until the end.

    Import Prefect only inside the block: it reads its settings once.
    """
    before = dict(os.environ)
    with (
        tempfile.TemporaryDirectory(prefix="narrative-bench-", ignore_cleanup_errors=True) as folder,
        ExitStack() as end,
    ):
        settings = Settings(home=Path(folder) / "home")
        base = base_environment(settings, os.environ)
        for name in ("PREFECT_HOME", "TMPDIR"):
            Path(base[name]).mkdir(parents=True, exist_ok=True)
        port = free_port()
        server = end.enter_context(
            _running("server", server_command(), server_environment(base, port, None), settings.home)
        )
        _wait(server, lambda: httpx.get(f"{api_url(port)}/health", timeout=2).is_success)
        environment = client_environment(base, api_url(port), None)
        os.environ.clear()
        os.environ.update(environment)
        try:
            yield PrivatePrefect(settings.home, api_url(port), environment, end)
        finally:
            os.environ.clear()
            os.environ.update(before)


@contextmanager
def _running(name: str, command: list[str], environment: dict[str, str], home: Path) -> Iterator[Child]:
    child = Child(Program(name, command, environment, home, home / "logs" / f"{name}.log", grace_seconds=10))
    child.start()
    try:
        yield child
    finally:
        child.end()


def _wait(child: Child, ready: Callable[[], bool]) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            if ready():
                return
        except httpx.HTTPError:
            pass
        if child.exit_code is not None or time.monotonic() > until:
            raise RuntimeError(f"the {child.program.name} did not start:\n{child.log_tail()}")
        time.sleep(0.2)
