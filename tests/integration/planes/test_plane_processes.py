"""Several processes, killed, stopped and interrupted ones: each publication is there whole and once, or not at all."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from plane_process import opened
from plane_samples import make_dataset, rows_of, settings_for

from prefect_narrative.planes import Plane, Published, Write, publishing
from prefect_narrative.planes.connection import Place, open_writer
from prefect_narrative.planes.errors import (
    FencedError,
    PublicationUnknownError,
    QueryInterruptedError,
    WriteConflictError,
)

LOOPS = int(os.environ.get("NARRATIVE_LOOPS", "4"))
"""How often a process is killed; long runs set more."""
SCRIPT = Path(__file__).with_name("plane_process.py")
LONG_QUERY = "SELECT count(*) AS n FROM range(200000) AS a(i), range(200000) AS b(j) WHERE hash(i * j) % 7 = 3"


def start(what: str, home: Path, *arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), what, str(home), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: "subprocess.Popen[str]") -> str:
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors[-3000:]
    return output


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def local(home: Path) -> Iterator[Plane]:
    with opened(home) as plane:
        yield plane


def test_many_processes_may_open_a_new_plane_at_once(home: Path) -> None:
    processes = [start("open_at", home, time.time() + 2) for _ in range(4)]
    assert {ended(process).strip() for process in processes} == {"1"}


def test_four_processes_publish_without_an_error(local: Plane, home: Path) -> None:
    make_dataset(local, "shared", "SELECT 'none' AS worker, -1 AS n")
    count = 3
    for process in [start("publish_many", home, worker, count) for worker in range(4)]:
        ended(process)
    expected = sorted([("none", -1), *((str(worker), n) for worker in range(4) for n in range(count))])
    assert sorted(rows_of(local, "SELECT worker, n FROM shared")) == expected
    for worker in range(4):
        assert sorted(rows_of(local, f"SELECT n FROM own_{worker}")) == [(n,) for n in range(-1, count)]
    assert local.dataset("shared").rows == len(expected)


def test_a_killed_process_leaves_the_old_or_the_new_whole(home: Path) -> None:
    chance = random.Random(20240101)
    with opened(home) as plane:
        for name in ("left_one", "right_one"):
            make_dataset(plane, name, "SELECT 0 AS n, i FROM range(2000) AS source(i)")
        spread = set()
        for _ in range(LOOPS):
            process = start("replace_forever", home)
            assert process.stdout is not None
            process.stdout.readline()  # it has published once: from here on the kill falls anywhere in the cycle
            time.sleep(chance.uniform(0, 0.4))
            process.kill()
            process.communicate()
            query = (
                "SELECT 'left' AS side, min(n), max(n), count(*), count(DISTINCT i) FROM left_one "
                "UNION ALL SELECT 'right', min(n), max(n), count(*), count(DISTINCT i) FROM right_one ORDER BY side"
            )
            left, right = rows_of(plane, query)
            assert left[1:] == right[1:]
            assert left[1] == left[2] >= 1
            assert left[3:] == (2000, 2000)
            assert {plane.dataset(name).rows for name in ("left_one", "right_one")} == {2000}
            spread.add(left[1])
            make_dataset(plane, "afterwards", f"SELECT {left[1]} AS n")  # the lock is free and the catalog is sound
        assert spread


def test_killed_between_commit_and_return_it_is_published_once(local: Plane, home: Path) -> None:
    make_dataset(local, "appended", "SELECT 0 AS a")
    job = uuid4()
    process = start("die_after_commit", home, job)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    found = local.claim(job, 2)
    assert found is not None
    assert (found.found, found.result) == (True, {"by": "the killed one", "snapshot_id": found.snapshot_id})
    again = make_dataset_again(local, job)
    assert again == found
    assert sorted(rows_of(local, "SELECT a FROM appended")) == [(0,), (1,)]
    assert rows_of(local, "SELECT count(*) FROM appended", found.snapshot_id - 1) == [(1,)]


def make_dataset_again(plane: Plane, job: UUID) -> Published:
    stage = plane.stage_query(job, 2, "appended", plane.check("SELECT 1 AS a"), at=plane.snapshot())
    return plane.publish(job, 2, [Write("appended", "append", stage)], {"by": "the retry"})


def test_a_commit_that_raises_after_it_was_done_counts(local: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    real = publishing.commit

    def commit(connection: Any) -> None:
        real(connection)
        raise RuntimeError("the connection broke")

    monkeypatch.setattr(publishing, "commit", commit)
    made = make_dataset(local, "orders", "SELECT 1 AS a")
    assert not made.found
    assert rows_of(local, "SELECT a FROM orders", made.snapshot_id) == [(1,)]


def test_a_commit_that_raises_before_it_was_done_does_not(local: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    def commit(connection: Any) -> None:
        connection.execute("ROLLBACK")
        raise RuntimeError("the connection broke")

    job = uuid4()
    with monkeypatch.context() as patched:
        patched.setattr(publishing, "commit", commit)
        with pytest.raises(RuntimeError, match="broke"):
            make_dataset(local, "orders", "SELECT 1 AS a", job_id=job)
    assert not local.exists("orders")
    assert local.published(job) is None
    assert not make_dataset(local, "orders", "SELECT 1 AS a", job_id=job).found


def test_a_commit_whose_outcome_can_not_be_read_says_so(local: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    real = publishing.commit
    job = uuid4()

    def commit(connection: Any) -> None:
        real(connection)
        monkeypatch.setattr(publishing, "find", unreadable)
        raise RuntimeError("the connection broke")

    def unreadable(*_: object) -> None:
        raise OSError("the disk is gone")

    with monkeypatch.context():
        monkeypatch.setattr(publishing, "commit", commit)
        with pytest.raises(PublicationUnknownError, match="the disk is gone") as raised:
            make_dataset(local, "orders", "SELECT 1 AS a", job_id=job)
        assert raised.value.retryable
    monkeypatch.undo()
    local.discard(job, 1)
    found = local.claim(job, 2)
    assert found is not None
    assert rows_of(local, "SELECT a FROM orders", found.snapshot_id) == [(1,)]


@pytest.mark.parametrize("stopped", [False, True])
def test_a_fenced_process_that_wakes_up_publishes_nothing(local: Plane, home: Path, stopped: bool) -> None:
    job = uuid4()
    make_dataset(local, "fenced", "SELECT 0 AS token")
    process = start("publish_when_told", home, job, 1)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "staged\n"
    if stopped:
        process.send_signal(signal.SIGSTOP)
    process.stdin.write("\n")
    process.stdin.flush()
    if stopped:
        local.fence(job, 2)
        process.send_signal(signal.SIGCONT)
        assert ended(process) == "FencedError\n"
        assert rows_of(local, "SELECT token FROM fenced") == [(0,)]
        assert local.published(job) is None
        with pytest.raises(FencedError):
            local.claim(job, 1)
    else:
        assert ended(process) == "published\n"
        assert rows_of(local, "SELECT token FROM fenced") == [(1,)]


def test_the_result_is_written_only_where_the_token_still_stands(local: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    job = uuid4()
    local.fence(job, 5)
    stage = local.stage_query(job, 1, "orders", local.check("SELECT 1 AS a"), at=local.snapshot())
    monkeypatch.setattr(publishing.Publisher, "claim", lambda *_: None)
    with pytest.raises(FencedError, match="another attempt has taken over"):
        local.publish(job, 1, [Write("orders", "create", stage)], {})
    assert not local.exists("orders")


def test_a_fence_that_comes_before_the_commit_wins_even_without_the_lock(
    local: Plane, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = publishing.commit
    job = uuid4()
    settings = settings_for(home)
    other = open_writer(Place(settings.plane_directory("default")), settings, home / "other")

    def commit(connection: Any) -> None:
        other.execute("UPDATE lake._narrative.publications SET token = 9 WHERE job_id = ?", [job])
        real(connection)

    monkeypatch.setattr(publishing, "commit", commit)
    with pytest.raises(WriteConflictError) as raised:
        make_dataset(local, "orders", "SELECT 1 AS a", job_id=job)
    other.close()
    assert raised.value.retryable
    assert not local.exists("orders")
    with pytest.raises(FencedError, match="token 9"):
        local.claim(job, 1)


class Terminated(BaseException):
    """What a signal's handler raises here."""


@pytest.fixture(params=["SIGALRM", "SIGTERM", "SIGINT"])
def interrupting(request: pytest.FixtureRequest) -> Iterator[Callable[[float], None]]:
    """Give a function that lets a signal's handler raise in the main thread after some seconds."""
    number = signal.Signals[request.param]

    def handler(*_: object) -> None:
        raise Terminated

    before = signal.signal(number, handler)
    timers = []

    def arm(seconds: float) -> None:
        timer = threading.Timer(seconds, os.kill, (os.getpid(), number))
        timers.append(timer)
        timer.start()

    yield arm
    for timer in timers:
        timer.join()
    signal.signal(number, before)


def test_a_signal_stops_what_runs_and_changes_nothing(local: Plane, interrupting: Callable[[float], None]) -> None:
    make_dataset(local, "orders", "SELECT 1 AS a")
    query = local.check(LONG_QUERY)
    job, at = uuid4(), local.snapshot()
    for attempt in (
        lambda: local.read(query, limit=1),
        lambda: local.stage_query(job, 1, "never", query, at=at),
    ):
        interrupting(0.5)
        began = time.monotonic()
        with pytest.raises(Terminated):
            attempt()
        assert time.monotonic() - began < 2.5
        assert local.progress() is None or local.progress() == 0
        assert rows_of(local, "SELECT a FROM orders") == [(1,)]  # the plane goes on
    local.discard(job, 1)
    assert not local.exists("never")
    assert local.snapshot() == at


def test_a_signal_ends_the_wait_for_the_lock(local: Plane, home: Path, interrupting: Callable[[float], None]) -> None:
    with opened(home) as other, other._lock.held("somebody else"):  # type: ignore[attr-defined]
        interrupting(0.3)
        began = time.monotonic()
        with pytest.raises(Terminated):
            local.claim(uuid4(), 1)
        assert time.monotonic() - began < 2.3
    assert local.claim(uuid4(), 1) is None


def test_another_thread_may_interrupt_and_look_at_the_progress(local: Plane) -> None:
    make_dataset(local, "numbers", "SELECT i FROM range(3000000) AS source(i)")
    query = local.check("SELECT count(*) FROM numbers a, range(20000) AS b(j) WHERE hash(a.i * b.j) % 7 = 3")
    seen: list[float | None] = []

    def watch() -> None:
        for _ in range(40):
            time.sleep(0.05)
            seen.append(local.progress())
        local.interrupt()

    watcher = threading.Thread(target=watch)
    watcher.start()
    with pytest.raises(QueryInterruptedError):
        local.read(query, limit=1)
    watcher.join()
    assert all(share is None or 0 <= share <= 1 for share in seen)
    assert any(share is not None for share in seen)
    local.interrupt()
    assert rows_of(local, "SELECT count(*) FROM numbers") == [(3_000_000,)]


def test_a_signal_during_a_publication_is_raised_after_it(local: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    real = publishing.commit

    def handler(*_: object) -> None:
        raise Terminated

    def commit(connection: Any) -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.3)
        real(connection)

    job = uuid4()
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        monkeypatch.setattr(publishing, "commit", commit)
        with pytest.raises(Terminated):
            make_dataset(local, "orders", "SELECT 1 AS a", job_id=job)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert local.published(job) is not None
    assert rows_of(local, "SELECT a FROM orders") == [(1,)]
