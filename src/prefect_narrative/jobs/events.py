"""Prefect's events, brought into the job table as they come: what no hook sees is seen here at once."""

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from datetime import timedelta
from queue import Empty, SimpleQueue
from uuid import UUID

from cachetools import TTLCache
from prefect.client.orchestration import SyncPrefectClient
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventFilter, EventNameFilter
from prefect.events.schemas.events import Event

from prefect_narrative.jobs.prefect_runs import PrefectRuns
from prefect_narrative.jobs.record import Job, JobId, Observation, PrefectState
from prefect_narrative.jobs.states import JobState, state_of
from prefect_narrative.jobs.store import JobStore

logger = logging.getLogger(__name__)

PREFIX = "prefect.flow-run."
RECONNECT_AFTER = timedelta(seconds=1)
_FOREIGN_FOR_SECONDS = 60.0


class EventFeed:
    """Listens to Prefect's websocket of events, and writes each move of a job into the table, in threads of its own.

    An event holds a run's new state, but neither its inputs nor its tags: a run without a row is read from Prefect.

    Caveat: Prefect loses events for a slow listener, emits none where a schedule makes or somebody deletes a run, and
    may publish one before its database shows it. So whoever listens also sweeps.

    Args:
        store: The job table.
        connect: Makes a client of Prefect's API.
        missed: Called where something may have been missed: after each connection, and where a write failed.
    """

    def __init__(
        self,
        store: JobStore,
        connect: Callable[[], AbstractContextManager[SyncPrefectClient]],
        missed: Callable[[], None],
    ) -> None:
        self._store = store
        self._connect = connect
        self._missed = missed
        self._stopping = threading.Event()
        self._heard: SimpleQueue[Event | None] = SimpleQueue()
        self._foreign: TTLCache[UUID, bool] = TTLCache(maxsize=10_000, ttl=_FOREIGN_FOR_SECONDS)
        self._loop = asyncio.new_event_loop()
        self._threads = [
            threading.Thread(target=self._listen, name="narrative-events", daemon=True),
            threading.Thread(target=self._write, name="narrative-event-writer", daemon=True),
        ]

    def start(self) -> None:
        """Begin to listen."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop listening, and wait until that is done."""
        self._stopping.set()
        self._heard.put(None)
        with suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(self._cancel)
        for thread in self._threads:
            thread.join(timeout=10)

    def _cancel(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()

    def _listen(self) -> None:
        trouble: str | None = None
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            while not self._stopping.is_set():
                try:
                    runner.run(self._hear())
                except asyncio.CancelledError:
                    continue
                except Exception as exc:  # whatever goes wrong with the connection, it is made anew
                    if str(exc) != trouble:
                        logger.warning("Prefect's events can't be heard, and are tried again: %r", exc)
                        trouble = str(exc)
                else:
                    trouble = None
                self._stopping.wait(RECONNECT_AFTER.total_seconds())

    async def _hear(self) -> None:
        ours = EventFilter(event=EventNameFilter(prefix=[PREFIX]))
        async with get_events_subscriber(filter=ours, reconnection_attempts=0) as subscriber:
            self._missed()
            async for event in subscriber:
                self._heard.put(event)

    def _write(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._connect() as client:
                    runs = PrefectRuns(client)
                    while (event := self._heard.get()) is not None:
                        self._bring(runs, event)
                    return
            except Exception as exc:  # the sweep makes up for it
                logger.warning("An event could not be brought into the job table: %r", exc)
                self._missed()
                self._stopping.wait(RECONNECT_AFTER.total_seconds())
                self._forget_the_rest()

    def _forget_the_rest(self) -> None:
        """Drop what was heard while nothing could be written: it is old by now, and the sweep knows better."""
        with suppress(Empty):
            while self._heard.get_nowait() is not None:
                continue
            self._heard.put(None)

    def _bring(self, runs: PrefectRuns, event: Event) -> None:
        job_id = _run_of(event)
        if job_id is None or job_id in self._foreign:
            return
        row = self._store.get(JobId(job_id))
        told = None if row is None else observed_in(event, row)
        if row is not None and told is not None and (row.started_at or told.started_at):
            self._store.apply(told, cause="event")
        elif row is None or row.prefect.state_id != event.id:
            self._read(runs, job_id, told)

    def _read(self, runs: PrefectRuns, job_id: UUID, told: Observation | None) -> None:
        """Read a run about which the event does not say enough: not even whether a job that ends has ever run."""
        seen = runs.read(job_id)
        if seen is None:
            self._missed()
        elif runs.is_ours(seen):
            self._store.apply(seen, cause="event")
            if told is not None:  # the event may be out before its state can be read
                self._store.apply(told, cause="event")
        else:
            self._foreign[job_id] = True


def observed_in(event: Event, row: Job) -> Observation | None:
    """Return what an event says about a job, or None where it says no state, or too little about one.

    Args:
        event: An event about a flow run.
        row: The job's row.
    """
    told = event.payload.get("validated_state") or {}
    prefect_type, at = told.get("type"), event.occurred
    if prefect_type is None:
        return None
    ours = state_of(prefect_type, suspended=told.get("pause_reschedule") == "true")
    if ours is JobState.PENDING:  # what it waits for, only the run itself says
        return None
    name = told.get("name") or prefect_type.title()
    return Observation(
        job_id=row.job_id,
        type=row.type,
        state=ours,
        prefect=PrefectState(state_id=event.id, type=prefect_type, name=name, timestamp=at),
        message=told.get("message"),
        started_at=at if ours is JobState.RUNNING else None,
        ended_at=at if ours.terminal else None,
    )


def _run_of(event: Event) -> UUID | None:
    """Return the id of the run that an event is about; None where it is about none, or is a mere sign of life."""
    kind, _, text = event.resource.id.rpartition(".")
    if kind != PREFIX.rstrip(".") or not event.resource.get("prefect.state-type"):
        return None
    try:
        return UUID(text)
    except ValueError:
        return None
