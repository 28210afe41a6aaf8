"""The parts that the suite kills, stops and starts again: each is one child process, and nothing guards it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from prefect_narrative.cli.guard import become_subreaper, children_of

RESTART_SECONDS = 1.0
"""After what time a part that ended unasked is started again, as `narrative up` does."""


class Part:
    """One long-running program: server, worker or reconciler.

    A signal reaches its own process only, so what it has started may live on.

    Args:
        name: What it is called in messages, and the name of its log.
        command: What is run.
        environment: All of its environment.
        folder: Where it runs, and where its log lies.
    """

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.command = list(command)
        self.environment = dict(environment)
        self.log = folder / f"{name}.log"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._ended_at: float | None = None
        self.wanted = False
        """Whether it is to be started again when it has ended."""
        self.altered = False
        """Whether it runs in another way than usual, so that the next cell needs a new one."""

    def start(self, *, before: Sequence[str] = (), **environment: str) -> None:
        """Start it.

        Args:
            before: What stands before its command, such as `unshare`.
            environment: What is different in its environment this once.
        """
        self.altered = bool(before or environment)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*before, *self.command],
                env={**self.environment, **environment},
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._ended_at = None
        self.wanted = True

    @property
    def pid(self) -> int:
        """Its pid, while it runs."""
        if self._process is None:
            raise RuntimeError(f"the {self.name} was never started")
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs, be it stopped."""
        return self._process is not None and self._process.poll() is None

    def kill(self, number: int, *, comes_back: bool = True) -> None:
        """Send it the signal that ends it, and wait until it has ended.

        Args:
            number: SIGKILL or SIGTERM.
            comes_back: Whether `tend` starts it again, as `narrative up` would.
        """
        self.wanted = comes_back
        if self._process is not None and self.alive:
            self._process.send_signal(number)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._ended_at = time.monotonic()

    def ask_to_end(self) -> None:
        """Send it SIGTERM, for good, and wait for nothing."""
        self.wanted = False
        self.thaw()
        if self.alive:
            os.kill(self.pid, signal.SIGTERM)

    def freeze(self) -> None:
        """Stop it where it is (SIGSTOP)."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on (SIGCONT)."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGCONT)

    def tend(self) -> int | None:
        """Start it again if it is wanted and has ended a moment ago; return how it had ended, if it was started."""
        if not self.wanted or self._process is None or self.alive:
            return None
        if self._ended_at is None:
            self._ended_at = time.monotonic()
        if time.monotonic() - self._ended_at < RESTART_SECONDS:
            return None
        code = self._process.returncode
        self.start()
        return code

    def tail(self, lines: int = 15) -> str:
        """Return the end of its log."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return "\n".join(text.rstrip().splitlines()[-lines:])


class Household(threading.Thread):
    """Buries orphans, as the first process of a machine does, and starts parts again that ended unasked.

    The flows of a killed worker become children of this process. A dead one of which nobody takes notice would stay a
    zombie, which no real machine's does.
    """

    def __init__(self, parts: Callable[[], Sequence[Part]], said: Callable[[str], None]) -> None:
        super().__init__(name="household", daemon=True)
        become_subreaper()
        self._parts = parts
        self._said = said
        self._ending = threading.Event()
        self._dead: set[int] = set()

    def run(self) -> None:
        """Look around four times a second."""
        while not self._ending.wait(0.25):
            parts = list(self._parts())
            self._bury({part.pid for part in parts if part.wanted or part.alive})
            for part in parts:
                code = part.tend()
                if code is not None:
                    self._said(f"the {part.name} had ended ({code}) and was started again")

    def end(self) -> None:
        """Stop looking."""
        self._ending.set()
        self.join()

    def _bury(self, ours: set[int]) -> None:
        # Whoever called a program waits for it at once: only what has been dead for two looks is nobody's.
        dead = {pid for pid in children_of(os.getpid()) if pid not in ours and _is_zombie(pid)}
        for pid in dead & self._dead:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        self._dead = dead


def _is_zombie(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def flow_processes(job_id: object) -> list[int]:
    """Return the pids of the processes that run a job's flow, on whatever namespace of this machine."""
    wanted = f"PREFECT__FLOW_RUN_ID={job_id}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if wanted not in (entry / "environ").read_bytes().split(b"\0"):
                continue
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue  # it ended while we looked, or is none of ours
        # Prefect starts further processes with the same environment, for the hooks of a run that has ended.
        if b"_workspace_supervisor" in command or b"prefect.engine" in command or b"prefect.flow_engine" in command:
            found.append(int(entry.name))
    return sorted(found)


def runs(pid: int) -> bool:
    """Return whether a process is there and is more than a zombie."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def may(*command: str) -> bool:
    """Return whether this user may run a command that needs rights, such as `unshare`."""
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=10).returncode == 0
    except OSError:
        return False


def python(*arguments: str) -> list[str]:
    """Return a command of this interpreter."""
    return [sys.executable, *arguments]
