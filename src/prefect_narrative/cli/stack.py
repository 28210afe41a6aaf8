"""What `narrative up` runs: a private Prefect server, the deployments, a worker and the reconciler, in this order."""

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar
from uuid import UUID

from prefect_narrative.cli import job_api, server
from prefect_narrative.cli.child import Child, Program
from prefect_narrative.cli.connection import prefect_home
from prefect_narrative.cli.guard import become_subreaper, end_children
from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.jobs.record import JobId
from prefect_narrative.jobs.store import JobTableUnavailableError
from prefect_narrative.settings import Settings

START_SECONDS = 120.0
"""How long a server, the deployments or a worker may take to be ready, each."""
PORT_TRIES = 5
POLL_SECONDS = 0.1
TABLE_SECONDS = 8.0
"""How long the end waits for the reconciler to see that jobs were ended."""


class StartFailedError(NarrativeError):
    """A part of `narrative up` did not start."""

    kind: ClassVar[FailureKind] = FailureKind.RESOURCE
    code: ClassVar[str] = "start_failed"
    remedy = "Mend what its log says, then start `narrative up` again."


class StoppedError(Exception):
    """Somebody asked to stop before everything was ready."""


@dataclass(frozen=True)
class Plan:
    """What is to be started."""

    port: int | None = None
    """None: a free one."""
    auth_string: str | None = None
    """What callers must show, `user:password`; None: nothing."""
    jobs_port: int | None = None
    """Where jobs are read over HTTP; None: a free one."""
    worker: bool = True


class Stack:
    """The processes of one `narrative up`. What it starts never outlives this process, however it ends.

    Args:
        settings: The home that everything works in.
        plan: What to start.
        report: Takes a sentence about each thing that happens.
        held: File descriptors that must stay open as long as any of the processes lives.
    """

    def __init__(self, settings: Settings, plan: Plan, report: Callable[[str], None], held: Sequence[int] = ()) -> None:
        self._settings = settings
        self._plan = plan
        self._report = report
        self._held = tuple(held)
        self._stop = threading.Event()
        self._base = server.base_environment(settings, os.environ)
        self._port = self._jobs_port = 0
        self._server: Child | None = None
        self._worker: Child | None = None
        self._reconciler: Child | None = None
        self._calls: server.ServerCalls | None = None

    @property
    def api_url(self) -> str:
        """The address of Prefect's API."""
        return server.api_url(self._port)

    @property
    def ui_url(self) -> str:
        """The address of Prefect's pages."""
        return server.ui_url(self._port)

    @property
    def jobs_url(self) -> str:
        """The address of the jobs."""
        return job_api.jobs_url(self._jobs_port)

    def ask_to_stop(self) -> None:
        """Make `start` or `tend` return soon. May be called from a signal handler."""
        self._stop.set()

    def start(self) -> None:
        """Start everything and return when a worker has asked for work.

        Raises:
            StartFailedError: something did not start; the message has the tail of its log.
            StoppedError: somebody asked to stop.
        """
        become_subreaper()
        home = prefect_home(self._settings.make_home())
        (home / "temp").mkdir(mode=0o700, parents=True, exist_ok=True)
        for root in self._settings.allowed_import_roots:
            root.mkdir(parents=True, exist_ok=True)
        self._start_server()
        if self._calls is not None:
            self._calls.crash_dead_runs("`narrative up` ended before the run did.", unstarted=True)
        self._deploy()
        since = datetime.now(UTC).isoformat()
        environment = server.client_environment(self._base, self.api_url, self._plan.auth_string)
        if not self._plan.worker:
            self._start_reconciler(environment)
            return
        name = f"up-{socket.gethostname()}"
        worker = self._begin_worker(name, environment)
        self._start_reconciler(environment)  # while the worker imports what it needs
        calls = self._calls
        self._wait(worker, lambda: calls is not None and calls.worker_polled(name, since))

    def tend(self) -> None:
        """Restart what ends unexpectedly, until somebody asks to stop."""
        parts = [part for part in (self._server, self._reconciler, self._worker) if part is not None]
        while not self._stop.wait(POLL_SECONDS * 5):
            for part in parts:
                said = part.restart_when_due()
                if said:
                    self._report(said)
                    if part is self._worker and part.exit_code is not None and self._calls is not None:
                        self._calls.crash_dead_runs("The worker ended and took the run's process with it.")

    def stop(self) -> None:
        """End everything: the worker first, then what it left is put right, then the reconciler, then the server."""
        if self._worker is not None:
            self._report("Stopping the worker")
            self._worker.end()
            if self._calls is not None:
                ended = self._calls.crash_dead_runs("The worker was stopped while the run was under way.")
                if ended:
                    self._report(f"{len(ended)} running job(s) were ended; a retry in Prefect's UI runs them again")
                    self._wait_for_table(ended)
        if self._reconciler is not None:
            self._reconciler.end()
        if self._server is not None:
            self._report("Stopping the server")
            self._server.end()
        if self._calls is not None:
            self._calls.close()
        end_children()

    def _start_server(self) -> None:
        home = prefect_home(self._settings.home)
        for attempt in range(1, PORT_TRIES + 1):
            self._port = server.free_port() if self._plan.port is None else server.check_port(self._plan.port)
            environment = server.server_environment(self._base, self._port, self._plan.auth_string)
            self._server = self._child("server", server.server_command(), environment, grace_seconds=5)
            self._calls = calls = server.ServerCalls(self.api_url, self._plan.auth_string)
            self._report(f"Starting Prefect's server on port {self._port}")
            self._server.start()
            try:
                self._wait(self._server, lambda calls=calls: calls.healthy(home))  # type: ignore[misc]
            except StartFailedError:
                taken = "already in use" in self._server.log_tail()
                self._server.end()
                calls.close()
                self._calls = None
                if not taken or self._plan.port is not None or attempt == PORT_TRIES:
                    raise
            else:
                return

    def _begin_worker(self, name: str, environment: Mapping[str, str]) -> Child:
        self._report("Starting the worker")
        options = ["--pool", server.WORK_POOL, "--type", "process", "--name", name, "--install-policy", "never"]
        command = [sys.executable, "-m", "prefect", "worker", "start", *options, "--no-create-pool-if-not-found"]
        polling = {**environment, "PREFECT_WORKER_QUERY_SECONDS": "1"}
        self._worker = self._child("worker", command, polling, grace_seconds=15)
        self._worker.start()
        return self._worker

    def _start_reconciler(self, environment: Mapping[str, str]) -> None:
        """Start the reconciler at a port that it keeps over restarts, and return when it answers there."""
        secret = server.reconciler_environment(environment, job_api.token_of(self._settings))
        for attempt in range(1, PORT_TRIES + 1):
            given = self._plan.jobs_port
            self._jobs_port = port = server.free_port() if given is None else server.check_port(given)
            command = [sys.executable, "-m", "prefect_narrative.cli", "reconciler", "--port", str(port)]
            self._reconciler = child = self._child("reconciler", command, secret, grace_seconds=10)
            self._report(f"Starting the reconciler, with the HTTP job API on port {port}")
            child.start()
            try:
                self._wait(child, lambda port=port, child=child: job_api.answers(port, child.pid))  # type: ignore[misc]
            except StartFailedError:
                taken = f"Port {port} of" in child.log_tail()
                child.end()
                if not taken or given is not None or attempt == PORT_TRIES:
                    raise
            else:
                return

    def _deploy(self) -> None:
        self._report("Applying the deployments")
        environment = server.client_environment(self._base, self.api_url, self._plan.auth_string)
        child = self._child("deploy", [sys.executable, "-m", "prefect_narrative.cli", "deploy"], environment)
        child.start()
        try:
            self._wait(child, lambda: child.exit_code == 0)
        finally:
            child.end()

    def _wait_for_table(self, jobs: Sequence[UUID]) -> None:
        """Let the reconciler bring the end of these jobs into the job table, while the server still answers."""
        from prefect_narrative.jobs.sql import open_store  # noqa: PLC0415 - 0.3 s, only where a job was ended

        until = time.monotonic() + TABLE_SECONDS
        with suppress(JobTableUnavailableError), open_store(self._settings) as store:
            while time.monotonic() < until:
                found = [store.get(JobId(job)) for job in jobs]
                if all(job is not None and job.state.terminal for job in found):
                    return
                time.sleep(POLL_SECONDS)

    def _child(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], grace_seconds: float = 5
    ) -> Child:
        folder = prefect_home(self._settings.home)
        log = self._settings.home / "logs" / f"{name}.log"
        return Child(Program(name, command, environment, folder, log, grace_seconds), self._held)

    def _wait(self, child: Child, ready: Callable[[], bool]) -> None:
        until = time.monotonic() + START_SECONDS
        while not ready():
            code = child.exit_code
            if (code is not None and code != 0) or time.monotonic() > until:
                what = "was not ready in time" if code is None else f"ended with exit code {code}"
                raise StartFailedError(
                    f"The {child.program.name} {what}. The end of {child.program.log}:\n{child.log_tail()}"
                )
            if self._stop.wait(POLL_SECONDS):
                raise StoppedError
