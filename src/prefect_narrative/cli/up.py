"""`narrative up`: everything on one machine, by one command."""

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, ClassVar

from cyclopts import Parameter

from prefect_narrative.cli.connection import UpRecord, read_up
from prefect_narrative.cli.exits import ExitCode, UsageError
from prefect_narrative.cli.options import Json
from prefect_narrative.cli.output import Output
from prefect_narrative.cli.server import check_port
from prefect_narrative.cli.stack import Plan, Stack, StoppedError
from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.jobs.processes import start_ticks
from prefect_narrative.settings import Settings

AUTH_VARIABLE = "PREFECT_SERVER_API_AUTH_STRING"
ENDING_SECONDS = 20.0
"""How long a second `up` waits for the processes of one that was killed to end."""


class AlreadyUpError(NarrativeError):
    """Another `narrative up` runs in this home."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "already_up"
    remedy = "Use the one that runs, stop it first, or set NARRATIVE_HOME to another folder."


def up(
    *,
    port: int | None = None,
    auth_string: str | None = None,
    import_root: Annotated[tuple[Path, ...], Parameter(negative="")] = (),
    jobs_port: int | None = None,
    worker: Annotated[bool, Parameter(negative="--no-worker")] = True,
    as_json: Json = False,
) -> int:
    """Start Prefect's server, a worker and the reconciler on this machine, until Ctrl-C or SIGTERM.

    Everything lies in NARRATIVE_HOME, nothing in your own Prefect configuration. The other commands find the server
    by themselves. It listens on loopback only: who reaches Prefect's API can run code on its workers. Jobs that still
    run at the end are ended and shown as failed.

    Jobs and their results are also read over HTTP, at jobs_url. If NARRATIVE_API_TOKEN is set, callers must show it.

    Args:
        port: Port of the server. [a free one]
        auth_string: What callers must show, as user:password. Safer in the environment variable
            PREFECT_SERVER_API_AUTH_STRING: other users of this machine can read command lines.
        import_root: Folder below which jobs may read files; repeatable. [NARRATIVE_IMPORT_ROOTS, else imports in
            NARRATIVE_HOME]
        jobs_port: Port at which jobs are read over HTTP. [a free one]
        worker: Start a worker, which runs the jobs.
        as_json: Print one line of JSON when ready: api_url, ui_url, jobs_url, home, pid.
    """
    settings = _settings_with(import_root)
    if port is not None and port == jobs_port:
        raise UsageError(
            f"Server and jobs can't both have port {port}.", remedy="Give --jobs-port another one, or none."
        )
    plan = Plan(
        None if port is None else check_port(port),
        _checked(auth_string or os.environ.get(AUTH_VARIABLE)),
        None if jobs_port is None else check_port(jobs_port),
        worker,
    )
    settings.make_home()
    output = Output(as_json=as_json)
    with only_one(settings.home) as lock:
        return _run(settings, plan, output, lock)


def _run(settings: Settings, plan: Plan, output: Output, lock: int) -> int:
    stack = Stack(settings, plan, lambda said: output.note(f"{time.strftime('%H:%M:%S')} {said}"), held=(lock,))
    with stopped_by_signals(stack):
        record = None
        try:
            stack.start()
            record = UpRecord(
                stack.api_url,
                stack.ui_url,
                stack.jobs_url,
                str(settings.home),
                os.getpid(),
                start_ticks(os.getpid()),
                plan.auth_string,
            )
            record.write()
            _say_ready(record, output)
            stack.tend()
        except StoppedError:
            return ExitCode.INTERRUPTED
        finally:
            if record is not None:
                record.remove()
            stack.stop()
    return ExitCode.OK


def _say_ready(record: UpRecord, output: Output) -> None:
    if output.as_json:
        output.document(
            {name: getattr(record, name) for name in ("api_url", "ui_url", "jobs_url", "home", "pid")}, indent=None
        )
        return
    output.line("Ready.")
    output.fields(
        {
            "UI": record.ui_url,
            "API": record.api_url,
            "jobs": record.jobs_url,
            "home": record.home,
            "stop": "Ctrl-C",
        }
    )


def _settings_with(import_roots: tuple[Path, ...]) -> Settings:
    settings = Settings()
    if not import_roots:
        return settings
    for root in import_roots:
        if not root.is_dir():
            raise UsageError(f"The import root {root} is not a folder.", remedy="Give the path of an existing folder.")
    os.environ["NARRATIVE_IMPORT_ROOTS"] = os.pathsep.join(str(root.absolute()) for root in import_roots)
    return Settings()


def _checked(auth_string: str | None) -> str | None:
    if auth_string is not None and ":" not in auth_string:
        raise UsageError("The auth string has no colon.", remedy="Give it as user:password.")
    return auth_string


@contextmanager
def stopped_by_signals(stack: Stack) -> Iterator[None]:
    """Make Ctrl-C, SIGTERM and a closed terminal ask the stack to stop, once and for all."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, lambda _number, _frame: stack.ask_to_stop()) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def only_one(home: Path) -> Iterator[int]:
    """Hold the home's lock, so that no second `up` works in it; yields the lock's file descriptor.

    The processes that `up` starts hold it too: it is free when the last of them has ended.

    Raises:
        AlreadyUpError: somebody holds it; the message says where.
    """
    descriptor = os.open(home / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor, home)
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, home: Path) -> None:
    until = time.monotonic() + ENDING_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            record = read_up(home)
            if record is not None and record.alive:
                raise AlreadyUpError(
                    f"`narrative up` already runs in {home}: {record.ui_url} (process {record.pid})."
                ) from None
            if record is None or time.monotonic() > until:
                raise AlreadyUpError(f"Another `narrative up` starts or ends in {home}.") from None
            time.sleep(0.2)  # a killed one: its processes are about to end
        else:
            return
