"""Many processes and threads at once: one row a job, an unbroken chain, no error."""

import os
import subprocess
import sys
import threading
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import text

from prefect_narrative.jobs.record import Executor, JobId, Observation, Usage, order_of
from prefect_narrative.jobs.sql import SqlJobStore
from prefect_narrative.testing import observed

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
COURSE = ("SCHEDULED", "PENDING", "RUNNING", "FAILED", "SCHEDULED", "RUNNING", "CANCELLING", "CANCELLED")
HAMMER = Path(__file__).with_name("hammer.py")
PATIENT = timedelta(seconds=60)


def news_of(job_id: UUID) -> list[Observation]:
    return [
        observed(
            job_id,
            prefect_type,
            NOON + timedelta(seconds=second),
            created_at=NOON,
            started_at=NOON + timedelta(seconds=2) if second >= 2 else None,
            tags=("x",),
        )
        for second, prefect_type in enumerate(COURSE)
    ]


def hammer(url: str, folder: Path, news: list[Observation], processes: int) -> None:
    file = folder / "news.json"
    file.write_bytes(TypeAdapter(list[Observation]).dump_json(news))
    started = [
        subprocess.Popen(
            [sys.executable, "-W", "error", str(HAMMER), url, str(seed), str(file)], stderr=subprocess.PIPE, text=True
        )
        for seed in range(processes)
    ]
    errors = [process.communicate(timeout=100)[1] for process in started]
    assert errors == [""] * processes
    assert [process.returncode for process in started] == [0] * processes


def check(store: SqlJobStore, job_id: UUID, newest: Observation) -> None:
    job, events = store.get(JobId(job_id)), store.events(JobId(job_id))
    assert job is not None
    assert (job.state, job.prefect, job.ended_at) == (newest.state, newest.prefect, newest.prefect.timestamp)
    assert job.started_at == newest.started_at
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert events[0].from_state is None
    assert all(after.from_state is before.to_state for before, after in pairwise(events))
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert events[-1].to_state is job.state
    assert job.version >= len(events)


def test_processes_and_threads_agree(url: str, tmp_path: Path) -> None:
    jobs = [UUID(int=number) for number in range(1, 11)]
    news = [one for job_id in jobs for one in news_of(job_id)]
    hammer(url, tmp_path, news, processes=4)
    with SqlJobStore(url) as store:
        for job_id in jobs:
            check(store, job_id, max(news_of(job_id), key=lambda one: order_of(one.prefect)))
            job = store.get(JobId(job_id))
            assert job is not None
            assert job.usage == Usage(read_rows=4)
        first = store.get(JobId(jobs[0]))
        assert first is not None
        assert first.token == 4
        assert len(store.page().jobs) == len(jobs)


def test_processes_open_a_brand_new_database_at_once(empty_url: str, tmp_path: Path) -> None:
    job_id = UUID(int=1)
    hammer(empty_url, tmp_path, news_of(job_id), processes=4)
    with SqlJobStore(empty_url) as store:
        check(store, job_id, news_of(job_id)[-1])


def test_threads_race_to_make_a_row(url: str) -> None:
    with SqlJobStore(url, patience=PATIENT) as store, ThreadPoolExecutor(8) as pool:
        for number in range(1, 16):
            ready = threading.Barrier(8)

            def create(seen: Observation, ready: threading.Barrier = ready) -> int:
                ready.wait()
                return store.apply(seen, cause="race", if_version=0).version

            assert list(pool.map(create, news_of(UUID(int=number)))) == [1] * 8
            assert len(store.events(JobId(UUID(int=number)))) == 1


def test_every_start_gets_a_token_of_its_own(url: str) -> None:
    job_id = JobId(UUID(int=1))
    with SqlJobStore(url, patience=PATIENT) as store, ThreadPoolExecutor(8) as pool:
        store.apply(news_of(job_id)[2], cause="hook")
        starts = list(pool.map(lambda pid: store.begin_attempt(job_id, Executor(host="h", pid=pid)), range(40)))
        assert Counter(one.token for one in starts) == Counter(range(1, 41))
        assert {one.number for one in starts} == {1}


def forked(work: Callable[[], object]) -> int:
    """Run `work` in a fork; return the fork's process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def ended_well(child: int) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_fork_gets_connections_of_its_own(url: str) -> None:
    job_id = JobId(UUID(int=1))
    with SqlJobStore(url, patience=PATIENT) as store:
        store.apply(news_of(job_id)[0], cause="parent")
        parents = backends(store)

        def work() -> None:
            store.apply(news_of(job_id)[2], cause="child")
            assert store.database.is_sqlite or not backends(store) & parents
            store.close()

        assert ended_well(forked(work))
        assert [event.cause for event in store.events(job_id)] == ["parent", "child"]
        assert store.apply(news_of(job_id)[3], cause="parent").state == "failed"


def test_a_parent_that_closes_takes_nothing_from_its_fork(url: str) -> None:
    job_id = JobId(UUID(int=1))
    told, tell = os.pipe()
    with SqlJobStore(url, patience=PATIENT) as store:
        store.apply(news_of(job_id)[0], cause="parent")

        def work() -> None:
            store.apply(news_of(job_id)[1], cause="child")
            os.read(told, 1)
            store.apply(news_of(job_id)[2], cause="child")

        child = forked(work)
        store.apply(news_of(UUID(int=2))[0], cause="parent")
    os.write(tell, b"x")  # the parent's connections are closed
    assert ended_well(child)
    os.close(told)
    os.close(tell)
    with SqlJobStore(url) as store:
        assert [event.cause for event in store.events(job_id)] == ["parent", "child"]


def test_forks_in_the_midst_of_other_threads_work(sqlite_url: str) -> None:
    """Each fork writes while the parent's threads go on; nobody waits for a lock that nobody holds."""
    job_id = JobId(UUID(int=1))
    stop = threading.Event()
    with SqlJobStore(sqlite_url, patience=PATIENT) as store, ThreadPoolExecutor(3) as pool:
        store.apply(news_of(job_id)[0], cause="parent")

        def go_on(token: int) -> int:
            count = 0
            while not stop.is_set():
                count += 1
                store.add_usage(job_id, token, Usage(read_rows=count))
            return count

        counts = [pool.submit(go_on, token) for token in range(1, 4)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # later Pythons warn of forks beside threads
            children = [forked(lambda: store.add_usage(job_id, os.getpid(), Usage(written_rows=1))) for _ in range(15)]
        assert [ended_well(child) for child in children] == [True] * 15
        stop.set()
        total = sum(one.result() for one in counts)
        job = store.get(job_id)
        assert job is not None
        assert job.usage == Usage(read_rows=total, written_rows=15)
        assert store.database.read(lambda one: one.execute(text("PRAGMA integrity_check")).scalar()) == "ok"


def backends(store: SqlJobStore) -> set[int]:
    if store.database.is_sqlite:
        return set()
    return {store.database.read(lambda connection: connection.execute(text("SELECT pg_backend_pid()")).scalar_one())}
