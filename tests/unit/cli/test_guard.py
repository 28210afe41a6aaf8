import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from prefect_narrative.cli import guard
from prefect_narrative.cli.child import Child, Program

# A parent that starts a child in a session of its own, which starts another, all deaf to SIGTERM if asked to be.
FAMILY = """
import os, signal, subprocess, sys, time
depth, deaf, folder = int(sys.argv[1]), sys.argv[2] == "deaf", sys.argv[3]
if deaf:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if depth:
    subprocess.Popen([sys.executable, __file__, str(depth - 1), sys.argv[2], folder], start_new_session=True)
open(f"{folder}/{depth}.pid", "w").write(str(os.getpid()))
time.sleep(100)
"""


def pids_of(folder: Path, count: int = 3) -> list[int]:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        found = [path.read_text() for path in folder.glob("*.pid")]
        if len(found) == count and all(found):
            return [int(text) for text in found]
        time.sleep(0.02)
    raise AssertionError("the family did not start")


def gone(pids: list[int], within_seconds: float = 10) -> bool:
    until = time.monotonic() + within_seconds
    while any(alive(pid) for pid in pids):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Callable[[str], Child]]:
    script = tmp_path / "family.py"
    script.write_text(FAMILY)
    started: list[Child] = []

    def start(manners: str = "polite") -> Child:
        command = [sys.executable, str(script), "2", manners, str(tmp_path)]
        child = Child(Program("family", command, dict(os.environ), tmp_path, tmp_path / "family.log", grace_seconds=1))
        child.start()
        started.append(child)
        return child

    yield start
    for child in started:
        child.end()


@pytest.mark.parametrize("manners", ["polite", "deaf"])
def test_ending_a_child_ends_its_whole_family(manners: str, family: Callable[[str], Child], tmp_path: Path) -> None:
    child = family(manners)
    pids = pids_of(tmp_path)
    child.end()
    assert gone(pids, within_seconds=0.5)
    assert child.exit_code == guard.SIGNALLED + (signal.SIGKILL if manners == "deaf" else signal.SIGTERM)


def test_the_family_ends_with_its_first_member(family: Callable[[str], Child], tmp_path: Path) -> None:
    family("polite")
    pids = pids_of(tmp_path)
    os.kill(int((tmp_path / "2.pid").read_text()), signal.SIGKILL)
    assert gone(pids)


@pytest.mark.parametrize("manners", ["polite", "deaf"])
def test_a_killed_supervisor_leaves_no_process(manners: str, tmp_path: Path) -> None:
    (tmp_path / "family.py").write_text(FAMILY)
    supervisor = f"""
import os, sys, time
from pathlib import Path
from prefect_narrative.cli.child import Child, Program
folder = Path({str(tmp_path)!r})
command = [sys.executable, str(folder / "family.py"), "2", {manners!r}, str(folder)]
child = Child(Program("family", command, dict(os.environ), folder, folder / "log", grace_seconds=1))
child.start()
time.sleep(100)
"""
    with subprocess.Popen([sys.executable, "-c", supervisor]) as process:
        pids = pids_of(tmp_path)
        process.kill()
    assert gone(pids)


def test_a_killed_guard_takes_the_child_along(family: Callable[[str], Child], tmp_path: Path) -> None:
    child = family("polite")
    pids_of(tmp_path)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    assert gone([int((tmp_path / "2.pid").read_text())])
    for number in (0, 1):  # `up` adopts and ends these; this test's process is no subreaper
        os.kill(int((tmp_path / f"{number}.pid").read_text()), signal.SIGKILL)


@pytest.mark.parametrize(("ending", "code"), [("sys.exit(3)", 3), ("os.kill(os.getpid(), 9)", 137)])
def test_a_guard_ends_as_its_child_did(ending: str, code: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", f"import os, sys; {ending}"]
    child = Child(Program("short", command, dict(os.environ), tmp_path, tmp_path / "short.log"))
    child.start()
    until = time.monotonic() + 20
    while child.exit_code is None and time.monotonic() < until:
        time.sleep(0.02)
    assert child.exit_code == code
    child.end()


def test_a_child_that_ends_starts_again_after_a_growing_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-c", "print('sorry'); raise SystemExit(4)"]
    child = Child(Program("broken", command, dict(os.environ), tmp_path, tmp_path / "broken.log"))
    now = 1000.0
    monkeypatch.setattr("prefect_narrative.cli.child.time.monotonic", lambda: now)
    child.start()
    pauses = []
    for expected in (1, 2, 4):
        while child.exit_code is None:
            time.sleep(0.02)
        said = child.restart_when_due()
        assert said is not None
        assert "broken ended unexpectedly (exit code 4)" in said
        assert f"again in {expected} s" in said
        assert child.restart_when_due() is None
        now += expected
        assert child.restart_when_due() == "broken was started again."
        pauses.append(expected)
    child.end()
    assert "sorry" in child.log_tail()
