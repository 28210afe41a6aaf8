"""Processes of this machine, and whether the one behind a heartbeat still lives."""

import os
import signal
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Self
from uuid import UUID

from prefect_narrative.jobs.record import Heartbeat

_STARTED = 19
"""Place of the start time among the fields that follow the name in `/proc/PID/stat`."""
_STATE = 0


class Life(StrEnum):
    """What can be seen of a process from here."""

    ALIVE = "alive"
    """It is there, be it at work or stopped."""
    DEAD = "dead"
    """It has ended, or its machine has started anew since."""
    OUT_OF_SIGHT = "out of sight"
    """It is on another machine, or in a container that can't be looked into from here."""


@dataclass(frozen=True)
class Machine:
    """This machine, as far as this process can see it."""

    host: str
    machine_id: str
    """What the system says it is, over restarts; empty where it says nothing."""
    boot_id: str
    """Changes at each start of the system."""
    pid_namespace: str
    """Processes of another namespace have other pids, or none, from here."""

    @classmethod
    def here(cls) -> Self:
        """Return the machine that this process runs on."""
        return cls(
            socket.gethostname(),
            _text_of(Path("/etc/machine-id")),
            _text_of(Path("/proc/sys/kernel/random/boot_id")),
            str(Path("/proc/self/ns/pid").readlink()),
        )

    def heartbeat(self, job_id: UUID, token: int) -> Heartbeat:
        """Return a sign of life of this process, as of now."""
        pid = os.getpid()
        ticks = start_ticks(pid)
        if ticks is None:
            raise ProcessLookupError(f"/proc does not show process {pid}")
        return Heartbeat(
            job_id=job_id,
            token=token,
            at=datetime.now(UTC),
            host=self.host,
            machine_id=self.machine_id,
            boot_id=self.boot_id,
            pid_namespace=self.pid_namespace,
            pid=pid,
            start_ticks=ticks,
        )

    def life_of(self, beat: Heartbeat) -> Life:
        """Return what can be seen from here of the process that gave a sign of life."""
        if (beat.host, beat.machine_id) != (self.host, self.machine_id):
            return Life.OUT_OF_SIGHT
        if beat.boot_id != self.boot_id:
            # Without a name of its own, a machine can't be told from another one of the same host name.
            return Life.DEAD if self.machine_id else Life.OUT_OF_SIGHT
        if beat.pid_namespace != self.pid_namespace:
            return Life.OUT_OF_SIGHT
        return Life.ALIVE if start_ticks(beat.pid) == beat.start_ticks else Life.DEAD

    def kill(self, beat: Heartbeat) -> bool:
        """Kill the process behind a sign of life, if it lives in sight; say whether it did."""
        if self.life_of(beat) is not Life.ALIVE:
            return False
        try:
            os.kill(beat.pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True


def start_ticks(pid: int) -> int | None:
    """Return when a process started, in the kernel's ticks since the machine's start; None where it has ended.

    Unlike seconds since the epoch, they stay the same when the clock is set.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[_STATE] in {"Z", "X"} else int(fields[_STARTED])


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
