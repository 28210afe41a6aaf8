"""The clocks of the simulated world. Nobody sleeps: time passes when the simulation says so."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class Clocks:
    """Ticks that only go forward, and two clocks for the time of day, which people may set."""

    ticks: float = 0.0
    """Seconds since the world began."""
    server_offset: timedelta = timedelta(0)
    machine_offset: timedelta = timedelta(0)
    was_set: bool = False
    """Whether the server's clock was ever set back: from then on, its times do not tell what came first."""

    def seconds(self) -> float:
        """Return the time by the clock that nobody sets."""
        return self.ticks

    def server(self) -> datetime:
        """Return the time by the clock of Prefect's server, which all its states carry."""
        return BEGIN + timedelta(seconds=self.ticks) + self.server_offset

    def machine(self) -> datetime:
        """Return the time by the clock of the machines on which reconcilers and jobs run."""
        return BEGIN + timedelta(seconds=self.ticks) + self.machine_offset

    def set_back(self, by: timedelta, *, machines_too: bool) -> None:
        """Set the server's clock back, and those of the machines where it is one of them."""
        self.server_offset -= by
        if machines_too:
            self.machine_offset -= by
        self.was_set = True
