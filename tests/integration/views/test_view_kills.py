"""Jobs on views that are killed anywhere: each view is whole, says what it is made from, and goes on from there."""

import fcntl
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4, uuid5

import pytest
from view_world import VIEWS, add_entries, check_world, make_world, opened, place_in, refresh, settings_in

from prefect_narrative.planes import Plane
from prefect_narrative.planes.connection import open_writer
from prefect_narrative.views.lineage import Lineage

LOOPS = int(os.environ.get("NARRATIVE_LOOPS", "3"))
"""How often a process is killed; long runs set more."""
SCRIPT = Path(__file__).with_name("view_process.py")
MORE = "SELECT id, seq, grp, amount FROM entries WHERE id % 3 <> {remainder}"


@dataclass(frozen=True)
class Task:
    """What a job is asked to do."""

    what: str
    view: str
    how: str | None = None
    job: UUID = field(default_factory=uuid4)


@dataclass
class Length:
    """How long tasks of a kind took at most that did something and lived."""

    calls: int = 0
    """Of functions."""
    seconds: float = 0.0

    def note(self, answer: Any, seconds: float) -> None:
        """Take in what a task took, where it was answered."""
        if answer is not None:
            self.calls = max(self.calls, answer["calls"])
            self.seconds = max(self.seconds, seconds)


class Victim:
    """A process that does jobs, and may die of it."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._process: subprocess.Popen[str] | None = None

    def ask(self, task: Task, token: int = 1, *, die_after: int | None = None, within: float | None = None) -> Any:
        """Return the answer to a task, or None where the process died of it.

        Args:
            task: What to do.
            token: The attempt's token.
            die_after: After how many calls of functions it dies.
            within: After how many seconds it is killed.
        """
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        given = {"job": str(task.job), "token": token, "what": task.what, "view": task.view, "how": task.how}
        process.stdin.write(json.dumps({**given, "die_after": die_after}) + "\n")
        process.stdin.flush()
        if within is not None:
            time.sleep(within)
            process.kill()
        answer = process.stdout.readline()
        if answer and within is None:
            return json.loads(answer)
        self._process = None
        _, errors = process.communicate(timeout=60)
        assert process.returncode == -9, errors[-3000:]
        return json.loads(answer) if answer else None

    @property
    def lives(self) -> bool:
        """Whether the process has outlived its last task."""
        return self._process is not None

    def end(self) -> None:
        """End the process where it lives."""
        if self._process is not None:
            self._process.communicate(timeout=60)
            self._process = None

    def _running(self) -> "subprocess.Popen[str]":
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, str(SCRIPT), str(self._home)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            assert self._process.stdout is not None
            assert self._process.stdout.readline() == "ready\n", self._process.communicate()[1][-3000:]
        return self._process


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def plane(home: Path) -> Iterator[Plane]:
    with opened(home) as made:
        make_world(made)
        yield made


@pytest.fixture
def victim(home: Path, plane: Plane) -> Iterator[Victim]:
    made = Victim(home)
    yield made
    with suppress(ValueError):
        made.end()


def tasks(chance: random.Random, number: int) -> Task:
    """Return a task by chance; a new view each time where it makes one."""
    what = chance.choice(["refresh", "refresh", "refresh", "append", "append", "cascade", "create", "replace"])
    if what == "create":
        return Task("create", f"made_{number}", MORE.format(remainder=number % 3))
    if what == "replace":
        return Task("create", "kept", MORE.format(remainder=number % 3))
    if what == "append":
        return Task("refresh", chance.choice(["journal", "latest"]), "auto")
    if what == "cascade":
        return Task("cascade", chance.choice(["totals", "named"]), "auto")
    return Task("refresh", chance.choice(sorted(VIEWS)), chance.choice(["auto", "full"]))


def lock_is_free(home: Path) -> bool:
    with place_in(home).lock.open("r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def unpublished(home: Path) -> set[Path]:
    """Return the files that clean-up would find: those that no snapshot of the lake knows."""
    settings = settings_in(home)
    connection = open_writer(place_in(home), settings, home / "looking")
    try:
        found = connection.execute(
            "CALL ducklake_delete_orphaned_files('lake', dry_run => true, cleanup_all => true)"
        ).fetchall()
    finally:
        connection.close()
    return {Path(path) for (path,) in found}


def test_a_job_that_is_killed_anywhere_leaves_each_view_old_or_new(home: Path, plane: Plane, victim: Victim) -> None:
    chance = random.Random(20251124)
    lengths: defaultdict[str, Length] = defaultdict(Length)
    dead: set[UUID] = set()
    outcomes: Counter[str] = Counter()
    before = check_world(plane)
    kills = number = 0
    while kills < LOOPS:
        number += 1
        add_entries(plane, number)
        task = tasks(chance, number)
        steps = steps_of(plane, task)
        length, began = lengths[task.what], time.monotonic()
        if not length.calls:
            answer = victim.ask(task)
        elif chance.random() < 0.5:
            answer = victim.ask(task, die_after=chance.randrange(1, length.calls))
        else:
            answer = victim.ask(task, within=chance.uniform(0, length.seconds))
        length.note(answer, time.monotonic() - began)
        killed = not victim.lives
        if killed:
            kills += 1
            dead.update(steps.values())
        assert lock_is_free(home)

        published = {view: plane.published(job) for view, job in steps.items()}
        after = check_world(plane)
        for view in before.keys() | after.keys():
            changed = after.get(view) != before.get(view)
            assert changed == (published.get(view) is not None), f"{task} has made of {view} what it does not say"
        if killed:
            outcomes.update("old" if found is None else "new" for found in published.values())

        began = time.monotonic()
        length.note(victim.ask(task, 2), time.monotonic() - began)
        before = check_world(plane)
        for view, found in published.items():
            if found is not None:
                assert before[view] == after[view], f"{task} has published {view} twice"
                assert plane.published(steps[view]) == found
    assert LOOPS < 50 or min(outcomes["old"], outcomes["new"]) > LOOPS / 10, f"too early or too late: {outcomes}"
    assert_only_orphans(home, plane, dead)
    assert_up_to_date_in_the_end(plane)


def steps_of(plane: Plane, task: Task) -> dict[str, UUID]:
    """Return the jobs that a task is done in, by the view that each writes."""
    if task.what != "cascade":
        return {task.view: task.job}
    dependants = Lineage.of(plane.descriptions()).dependants(task.view)
    return {task.view: task.job, **{view: uuid5(task.job, view) for view in dependants}}


def assert_only_orphans(home: Path, plane: Plane, dead: Iterable[UUID]) -> None:
    """Check that what the dead have left are files that clean-up finds, in the folders of their attempts."""
    jobs = place_in(home).data / "jobs"
    allowed = {(str(job), "1") for job in dead}
    assert {path.relative_to(jobs).parts[:2] for path in unpublished(home)} <= allowed
    for job in dead:
        plane.discard(job, 1)
    assert not unpublished(home)


def assert_up_to_date_in_the_end(plane: Plane) -> None:
    """Check that the next refresh of each view works, whatever was killed."""
    lineage = Lineage.of(plane.descriptions())
    for view in sorted(lineage.reads, key=lambda view: len(lineage.ancestors(view))):
        refresh(plane, uuid4(), 1, view, "auto")
    check_world(plane, up_to_date=True)
