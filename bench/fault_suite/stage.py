"""A platform of the suite's own: server, worker and reconciler, each a child that can be killed alone, and a table."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from fault_suite.parts import Household, Part, flow_processes, python
from fault_suite.prefect_api import LONELY_POOL, POOL, PrefectApi
from fault_suite.tables import Table, make_table
from fault_suite.watching import Watcher
from prefect_narrative.cli.server import (
    api_url,
    base_environment,
    client_environment,
    free_port,
    server_command,
    server_environment,
)
from prefect_narrative.jobs.record import JobId
from prefect_narrative.jobs.sql import SqlJobStore, open_store
from prefect_narrative.settings import Settings

START_SECONDS = 120.0
BENCH = Path(__file__).parents[1]
FLOWS = "fault_suite.flows"

SERVER_PACE = {
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
}
"""Prefect's scheduler looks once a minute by default, which is too seldom to wait for."""


class Stage:
    """Everything that the cells play on.

    Args:
        folder: Where everything lies; its owner removes it.
        table: `sqlite` or `postgresql`.
        said: Takes a sentence about what happens.
    """

    def __init__(self, folder: Path, table: str, said: Callable[[str], None]) -> None:
        self.folder = folder
        self.said = said
        self.table: Table = make_table(table, folder)
        self.settings = Settings(home=folder / "home", database_url=self.table.url)
        base = base_environment(self.settings, os.environ) | {"NARRATIVE_DATABASE_URL": self.table.url}
        for name in ("PREFECT_HOME", "TMPDIR"):
            Path(base[name]).mkdir(parents=True, exist_ok=True)
        port = free_port()
        self.environment = client_environment(base, api_url(port), None) | {
            "PYTHONPATH": os.pathsep.join(filter(None, (str(BENCH), os.environ.get("PYTHONPATH"))))
        }
        self.prefect = PrefectApi(api_url(port))
        worker = [
            "worker",
            "start",
            "--pool",
            POOL,
            "--type",
            "process",
            "--name",
            "faults",
            "--install-policy",
            "never",
        ]
        self.server = Part("server", server_command(), server_environment(base, port, None) | SERVER_PACE, folder)
        self.worker = Part(
            "worker",
            python("-m", "prefect", *worker, "--no-create-pool-if-not-found"),
            self.environment | {"PREFECT_WORKER_QUERY_SECONDS": "1"},
            folder,
        )
        self.reconciler = Part(
            "reconciler", python("-m", "prefect_narrative.cli", "reconciler"), self.environment, folder
        )
        self.store: SqlJobStore = open_store(self.settings, patience=timedelta(seconds=5))
        self.watcher = Watcher(self.store, self.prefect)
        self.household = Household(lambda: (self.server, self.worker, self.reconciler), said)
        self.deployments: dict[str, str] = {}
        self.deleted: set[str] = set()
        """Runs that the cells have deleted."""

    def start(self) -> None:
        """Start everything and return when a job can run."""
        self.household.start()
        self.said(f"starting a platform with its job table in {self.table.name}")
        self.server.start()
        self.wait("the server answers", self.prefect.healthy, self.server)
        self.prefect.make_pool(POOL)
        self.prefect.make_pool(LONELY_POOL)
        since = datetime.now(UTC)
        self.reconciler.start()
        self.worker.start()
        self._deploy()
        self.wait("a worker asks for work", lambda: self.prefect.polled_since(POOL, since), self.worker)
        self.wait_for_reconciler()

    def end(self) -> None:
        """End everything and wait for it; what a part left behind is the suite's guard's to end."""
        with ExitStack() as last:
            last.callback(self.table.end)
            last.callback(self.prefect.close)
            last.callback(self.store.close)
            for part in (self.server, self.reconciler, self.worker):
                last.callback(part.kill, signal.SIGTERM, comes_back=False)
            for part in (self.server, self.reconciler, self.worker):
                last.callback(part.ask_to_end)
            last.callback(self.household.end)
            last.callback(self.watcher.end)

    def make_ready(self) -> None:
        """Have every part run in its usual way, whatever the last cell did to it."""
        for part in (self.server, self.worker, self.reconciler):
            if part.alive:
                part.thaw()
            if part.altered and part.alive:
                part.kill(signal.SIGTERM, comes_back=False)
        if not self.server.alive:
            self.server.start()
        self.wait("the server answers", self.prefect.healthy, self.server)
        since = datetime.now(UTC)
        fresh_worker, fresh_reconciler = not self.worker.alive, not self.reconciler.alive
        if fresh_worker:
            self.worker.start()
        if fresh_reconciler:
            self.reconciler.start()
        self.wait("a worker asks for work", lambda: self.prefect.polled_since(POOL, since), self.worker)
        if fresh_reconciler:
            self.wait_for_reconciler()

    def wait_for_reconciler(self) -> None:
        """Return when the reconciler has shown that it works: a run that no hook reports has its row."""
        probe = self.prefect.trigger(self.deployments["lonely"], {})["id"]
        self.wait("the reconciler makes rows", lambda: self.row(probe) is not None, self.reconciler)
        self.prefect.cancel(probe)
        self.wait("the reconciler ends rows", lambda: (row := self.row(probe)) and row.state.terminal, self.reconciler)

    def row(self, job_id: str) -> Any:
        """Return a job's row as it is."""
        return self.store.get(JobId(UUID(job_id)))

    def narrative(self, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run a command of ours; `code` is what it must end with, None: anything."""
        done = subprocess.run(
            python("-m", "prefect_narrative.cli", *arguments),
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        if code is not None and done.returncode != code:
            raise RuntimeError(f"narrative {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def deploy_ours(self) -> None:
        """Deploy our own job types, as `narrative up` does; most cells do without them."""
        if "view" not in self.deployments:
            self.narrative("deploy")
            self.deployments["view"] = self.prefect.deployment_id("create-materialized-view/narrative")

    def kill_flows(self, job_id: str) -> None:
        """Kill what still runs of a job."""
        for pid in flow_processes(job_id):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def wait(
        self, what: str, ready: Callable[[], object], part: Part | None = None, seconds: float = START_SECONDS
    ) -> None:
        """Return when something is so.

        Raises:
            TimeoutError: it was not in time; the message has the end of the part's log.
        """
        until = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > until:
                tail = f"\n{part.tail()}" if part else ""
                raise TimeoutError(f"waited {seconds:.0f} s in vain until {what}{tail}")
            time.sleep(0.05)

    def _deploy(self) -> None:
        limits: Mapping[str, Any] = {"concurrency_limit": 1}
        for name, flow, entrypoint, more in (
            ("tick", "fault-tick", "tick", {}),
            ("lonely", "fault-tick", "tick", {"name": "lonely", "pool": LONELY_POOL}),
            ("checked", "fault-tick", "tick", {"name": "checked", "enforce_parameter_schema": True}),
            ("timetable", "fault-tick", "tick", {"name": "timetable"}),
            ("calendar", "fault-tick", "tick", {"name": "calendar", "pool": LONELY_POOL}),
            (
                "queued",
                "fault-tick",
                "tick",
                {"name": "queued", **limits, "concurrency_options": {"collision_strategy": "ENQUEUE"}},
            ),
            (
                "exclusive",
                "fault-tick",
                "tick",
                {"name": "exclusive", **limits, "concurrency_options": {"collision_strategy": "CANCEL_NEW"}},
            ),
            ("deaf-to-all", "fault-deaf-to-all", "deaf_to_all", {}),
            ("deaf-to-start", "fault-deaf-to-start", "deaf_to_start", {}),
            ("deaf-to-end", "fault-deaf-to-end", "deaf_to_end", {}),
            ("block", "fault-block", "block", {}),
            ("flaky", "fault-flaky", "flaky", {}),
            ("fail", "fault-fail", "fail", {}),
            ("parent", "fault-parent", "parent", {}),
            ("pause", "fault-pause", "pause", {}),
            ("suspend", "fault-suspend", "suspend", {}),
            ("publish", "fault-publish", "publish", {}),
            ("missing", "fault-missing", "nowhere_to_be_found", {}),
        ):
            self.deployments[name] = self.prefect.deploy(flow, f"{FLOWS}.{entrypoint}", **more)
        self.deployments["broken"] = self.prefect.deploy("fault-broken", "fault_suite.broken.flow")
