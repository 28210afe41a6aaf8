"""`narrative reconciler`: keeps the job table true to Prefect, and serves it over HTTP."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from prefect_narrative.cli.connection import connect
from prefect_narrative.cli.exits import ExitCode
from prefect_narrative.cli.job_api import is_loopback, listen, token_of, url_of
from prefect_narrative.cli.options import Json
from prefect_narrative.cli.output import Output
from prefect_narrative.cli.server import HOST
from prefect_narrative.jobs.record import Job
from prefect_narrative.settings import Settings

if TYPE_CHECKING:
    from prefect_narrative.client import Client

CALLERS_PATIENCE = timedelta(seconds=3)
"""How long a caller over HTTP waits for a busy or absent database: not as long as the reconciler itself."""


def reconciler(*, host: str = HOST, port: int | None = None, as_json: Json = False) -> int:
    """Keep the job table true to Prefect until Ctrl-C or SIGTERM, and let programs read it over HTTP.

    Any number may run at once; `up` runs one. On loopback everybody on this machine may read. If the environment
    variable NARRATIVE_API_TOKEN is set, callers must show it; on other interfaces it must be set.

    Args:
        host: Name or address of the interface that the HTTP job API listens on. [this machine only]
        port: Port of the HTTP job API. [a free one]
        as_json: Print one line of JSON when it listens: jobs_url, pid.
    """
    settings = Settings()
    token = token_of(settings)
    with stopped_by_signals() as stop, listen(host, port, has_token=token is not None) as listening:
        if not connect(settings).known:
            from prefect_narrative.client import PrefectUnavailableError  # noqa: PLC0415

            raise PrefectUnavailableError("No Prefect server is configured, and no `narrative up` runs.")
        return _run(settings, listening, stop, Output(as_json=as_json))


def _run(settings: Settings, listening: socket.socket, stop: threading.Event, output: Output) -> int:
    from prefect_narrative.api.app import JobApi  # noqa: PLC0415 - Prefect reads its settings on import
    from prefect_narrative.api.serving import Serving  # noqa: PLC0415
    from prefect_narrative.client import Client  # noqa: PLC0415
    from prefect_narrative.jobs.horizon import Horizon  # noqa: PLC0415
    from prefect_narrative.jobs.outbox import Outbox  # noqa: PLC0415
    from prefect_narrative.jobs.reconciler import Reconciler  # noqa: PLC0415
    from prefect_narrative.jobs.sql import SqlJobStore, open_store  # noqa: PLC0415
    from prefect_narrative.planes.fences import Fences  # noqa: PLC0415

    failed = threading.Event()

    def fail() -> None:
        failed.set()
        stop.set()

    with (
        open_store(settings) as store,
        SqlJobStore(settings.jobs_database_url, patience=CALLERS_PATIENCE) as reader,
        Client(settings) as client,
    ):
        keeper = Reconciler(
            store, Outbox(settings.outbox), Fences(settings), horizon=Horizon(settings.home / "swept_until")
        )
        api = JobApi(
            reader,
            looking(client),
            lambda: keeper.seconds_since_sweep,
            token=token_of(settings),
            loopback=is_loopback(listening),
        )
        with Serving(api, listening, fail):
            told = {"jobs_url": url_of(listening), "pid": os.getpid()}
            if output.as_json:
                output.document(told, indent=None)
            output.line(f"Jobs: {told['jobs_url']}")
            keeper.run(stop)
    return ExitCode.FAILED if failed.is_set() else ExitCode.OK


def looking(client: "Client") -> Callable[[UUID], Job | None]:
    """Return what asks Prefect how a run is and brings that into the table; None for a run that is no job."""
    from prefect_narrative.client import UnknownJobError  # noqa: PLC0415 - Prefect reads its settings on import

    def look(job_id: UUID) -> Job | None:
        try:
            return client.get(job_id)
        except UnknownJobError:
            return None

    return look


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C and SIGTERM set."""
    stop = threading.Event()
    before = {
        number: signal.signal(number, lambda _number, _frame: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
