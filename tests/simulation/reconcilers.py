"""A reconciler of the simulated world: the real one, its feed of events, and how it sweeps, crashes and comes back."""

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import httpx
from prefect.client.schemas.objects import State, StateType
from prefect.events.schemas.events import Event

from prefect_narrative.jobs.deaths import DeathWatch
from prefect_narrative.jobs.events import EventFeed
from prefect_narrative.jobs.prefect_runs import PrefectRuns
from prefect_narrative.jobs.reconciler import Reconciler
from prefect_narrative.jobs.store import JobTableUnavailableError
from tests.simulation.actors import Actor
from tests.simulation.processes import Eyes, Host
from tests.simulation.tables import LakeFromHere

if TYPE_CHECKING:
    from tests.simulation.world import World

MOST_MAIL = 40


class KnownReconciler:
    """A reconciler on a machine, with its messages.

    Args:
        world: Everything else.
        host: Its machine.
    """

    def __init__(self, world: "World", host: Host) -> None:
        self.host = host
        self.world = world
        self.mail: list[Event] = []
        self.sweeping: Actor | None = None
        self.writing: Actor | None = None
        self.sweeps = 0
        self._begin()

    def _begin(self) -> None:
        world = self.world
        table, lake = world.new_table(), LakeFromHere(world.lake, world.lake_gate)
        self._api = world.new_api(self.host)
        eyes = Eyes(self.host, world.bodies, world.kill, world.process_gate)
        self._deaths = DeathWatch(table, eyes, lake, clock=world.clocks.seconds, now=world.clocks.machine)
        self._reconciler = Reconciler(
            table,
            world.outbox_of(self.host),
            lake,
            deaths=self._deaths,
            clock=world.clocks.machine,
            ticks=world.clocks.seconds,
        )
        self._feed = EventFeed(table, lambda: nullcontext(cast("Any", None)), lambda: None)
        self.mail.clear()

    def actors(self) -> list[Actor]:
        """Return what it is about."""
        return [one for one in (self.sweeping, self.writing) if one is not None and not one.is_done]

    def hear(self, event: Event) -> None:
        """Put an event into its mail."""
        if self.world.prefect_gate.is_up and len(self.mail) < MOST_MAIL:
            self.mail.append(event)

    def sweep(self) -> Actor:
        """Begin a sweep, or return the one that it is at."""
        if self.sweeping is None or self.sweeping.is_done:
            self.sweeps += 1
            self.sweeping = Actor("sweep", self._sweep).start()
        return self.sweeping

    def deliver(self, index: int, *, keep: bool = False) -> Actor | None:
        """Let it read one of its messages; it may come again. None where it has none, or reads one."""
        if not self.mail or (self.writing is not None and not self.writing.is_done):
            return None
        index %= len(self.mail)
        event = self.mail[index] if keep else self.mail.pop(index)
        self.writing = Actor("listener", lambda: self._write(event)).start()
        return self.writing

    def crash(self) -> None:
        """Let nothing of it happen any more, and let another one begin in its place."""
        self.close()
        self._begin()

    def close(self) -> None:
        """Release what it holds."""
        for actor in self.actors():
            actor.kill()
        self._feed._loop.close()

    def _sweep(self) -> None:
        try:
            self._reconciler.sweep(self._api)
        except (httpx.HTTPError, JobTableUnavailableError):
            self._deaths.interrupted()

    def _write(self, event: Event) -> None:
        try:
            self._feed._bring(cast("PrefectRuns", self._api), event)
        except (httpx.HTTPError, JobTableUnavailableError):
            return


def event_of(run_id: UUID, state: State[Any]) -> Event:
    """Return the event by which Prefect tells of a state."""
    told: dict[str, Any] = {"type": state.type.value, "name": state.name}
    if state.message:
        told["message"] = state.message
    if state.type is StateType.PAUSED:
        told["pause_reschedule"] = str(bool(state.state_details.pause_reschedule)).lower()
    return Event(
        id=state.id,
        occurred=state.timestamp,
        event=f"prefect.flow-run.{state.name}",
        resource={"prefect.resource.id": f"prefect.flow-run.{run_id}", "prefect.state-type": state.type.value},
        payload={"validated_state": told},
    )
