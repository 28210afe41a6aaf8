"""Machines and processes: who lives where, who was killed or stopped, and what can be seen of it from where."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from prefect_narrative.jobs.processes import Life
from prefect_narrative.jobs.record import Heartbeat
from tests.simulation.actors import Gate
from tests.simulation.clocks import Clocks


@dataclass
class Host:
    """A machine."""

    name: str
    starts: int = 1
    """How often it has started."""

    @property
    def boot_id(self) -> str:
        """Return what changes at each start."""
        return f"{self.name}:{self.starts}"


@dataclass
class Body:
    """A process, as its machine sees it."""

    host: Host
    pid: int
    is_alive: bool = True
    is_stopped: bool = False


class Seat:
    """A process's own view of where it is: gives its signs of life."""

    def __init__(self, body: Body, clocks: Clocks) -> None:
        self._body = body
        self._clocks = clocks
        self._boot_id = body.host.boot_id

    def heartbeat(self, job_id: UUID, token: int) -> Heartbeat:
        """Return a sign of life."""
        return Heartbeat(
            job_id=job_id,
            token=token,
            at=self._clocks.machine(),
            host=self._body.host.name,
            machine_id=self._body.host.name,
            boot_id=self._boot_id,
            pid_namespace="one",
            pid=self._body.pid,
            start_ticks=self._body.pid,
        )


class Eyes:
    """What can be seen and done about processes from one machine."""

    def __init__(self, host: Host, bodies: dict[int, Body], kill: Callable[[int], None], gate: Gate) -> None:
        self._host = host
        self._gate = gate
        self._bodies = bodies
        self._kill = kill

    def life_of(self, beat: Heartbeat) -> Life:
        """Return what can be seen of the process that gave a sign of life."""
        if beat.host != self._host.name:
            return Life.OUT_OF_SIGHT
        if beat.boot_id != self._host.boot_id:
            return Life.DEAD
        return Life.ALIVE if self._bodies[beat.pid].is_alive else Life.DEAD

    def kill(self, beat: Heartbeat) -> bool:
        """Kill that process, if it lives in sight."""
        if self.life_of(beat) is not Life.ALIVE:
            return False
        self._gate.call("processes.kill", beat.job_id, lambda: self._kill(beat.pid), is_deed=True)
        return True
