"""The private Prefect server of `narrative up`: its environment, its port, and the few calls that `up` makes to it."""

import base64
import os
import re
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import httpx
import psutil

from prefect_narrative.cli.connection import past_proxies, prefect_home
from prefect_narrative.cli.exits import UsageError
from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.settings import Settings

HOST = "127.0.0.1"
WORK_POOL = "narrative"
KEPT_PREFECT_VARIABLES = re.compile(r"PREFECT_LOGGING_(LEVEL|.*_LEVEL)")
"""The only Prefect variables of the caller's that our processes see: with others they would be less private."""
TOKEN_VARIABLE = "NARRATIVE_API_TOKEN"  # noqa: S105 - its name
"""For the reconciler alone: neither the server nor what runs jobs needs to know it."""
PAGE = 200
CLOCK_TOLERANCE = timedelta(seconds=2)
"""How far two readings of one process's start may lie apart after the clock was set."""


class PortTakenError(NarrativeError, OSError):
    """The port is in use."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "port_taken"
    remedy = "Give another --port, or none: then a free one is taken."


def free_port() -> int:
    """Return a port that the kernel found free; somebody else may take it before it is used."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def check_port_number(port: int) -> int:
    """Return a given port.

    Raises:
        UsageError: it is not a port number.
    """
    if not 1 <= port <= 65535:
        raise UsageError(f"{port} is not a port: ports go from 1 to 65535.", remedy=PortTakenError.remedy)
    return port


def check_port(port: int) -> int:
    """Return a given port if a server can listen on it now.

    Raises:
        UsageError: it is not a port number.
        PortTakenError: somebody listens on it.
    """
    check_port_number(port)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as exc:
            raise PortTakenError(f"Port {port} of {HOST} can't be used: {exc.strerror}.") from exc
    return port


def ui_url(port: int, host: str = HOST) -> str:
    """Return the address of the server's pages."""
    return f"http://{host}:{port}"


def api_url(port: int) -> str:
    """Return the address of the server's API."""
    return f"{ui_url(port)}/api"


def base_environment(settings: Settings, given: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of every process of `up`: ours set, the caller's own Prefect configuration left out.

    The token of the job API is left out too: `reconciler_environment` has it.
    """
    home = prefect_home(settings.home)
    kept = {
        name: value
        for name, value in given.items()
        if (not name.startswith("PREFECT_") or KEPT_PREFECT_VARIABLES.fullmatch(name)) and name != TOKEN_VARIABLE
    }
    ours = {
        "NARRATIVE_HOME": str(settings.home),
        "NARRATIVE_IMPORT_ROOTS": os.pathsep.join(map(str, settings.allowed_import_roots)),
        "PREFECT_HOME": str(home),
        "PREFECT_LOGGING_COLORS": "false",
        "PREFECT_CLI_COLORS": "false",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(home / "temp"),
    }
    return {**kept, **past_proxies(given.get("NO_PROXY") or given.get("no_proxy")), **ours}


def server_environment(base: Mapping[str, str], port: int, auth_string: str | None) -> dict[str, str]:
    """Return the environment of the server: loopback, no telemetry, cross-origin calls from its own pages only."""
    environment = {
        **base,
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"{ui_url(port)},{ui_url(port, 'localhost')}",
        "PREFECT_UI_API_URL": api_url(port),
        "PREFECT_UI_STATIC_DIRECTORY": str(Path(base["PREFECT_HOME"]) / "ui"),
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    }
    if auth_string is not None:
        environment["PREFECT_SERVER_API_AUTH_STRING"] = auth_string
        environment["PREFECT_API_AUTH_STRING"] = auth_string
    return environment


def client_environment(base: Mapping[str, str], url: str, auth_string: str | None) -> dict[str, str]:
    """Return the environment of what talks to the server: worker, reconciler, deployments, flows."""
    environment = {**base, "PREFECT_API_URL": url}
    if auth_string is not None:
        environment["PREFECT_API_AUTH_STRING"] = auth_string
    return environment


def reconciler_environment(base: Mapping[str, str], token: str | None) -> dict[str, str]:
    """Return the environment of the reconciler: that of a client, and what callers of the job API must show."""
    return dict(base) if token is None else {**base, TOKEN_VARIABLE: token}


def server_command() -> list[str]:
    """Return the command that runs the server; where it listens is said by its environment."""
    return [sys.executable, "-m", "prefect", "server", "start"]


class ServerCalls:
    """The few calls that `up` makes to its server, without importing Prefect.

    Args:
        url: The API's address.
        auth_string: What the server asks for; None: nothing.
    """

    def __init__(self, url: str, auth_string: str | None) -> None:
        headers = {}
        if auth_string is not None:
            headers["Authorization"] = "Basic " + base64.b64encode(auth_string.encode()).decode("ascii")
        self._client = httpx.Client(base_url=url, headers=headers, timeout=10, trust_env=False)

    def close(self) -> None:
        """Release connections."""
        self._client.close()

    def healthy(self, home: Path) -> bool:
        """Return whether the server answers, and is the one whose PREFECT_HOME this is."""
        try:
            self._client.get("/health", timeout=2).raise_for_status()
            told = self._client.get("/admin/settings", timeout=5).raise_for_status().json()
        except (httpx.HTTPError, ValueError):
            return False
        return Path(str(told.get("home"))) == home

    def worker_polled(self, name: str, since: str) -> bool:
        """Return whether the worker called `name` is online and has asked for work after `since` (ISO 8601)."""
        try:
            workers = self._post(f"/work_pools/{WORK_POOL}/workers/filter", {"limit": PAGE})
            queues = self._post(f"/work_pools/{WORK_POOL}/queues/filter", {"limit": PAGE})
        except (httpx.HTTPError, ValueError):
            return False
        online = any(worker["name"] == name and worker["status"] == "ONLINE" for worker in workers)
        return online and any((queue.get("last_polled") or "") >= since for queue in queues)

    def crash_dead_runs(self, message: str, *, unstarted: bool = False) -> list[UUID]:
        """Tell the server which runs of our pool have lost their process on this machine, and return their ids.

        Prefect does not look: a run whose worker was stopped would stay Running for ever. A run that was asked to
        cancel becomes Cancelled, which is what it now is.

        Args:
            message: What is said about each of them.
            unstarted: Also those that a worker took and never started. Only while no worker can run.
        """
        told = []
        for run in self._runs_in_work():
            pid = str(run.get("infrastructure_pid") or "").rpartition(":")[2]
            if _alive(int(pid), run) if pid.isdigit() else not unstarted:
                continue
            cancelling = run["state_type"] == "CANCELLING"
            state = {
                "type": "CANCELLED" if cancelling else "CRASHED",
                "name": "Cancelled" if cancelling else "Crashed",
                "message": message,
            }
            with suppress(httpx.HTTPError):
                self._post(f"/flow_runs/{run['id']}/set_state", {"state": state, "force": True})
                told.append(UUID(run["id"]))
        return told

    def _runs_in_work(self) -> Sequence[dict[str, Any]]:
        asked = {
            "flow_runs": {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}},
            "work_pools": {"name": {"any_": [WORK_POOL]}},
            "limit": PAGE,
        }
        try:
            return list(self._post("/flow_runs/filter", asked))
        except (httpx.HTTPError, ValueError):
            return ()

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._client.post(path, json=dict(body)).raise_for_status().json()


def _alive(pid: int, run: Mapping[str, Any]) -> bool:
    """Return whether a run's process still runs; a process that began after the run has only inherited the pid."""
    try:
        created_at = datetime.fromtimestamp(psutil.Process(pid).create_time(), UTC)
    except psutil.Error:
        return False
    started_at = run.get("start_time")
    return started_at is None or created_at - CLOCK_TOLERANCE <= datetime.fromisoformat(started_at)
