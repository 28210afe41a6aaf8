"""A small process that stands between `narrative up` and one of its children, so that no child outlives it.

It runs a command, ends it when asked (SIGTERM) or when `up` is gone (its end of a pipe closes), and takes every
descendant of the command with it, also those whose parent has died. It uses the standard library only and imports
nothing of ours: it is started as a plain script, once a child.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
SIGNALLED = 128


def become_subreaper() -> None:
    """Make this process the parent of every descendant that loses its own."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def children_of(parent: int) -> list[int]:
    """Return the pids of the direct children of a process, those included that ended and were not waited for."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended while we looked
        if int(fields[1]) == parent:
            found.append(int(entry.name))
    return found


def end_children(patience_seconds: float = 10.0) -> None:
    """Kill all descendants of this process and wait for them.

    Killing a child hands its own children to this process, so the loop reaches all of them.
    """
    until = time.monotonic() + patience_seconds
    while time.monotonic() < until:
        for pid in children_of(os.getpid()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                continue
        except ChildProcessError:
            return
        time.sleep(0.02)


def watch(command: Sequence[str], lifeline: int, grace_seconds: float) -> int:
    """Run a command until it ends, is asked to end, or the other end of `lifeline` closes.

    Args:
        command: The program and its arguments.
        lifeline: File descriptor of a pipe's reading end; `up` alone holds the other.
        grace_seconds: How long the command may take to end by itself before it is killed.

    Returns:
        The command's exit code; 128 and the signal's number where a signal ended it.
    """
    become_subreaper()
    waker, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    asked = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: asked.append(received))
    signal.signal(signal.SIGCHLD, lambda _received, _frame: None)
    child = subprocess.Popen(  # noqa: S603 - the command is `up`'s own
        command,
        stdin=subprocess.DEVNULL,
        preexec_fn=lambda: _prctl(PR_SET_PDEATHSIG, signal.SIGTERM),  # noqa: PLW1509 - this process has one thread
    )
    kill_at = None
    watched = [waker, lifeline]
    while child.poll() is None:
        wait = 1.0 if kill_at is None else max(0.0, min(1.0, kill_at - time.monotonic()))
        ready = select.select(watched, [], [], wait)[0]
        if waker in ready:
            os.read(waker, 4096)
        if lifeline in ready and not os.read(lifeline, 4096):
            watched.remove(lifeline)
            asked.append(signal.SIGTERM)
        if asked and kill_at is None:
            child.terminate()
            kill_at = time.monotonic() + grace_seconds
        if kill_at is not None and time.monotonic() >= kill_at:
            child.kill()
    end_children()
    return child.returncode if child.returncode >= 0 else SIGNALLED - child.returncode


if __name__ == "__main__":
    sys.exit(watch(sys.argv[3:], int(sys.argv[1]), float(sys.argv[2])))
