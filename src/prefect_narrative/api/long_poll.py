"""Callers that wait for the end of a job: any number of them, one round over the table for all, and no thread each."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import UTC, datetime
from uuid import UUID

from prefect_narrative.api.errors import TableUnavailableError, TooManyWaitingError
from prefect_narrative.jobs.record import Job
from prefect_narrative.jobs.retries import has_ended

logger = logging.getLogger(__name__)

MOST_WAITING = 1000
PAUSE_SECONDS = 0.25
"""How long a round rests at least before the next."""
SHARE_OF_REST = 2
"""How many times as long as it took a round rests: many callers must not take the reconciler's time."""


class LongPoll:
    """Tells waiting callers when their jobs have ended.

    Args:
        jobs: Returns those of some jobs that the table has.
        most: How many callers may wait at once.
    """

    def __init__(self, jobs: Callable[[Sequence[UUID]], Awaitable[list[Job]]], *, most: int) -> None:
        self._jobs = jobs
        self._most = most
        self._waiting: dict[UUID, set[asyncio.Future[Job | None]]] = {}
        self._count = 0
        self._rounds: asyncio.Task[None] | None = None
        self._closed = False

    async def ended(self, job_id: UUID, seconds: float, gone: Callable[[], Coroutine[None, None, None]]) -> Job | None:
        """Return a job when it has ended; None where it had not when the time was over or the caller was gone.

        Args:
            job_id: The job.
            seconds: How long to wait at most.
            gone: Returns when the caller does not listen any more.

        Raises:
            TooManyWaitingError: there is no place for another caller.
        """
        if self._closed:
            return None
        if self._count >= self._most:
            raise TooManyWaitingError(f"{self._count} callers wait already, and no more than {self._most} may.")
        end: asyncio.Future[Job | None] = asyncio.get_running_loop().create_future()
        leaves = asyncio.create_task(gone())
        self._count += 1
        self._waiting.setdefault(job_id, set()).add(end)
        if self._rounds is None or self._rounds.done():
            self._rounds = asyncio.create_task(self._go_round())
        try:
            await asyncio.wait((end, leaves), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            return end.result() if end.done() else None
        finally:
            leaves.cancel()
            self._count -= 1
            self._waiting[job_id].discard(end)
            if not self._waiting[job_id]:
                del self._waiting[job_id]

    def close(self) -> None:
        """Let every caller go, now and from now on."""
        self._closed = True
        if self._rounds is not None:
            self._rounds.cancel()
        for ends in self._waiting.values():
            for end in ends:
                _tell(end, None)

    async def _go_round(self) -> None:
        clock = asyncio.get_running_loop().time
        while self._waiting:
            began_at = clock()
            try:
                self._tell(await self._jobs(list(self._waiting)))
            except TableUnavailableError:
                pass  # callers wait on: at the end of their time they are told
            except Exception:
                logger.exception("Waiting callers can't be told about their jobs; it is tried again")
            await asyncio.sleep(max(PAUSE_SECONDS, SHARE_OF_REST * (clock() - began_at)))

    def _tell(self, jobs: Sequence[Job]) -> None:
        now = datetime.now(UTC)
        for job in jobs:
            if has_ended(job, now):
                for end in self._waiting.get(job.job_id, ()):
                    _tell(end, job)


def _tell(end: "asyncio.Future[Job | None]", job: Job | None) -> None:
    if not end.done():
        end.set_result(job)
