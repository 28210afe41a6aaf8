"""A job table that does not answer hardly holds a process up, and is used again when it is back."""

import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psutil
import pytest
from prefect import flow
from prefect.client.schemas.objects import FlowRun
from prefect.states import Running
from sqlalchemy import create_engine, make_url, text

from prefect_narrative.errors import FailureKind
from prefect_narrative.jobs.hooks import follow, process_store
from prefect_narrative.jobs.impatient import ImpatientJobStore
from prefect_narrative.jobs.record import Executor, Failure, Heartbeat, Job, JobId, Progress, Usage
from prefect_narrative.jobs.sql import SqlJobStore, open_store
from prefect_narrative.jobs.states import JobState
from prefect_narrative.jobs.store import Attempt, JobStore, JobTableUnavailableError
from prefect_narrative.settings import Settings
from prefect_narrative.testing import observed

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
JOB_ID = JobId(UUID(int=7))
EXECUTOR = Executor(host="here", pid=1)
PATIENCE = timedelta(seconds=0.3)
SEEN = observed(JOB_ID, "RUNNING", NOON)
DONE = observed(JOB_ID, "COMPLETED", NOON.replace(hour=13))
FAILURE = Failure(
    attempt=1, at=NOON, kind=FailureKind.DATA, code="bad_cast", message="no number", remedy="mend", retryable=False
)
HEARTBEAT = Heartbeat(
    job_id=JOB_ID, token=9, at=NOON, host="h", machine_id="m", boot_id="b", pid_namespace="n", pid=1, start_ticks=1
)


def impatient(url: str, *, patience: timedelta = PATIENCE, table: timedelta = timedelta(seconds=10)) -> JobStore:
    return ImpatientJobStore(SqlJobStore(url, patience=table), patience=patience)


def attempt_on(store: JobStore) -> list[Callable[[], Any]]:
    """What the work of one run waits for."""
    return [
        lambda: store.apply(SEEN, cause="hook"),
        lambda: store.begin_attempt(JOB_ID, EXECUTOR, token=5),
        lambda: store.describe(JOB_ID, dataset="d", sources=["s"]),
        lambda: store.add_failure(JOB_ID, FAILURE),
        lambda: store.stage_result(JOB_ID, 5, {"rows": 3}),
        lambda: store.add_usage(JOB_ID, 5, Usage(read_rows=3)),
        lambda: store.apply(DONE, cause="hook"),
    ]


def tried(call: Callable[[], Any]) -> Any:
    """Return what a call returns, or that the table can't be used."""
    try:
        return call()
    except JobTableUnavailableError as error:
        return error


def until_taken(call: Callable[[], Any]) -> Any:
    """Call until the table takes it, and return what it says."""
    until = time.monotonic() + 30
    while isinstance(answer := tried(call), JobTableUnavailableError):
        assert time.monotonic() < until, answer
        time.sleep(0.02)
    return answer


def wait_for_late_calls() -> None:
    for thread in threading.enumerate():
        if thread.name == "narrative-job-table-dismissed":
            thread.join(30)
            assert not thread.is_alive()


LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2:]:
    connection.execute(statement)
print("held", flush=True)
for line in iter(sys.stdin.readline, "end\\n"):
    connection.execute(line)
"""


@contextmanager
def lock_on(url: str, *statements: str) -> Iterator[Callable[[str], None]]:
    """Let another process hold an SQLite file; give what executes a further statement there."""
    command = [sys.executable, "-c", LOCK, make_url(url).database or "", *statements]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"

        def execute(statement: str) -> None:
            print(statement, file=holder.stdin, flush=True)

        yield execute
        print("end", file=holder.stdin, flush=True)  # a fork may have the pipe, too, so that closing it says nothing
        assert holder.wait(30) == 0


@contextmanager
def stopped_server(url: str) -> Iterator[None]:
    """Stop a PostgreSQL server and all of its processes."""
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    with engine.connect() as connection:
        folder = connection.execute(text("SHOW data_directory")).scalar_one()
    engine.dispose()
    postmaster = psutil.Process(int((Path(folder) / "postmaster.pid").read_text().splitlines()[0]))
    with ExitStack() as going_on:
        postmaster.suspend()
        going_on.callback(postmaster.resume)
        for process in postmaster.children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # the one that served the connection above
                process.suspend()
                going_on.callback(process.resume)
        yield


@contextmanager
def silent_host(*, full: bool) -> Iterator[str]:
    """Give the URL of a host that takes connections and says nothing, or does not even take them."""
    with ExitStack() as closing:
        host = closing.enter_context(socket.socket())
        host.bind(("127.0.0.1", 0))
        host.listen(0)
        for _ in range(4 if full else 0):
            caller = closing.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(host.getsockname())
        yield f"postgresql://someone@127.0.0.1:{host.getsockname()[1]}/jobs"


@contextmanager
def broken(how: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the URL of a table that can't be used until the end of the block."""
    if how == "refused":
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            yield f"postgresql://someone@127.0.0.1:{unused.getsockname()[1]}/jobs"
    elif how in {"silent", "full backlog"}:
        with silent_host(full=how == "full backlog") as url:
            yield url
    elif how == "stopped":
        url = request.getfixturevalue("postgresql_url")
        with stopped_server(url):
            yield url
    else:
        url = request.getfixturevalue("sqlite_url")
        statements = {
            "locked": ["BEGIN IMMEDIATE"],
            "held by one process": ["PRAGMA locking_mode = EXCLUSIVE", "BEGIN IMMEDIATE", "DELETE FROM jobs"],
        }[how]
        with lock_on(url, *statements):
            yield url


@pytest.mark.parametrize("how", ["locked", "held by one process", "refused", "silent", "full backlog", "stopped"])
def test_a_table_that_is_away_from_the_start_is_waited_for_once(how: str, request: pytest.FixtureRequest) -> None:
    with broken(how, request) as url:
        store = impatient(url)
        began = time.monotonic()
        for call in attempt_on(store) * 3:
            assert isinstance(tried(call), JobTableUnavailableError)
        assert time.monotonic() - began < 3  # if each waited by itself, it would be more than 6 seconds
    wait_for_late_calls()
    store.close()


@pytest.mark.parametrize("how", ["locked", "stopped"])
def test_a_table_that_goes_away_is_waited_for_once_and_used_again(how: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("sqlite_url" if how == "locked" else "postgresql_url")
    store = impatient(url, patience=timedelta(seconds=1))
    created = until_taken(lambda: store.apply(SEEN, cause="hook"))
    with broken(how, request):
        began = time.monotonic()
        for call in attempt_on(store) * 3:
            assert isinstance(tried(call), JobTableUnavailableError)
        assert time.monotonic() - began < 5
    wait_for_late_calls()
    other = observed(UUID(int=8), "RUNNING", NOON)
    until_taken(lambda: store.apply(other, cause="hook"))
    # From now on it is waited for again.
    assert store.begin_attempt(JobId(other.job_id), EXECUTOR, token=5) == Attempt(number=1, token=5, follows=False)
    assert store.apply(SEEN, cause="hook") == created
    store.close()


def test_what_was_given_up_is_done_when_the_table_is_back(sqlite_url: str) -> None:
    store = impatient(sqlite_url)
    with lock_on(sqlite_url, "BEGIN IMMEDIATE"):
        assert isinstance(tried(lambda: store.apply(SEEN, cause="hook")), JobTableUnavailableError)
    wait_for_late_calls()
    job = store.get(JOB_ID)
    assert job is not None
    assert (job.state, job.prefect) == ("running", SEEN.prefect)
    store.close()


def test_a_call_without_patience_finds_the_table_again(sqlite_url: str) -> None:
    store = impatient(sqlite_url, patience=timedelta(seconds=1), table=timedelta(0))
    with lock_on(sqlite_url, "BEGIN IMMEDIATE"):
        for _ in range(100):
            assert isinstance(tried(lambda: store.apply(SEEN, cause="hook")), JobTableUnavailableError)
    wait_for_late_calls()
    until_taken(lambda: store.apply(SEEN, cause="hook"))
    assert store.begin_attempt(JOB_ID, EXECUTOR, token=5).token == 5
    store.close()


def test_a_start_that_comes_late_takes_nothing_from_a_newer_attempt(sqlite_url: str) -> None:
    store = impatient(sqlite_url, patience=timedelta(seconds=1))
    before = store.apply(SEEN, cause="hook")
    with lock_on(sqlite_url, "BEGIN IMMEDIATE") as execute:
        assert isinstance(tried(lambda: store.begin_attempt(JOB_ID, EXECUTOR, token=5)), JobTableUnavailableError)
        execute("""UPDATE jobs SET token = 6, executor = '{"host": "other", "pid": 2}'""")
        execute("COMMIT")
    wait_for_late_calls()
    other = Executor(host="other", pid=2)
    assert store.get(JOB_ID) == before.model_copy(update={"token": 6, "executor": other})
    until_taken(lambda: store.describe(JOB_ID, dataset="d"))
    # Who waits for the answer gets a higher one, whatever its clock says.
    assert store.begin_attempt(JOB_ID, EXECUTOR, token=5) == Attempt(number=1, token=7, follows=True)
    assert store.begin_attempt(JOB_ID, EXECUTOR) == Attempt(number=1, token=8, follows=True)
    store.close()


def test_signs_of_life_leave_the_patience_to_the_work(sqlite_url: str) -> None:
    store = impatient(sqlite_url, patience=timedelta(seconds=1.5), table=timedelta(seconds=1.6))
    store.apply(SEEN, cause="hook")
    with lock_on(sqlite_url, "BEGIN IMMEDIATE"):
        assert isinstance(tried(lambda: store.beat(HEARTBEAT)), JobTableUnavailableError)
    assert store.begin_attempt(JOB_ID, EXECUTOR, token=9).token == 9
    store.beat(HEARTBEAT)
    assert store.heartbeat(JOB_ID) == HEARTBEAT
    store.close()


def test_progress_that_gets_through_gives_the_patience_back(sqlite_url: str) -> None:
    store = impatient(sqlite_url, patience=timedelta(seconds=1), table=timedelta(0))
    store.apply(SEEN, cause="hook")
    with lock_on(sqlite_url, "BEGIN IMMEDIATE"):
        for _ in range(100):
            assert isinstance(tried(lambda: store.describe(JOB_ID, dataset="d")), JobTableUnavailableError)
    wait_for_late_calls()
    store.set_progress(JOB_ID, Progress(message="m", at=NOON))
    assert store.begin_attempt(JOB_ID, EXECUTOR, token=9).token == 9
    store.close()


def test_what_writes_nothing_gives_no_patience_back(postgresql_url: str) -> None:
    store = impatient(postgresql_url)
    engine = create_engine(make_url(postgresql_url).set(drivername="postgresql+psycopg"))
    with engine.begin() as holder:
        holder.execute(
            text("LOCK TABLE jobs IN SHARE MODE")
        )  # as who makes an index does: it can be read all the while
        assert isinstance(tried(lambda: store.apply(SEEN, cause="hook")), JobTableUnavailableError)
        store.beat(HEARTBEAT)
        began = time.monotonic()
        for call in attempt_on(store) * 3:
            assert isinstance(tried(call), JobTableUnavailableError)
        assert time.monotonic() - began < 3
    wait_for_late_calls()
    assert store.get(JOB_ID) is not None
    engine.dispose()
    store.close()


def test_a_fork_uses_the_table_while_a_call_of_its_parent_hangs(sqlite_url: str) -> None:
    store = impatient(sqlite_url)
    with lock_on(sqlite_url, "BEGIN IMMEDIATE"):
        assert isinstance(tried(lambda: store.apply(SEEN, cause="parent")), JobTableUnavailableError)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                until_taken(lambda: store.apply(observed(UUID(int=8), "RUNNING", NOON), cause="child"))
                code = 0
            finally:
                os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    wait_for_late_calls()
    assert [event.cause for number in (7, 8) for event in store.events(JobId(UUID(int=number)))] == ["parent", "child"]
    store.close()


def test_a_full_disk_holds_nothing_up(sqlite_url: str) -> None:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            store = impatient(sqlite_url)
            store.apply(SEEN, cause="hook")
            size = Path(make_url(sqlite_url).database or "").stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            filling = [
                lambda number=number: store.apply(observed(UUID(int=number), "RUNNING", NOON), cause="x" * 50_000)
                for number in range(100, 200)
            ]
            began = time.monotonic()
            refused = [isinstance(tried(call), JobTableUnavailableError) for call in filling]
            code = 0 if refused[-1] and time.monotonic() - began < 10 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with SqlJobStore(sqlite_url) as store:
        assert store.get(JOB_ID) is not None


def test_tables_are_made_however_long_that_takes(empty_url: str) -> None:
    with impatient(empty_url, patience=timedelta(seconds=2)) as store:
        assert store.apply(SEEN, cause="hook") == store.get(JOB_ID)


def test_tables_that_can_not_be_made_are_waited_for_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.sqlite'}"
    with lock_on(url, "PRAGMA journal_mode = WAL", "BEGIN IMMEDIATE"):
        store = impatient(url)
        began = time.monotonic()
        for call in attempt_on(store) * 3:
            assert isinstance(tried(call), JobTableUnavailableError)
        assert time.monotonic() - began < 3
    wait_for_late_calls()
    store.close()


def test_a_hook_goes_on_without_the_table(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    @flow(name="test")
    def nothing() -> None:
        pass

    run = FlowRun(id=uuid4(), flow_id=uuid4(), name="run", created=NOON, start_time=NOON, parameters={})
    with socket.socket() as unused, pytest.MonkeyPatch.context() as patch:
        unused.bind(("127.0.0.1", 0))
        url = f"postgresql://someone:s3cret@127.0.0.1:{unused.getsockname()[1]}/jobs"
        patch.setenv("NARRATIVE_HOME", str(tmp_path))
        patch.setenv("NARRATIVE_DATABASE_URL", url)
        follow(nothing, run, Running(timestamp=NOON))
        assert [one.levelname for one in caplog.records] == ["WARNING"]
        assert f"The job table missed that {run.id} is Running" in caplog.text
        assert "s3cret" not in caplog.text
        patch.setenv("NARRATIVE_DATABASE_URL", f"sqlite:///{tmp_path / 'jobs.sqlite'}")
        open_store(Settings()).close()  # makes the tables, for which a hook does not wait long
        follow(nothing, run, Running(timestamp=NOON))
        with process_store(Settings()) as store:
            job = store.get(JobId(run.id))
    process_store.cache_clear()
    assert isinstance(job, Job)
    assert (job.type, job.state, job.started_at) == ("test", JobState.RUNNING, NOON)
