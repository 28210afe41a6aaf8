"""The lock under which data is published: one writer of a plane at a time, on one machine."""

import fcntl
import json
import os
import random
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from prefect_narrative.planes.errors import PublishLockTimeoutError

SHORTEST_WAIT_SECONDS = 0.002
LONGEST_WAIT_SECONDS = 0.05


class PublishLock:
    """An advisory lock (`flock`) on a file; the system frees it when its holder dies.

    The holder's name lies in the file for whoever waits. It is a hint: only the lock itself decides.

    Args:
        path: The lock's file; made where it is missing.
        timeout: How long to wait for it.
    """

    def __init__(self, path: Path, timeout: timedelta) -> None:
        self.path = path
        self.timeout = timeout

    @contextmanager
    def held(self, purpose: str) -> Iterator[None]:
        """Hold the lock for a block.

        Waiting is done in short sleeps, so that a signal's exception arrives at once.

        Args:
            purpose: For whom or what: a job's id. Shown to those who wait.

        Raises:
            PublishLockTimeoutError: it was not free in time; the message names its holder.
        """
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._acquire(descriptor)
            self._write_holder(descriptor, purpose)
            try:
                yield
            finally:
                os.ftruncate(descriptor, 0)
        finally:
            # Closing alone would not free it while a forked child still has the descriptor.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def holder(self) -> dict[str, Any] | None:
        """Return who wrote their name into the lock's file: `job_id`, `pid`, `host`, `since`; None if nobody did."""
        try:
            found = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def _acquire(self, descriptor: int) -> None:
        seconds = self.timeout.total_seconds()
        deadline = time.monotonic() + seconds
        wait = SHORTEST_WAIT_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            else:
                return
            if time.monotonic() >= deadline:
                break
            time.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311  (spreads those who wait; no secret)
            wait = min(wait * 2, LONGEST_WAIT_SECONDS)
        holder = self.holder()
        who = (
            f"job {holder.get('job_id')} (process {holder.get('pid')} on {holder.get('host')}) "
            f"has held it since {holder.get('since')}"
            if holder
            else "its holder is not known"
        )
        raise PublishLockTimeoutError(
            f"The publish lock {self.path} was not free within {seconds:g} s: {who}.", detail={"holder": holder}
        )

    def _write_holder(self, descriptor: int, purpose: str) -> None:
        holder = {
            "job_id": purpose,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        os.ftruncate(descriptor, 0)
        # On a full disk the lock is needed all the same: what is freed there is freed under it.
        with suppress(OSError):
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
