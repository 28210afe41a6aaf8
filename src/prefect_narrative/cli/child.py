"""One long-running process of `narrative up`, behind its guard."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect_narrative.cli import guard

MAX_LOG_BYTES = 10_000_000
FIRST_BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 30.0
CALM_SECONDS = 60.0
"""A process that ran this long is not seen as one that fails again and again."""


@dataclass(frozen=True)
class Program:
    """What is run as a child, and how."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    """Where it runs."""
    log: Path
    grace_seconds: float = 10.0
    """How long it may take to end by itself before it is killed."""


class Child:
    """A running program: can be watched, restarted and ended, and does not outlive this process.

    Args:
        program: What to run.
        held: File descriptors that its guard holds open as long as it lives, such as that of a lock.
        outlives: Run it without a guard: it goes on when this process ends.
    """

    def __init__(self, program: Program, held: Sequence[int] = (), *, outlives: bool = False) -> None:
        self.program = program
        self._held = tuple(held)
        self._outlives = outlives
        self._guard: subprocess.Popen[bytes] | None = None
        self._lifeline = -1
        self._started_at = 0.0
        self._backoff_seconds = FIRST_BACKOFF_SECONDS
        self._restart_at: float | None = None

    def start(self) -> None:
        """Start the program; its output goes to the end of its log."""
        self.program.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.program.log.exists() and self.program.log.stat().st_size > MAX_LOG_BYTES:
            self.program.log.replace(self.program.log.with_suffix(".log.1"))
        watched, self._lifeline = os.pipe()
        guarded = [sys.executable, "-I", str(Path(guard.__file__)), str(watched), str(self.program.grace_seconds)]
        try:
            with self.program.log.open("ab") as log:
                self._guard = subprocess.Popen(  # noqa: S603 - the command is our own
                    self.program.command if self._outlives else [*guarded, *self.program.command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self.program.folder,
                    env=dict(self.program.environment),
                    pass_fds=(watched, *self._held),
                    start_new_session=True,
                )
        finally:
            os.close(watched)
        self._started_at = time.monotonic()
        self._restart_at = None

    @property
    def pid(self) -> int | None:
        """The pid of what was started, or None while nothing runs."""
        return self._guard.pid if self._guard and self._guard.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        """How the program ended, or None while it runs or before it was started."""
        return self._guard.poll() if self._guard else None

    def restart_when_due(self) -> str | None:
        """Start the program again if it has ended, after a pause that grows while it keeps ending.

        Returns:
            What happened, for the log; None where there is nothing to say.
        """
        code = self.exit_code
        if code is None:
            return None
        now = time.monotonic()
        if self._restart_at is None:
            if now - self._started_at >= CALM_SECONDS:
                self._backoff_seconds = FIRST_BACKOFF_SECONDS
            pause, self._backoff_seconds = self._backoff_seconds, min(self._backoff_seconds * 2, MAX_BACKOFF_SECONDS)
            self._restart_at = now + pause
            return (
                f"{self.program.name} ended unexpectedly ({_ended(code)}); it starts again in {pause:.0f} s. "
                f"Its log: {self.program.log}"
            )
        if now < self._restart_at:
            return None
        self._release()
        self.start()
        return f"{self.program.name} was started again."

    def ask_to_end(self) -> None:
        """Ask the program to end; it is killed when its grace is over."""
        if self.pid is not None and self._guard is not None:
            self._guard.send_signal(signal.SIGTERM)

    def end(self) -> None:
        """End the program and everything that it started, and wait for it."""
        self.ask_to_end()
        if self._guard is not None:
            try:
                self._guard.wait(self.program.grace_seconds + 15)
            except subprocess.TimeoutExpired:
                self._guard.kill()
                self._guard.wait()
        self._release()

    def log_tail(self, lines: int = 15) -> str:
        """Return the last lines of the program's log."""
        try:
            text = self.program.log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.rstrip().splitlines()[-lines:])

    def _release(self) -> None:
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1


def _ended(code: int) -> str:
    number = -code if code < 0 else code - guard.SIGNALLED
    if code < 0 or code > guard.SIGNALLED:
        try:
            return signal.Signals(number).name
        except ValueError:
            return f"exit code {code}"
    return f"exit code {code}"
