import json
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from prefect_narrative.errors import FailureKind
from prefect_narrative.jobs.outbox import Outbox
from prefect_narrative.jobs.record import Executor, Failure, JobId, Usage
from prefect_narrative.jobs.store import JobTableUnavailableError
from prefect_narrative.testing import MemoryJobStore, observed

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
JOB_ID = JobId(UUID(int=7))
FAILURE = Failure(
    attempt=1,
    at=NOON,
    kind=FailureKind.DATA,
    code="bad_cast",
    message="no\0number",
    remedy="mend",
    retryable=False,
)


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "outbox")


@pytest.fixture
def store() -> MemoryJobStore:
    store = MemoryJobStore()
    store.apply(observed(JOB_ID, "RUNNING", NOON), cause="hook")
    store.begin_attempt(JOB_ID, Executor(host="here", pid=1))
    return store


def files(outbox: Outbox) -> list[str]:
    return sorted(path.name for path in outbox.folder.iterdir() if path.name != ".lock")


def test_letters_reach_the_table_once_and_go(outbox: Outbox, store: MemoryJobStore) -> None:
    outbox.put_result(JOB_ID, 1, {"rows": 3, "bad": float("nan")})
    outbox.put_failure(JOB_ID, 1, FAILURE)
    outbox.put_usage(JOB_ID, 1, Usage(read_rows=2))
    assert files(outbox) == [f"{JOB_ID}.1.{kind}.json" for kind in ("failure", "result", "usage")]
    assert outbox.drain(store) == 3
    assert files(outbox) == []
    assert outbox.drain(store) == 0
    job = store.apply(observed(JOB_ID, "COMPLETED", NOON.replace(hour=13)), cause="hook")
    assert job.result == {"rows": 3, "bad": None}
    assert job.failures == (FAILURE.model_copy(update={"message": "no\ufffdnumber"}),)
    assert job.usage == Usage(read_rows=2)


def test_a_result_that_comes_after_its_run_completed_mends_the_job(outbox: Outbox, store: MemoryJobStore) -> None:
    assert store.apply(observed(JOB_ID, "COMPLETED", NOON.replace(hour=13)), cause="event").state == "failed"
    outbox.put_result(JOB_ID, 1, {"rows": 3})
    assert outbox.drain(store) == 1
    job = store.get(JOB_ID)
    assert job is not None
    assert (job.state, job.result, job.failures) == ("completed", {"rows": 3}, ())


def test_nothing_was_put(outbox: Outbox, store: MemoryJobStore) -> None:
    assert outbox.drain(store) == 0
    assert outbox.find_result(JOB_ID) is None
    assert not outbox.folder.exists()


def test_only_the_owner_may_read(outbox: Outbox) -> None:
    outbox.put_result(JOB_ID, 1, {})
    assert outbox.folder.stat().st_mode & 0o777 == 0o700
    assert (outbox.folder / f"{JOB_ID}.1.result.json").stat().st_mode & 0o777 == 0o600


def test_the_newest_result_is_found(outbox: Outbox) -> None:
    for token in (2, 10, 9):
        outbox.put_result(JOB_ID, token, {"token": token})
    outbox.put_result(JobId(UUID(int=8)), 99, {})
    outbox.put_failure(JOB_ID, 100, FAILURE)
    assert outbox.find_result(JOB_ID) == (10, {"token": 10})


def test_a_letter_about_an_unknown_job_stays(outbox: Outbox, store: MemoryJobStore) -> None:
    other = JobId(UUID(int=8))
    outbox.put_result(other, 1, {"rows": 3})
    assert outbox.drain(store) == 0
    assert outbox.find_result(other) == (1, {"rows": 3})
    store.apply(observed(other, "RUNNING", NOON), cause="sweep")
    assert outbox.drain(store) == 1


def test_letters_wait_for_the_table(outbox: Outbox, store: MemoryJobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise JobTableUnavailableError

    outbox.put_result(JOB_ID, 1, {"rows": 3})
    outbox.put_usage(JOB_ID, 1, Usage(read_rows=1))
    with monkeypatch.context() as patch:
        patch.setattr(store, "stage_result", refuse)
        assert outbox.drain(store) == 0
    assert outbox.find_result(JOB_ID) == (1, {"rows": 3})
    assert outbox.drain(store) == 2


def test_a_letter_that_is_put_while_one_is_delivered_is_not_lost(
    outbox: Outbox, store: MemoryJobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = store.stage_result

    def stage_slowly(job_id: JobId, token: int, result: dict[str, Any]) -> None:
        if result == {"rows": 1}:
            outbox.put_result(JOB_ID, 1, {"rows": 2})
        stage(job_id, token, result)

    outbox.put_result(JOB_ID, 1, {"rows": 1})
    monkeypatch.setattr(store, "stage_result", stage_slowly)
    assert outbox.drain(store) == 1
    assert outbox.find_result(JOB_ID) == (1, {"rows": 2})
    assert outbox.drain(store) == 1
    job = store.apply(observed(JOB_ID, "COMPLETED", NOON.replace(hour=13)), cause="hook")
    assert job.result == {"rows": 2}


def test_what_a_killed_process_had_claimed_is_delivered(outbox: Outbox, store: MemoryJobStore) -> None:
    outbox.put_usage(JOB_ID, 1, Usage(read_rows=1))
    claimed = outbox.folder / f"{JOB_ID}.1.usage.json"
    claimed.rename(claimed.with_suffix(".taken"))
    outbox.put_usage(JOB_ID, 1, Usage(read_rows=10))
    outbox.put_usage(JOB_ID, 2, Usage(read_rows=100))
    assert outbox.drain(store) + outbox.drain(store) == 3
    job = store.get(JOB_ID)
    assert job is not None
    assert job.usage == Usage(read_rows=110)  # of one token the later letter counts


def test_a_letter_that_is_delivered_twice_counts_once(
    outbox: Outbox, store: MemoryJobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any, **__: Any) -> None:
        raise JobTableUnavailableError("the process died before it removed the letter")

    for kind in ("result", "failure", "usage"):
        given = {"result": {"rows": 3}, "failure": FAILURE, "usage": Usage(read_rows=2)}[kind]
        getattr(outbox, f"put_{kind}")(JOB_ID, 1, given)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", die)
            assert outbox.drain(store) == 0
        once = store.get(JOB_ID)
        assert once is not None
        assert outbox.drain(store) == 1
        after = store.get(JOB_ID)
        assert after is not None
        assert after == once.model_copy(update={"updated_at": after.updated_at})
    assert after.usage == Usage(read_rows=2)


def test_many_drain_at_once(outbox: Outbox, store: MemoryJobStore) -> None:
    for token in range(50):
        outbox.put_usage(JOB_ID, token, Usage(read_rows=1))
    with ThreadPoolExecutor(4) as pool:
        drained = sum(pool.map(lambda _: outbox.drain(store), range(8)))
    assert drained + outbox.drain(store) == 50
    job = store.get(JOB_ID)
    assert job is not None
    assert job.usage == Usage(read_rows=50)


def test_a_superseded_result_is_set_aside(outbox: Outbox, store: MemoryJobStore) -> None:
    outbox.put_result(JOB_ID, 1, {"rows": 3})
    store.raise_fence(JOB_ID)
    assert outbox.drain(store) == 0
    (left,) = files(outbox)
    assert left.endswith(".superseded")
    assert json.loads((outbox.folder / left).read_text())["result"] == {"rows": 3}


def letter(**changes: Any) -> str:
    return json.dumps({"job_id": str(JOB_ID), "token": 1, "kind": "result", "result": {"rows": 3}, **changes})


NAME = f"{JOB_ID}.1.result.json"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (NAME, ""),
        (NAME, letter()[:-9]),
        (NAME, "null"),
        (NAME, "[" * 100_000),
        (NAME, "\0" * 4096),
        (NAME, letter(result=None)),
        (NAME, letter(result="x")),
        (NAME, letter(kind="usage")),
        (NAME, letter(kind="order")),
        (NAME, letter(token=2)),
        (NAME, letter(job_id=str(UUID(int=9)))),
        (NAME, letter(extra=1)),
        (f"{JOB_ID}.1.failure.json", letter(kind="failure", result=None, failure={"attempt": -1})),
        ("notes.json", letter()),
        (f"{JOB_ID}.-1.result.json", letter()),
        ("{}.1.result.json".format("-" * 36), letter()),
        (f"{JOB_ID}.99999999999999999999.result.json", letter()),
    ],
)
def test_what_is_no_letter_is_set_aside_and_holds_up_nothing(
    outbox: Outbox, store: MemoryJobStore, name: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    outbox.put_usage(JOB_ID, 1, Usage(read_rows=1))
    (outbox.folder / name).write_text(text)
    with caplog.at_level(logging.ERROR):
        assert outbox.drain(store) == 1
    (left,) = files(outbox)
    assert left.endswith(".rejected")
    assert (outbox.folder / left).read_text() == text
    assert "Set " in caplog.text
    assert outbox.find_result(JOB_ID) is None
    assert outbox.drain(store) == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.symlink_to("/etc/hostname"),
        os.mkfifo,
        lambda path: path.mkdir(),
        lambda path: path.write_bytes(b" " * (16 * 1024 * 1024 + 1)),
    ],
    ids=["link", "pipe", "folder", "huge"],
)
def test_what_is_no_file_of_ours_is_set_aside(
    outbox: Outbox, store: MemoryJobStore, make: Callable[[Path], None]
) -> None:
    outbox.put_usage(JOB_ID, 1, Usage(read_rows=1))
    make(outbox.folder / NAME)
    assert outbox.find_result(JOB_ID) is None
    assert outbox.drain(store) == 1
    assert [name.endswith(".rejected") for name in files(outbox)] == [True]


def test_a_put_that_fails_leaves_nothing_behind(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError("disk full")

    outbox.put_result(JOB_ID, 1, {"rows": 1})
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        outbox.put_result(JOB_ID, 1, {"rows": 2})
    monkeypatch.undo()
    assert files(outbox) == [NAME]
    assert outbox.find_result(JOB_ID) == (1, {"rows": 1})
