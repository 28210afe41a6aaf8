"""Jobs as they are now: the job table, read in a few threads, and Prefect first where the table may be behind."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from prefect_narrative.api.errors import PrefectUnavailableError, TableUnavailableError, no_such_job
from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.jobs.record import Job, JobId
from prefect_narrative.jobs.store import JobReader, JobTableUnavailableError

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

FRESH_SECONDS = 5.0
"""While the last sweep is no older than this, the table's rows are taken as they are."""
BEHIND_SECONDS = 30.0
"""Once the last sweep is older than this, a list may show what has long changed."""
TABLE_SECONDS = 10.0
"""How long a caller waits for the job table, a place in the queue included."""
LOOK_SECONDS = 5.0
"""How long a caller waits for Prefect before it gets what the table has."""
REST_SECONDS = 2.0
"""How long Prefect is left in peace after it could not be asked, so that callers don't queue up for nothing."""
READING_THREADS = 4
LOOKING_THREADS = 2


@dataclass(frozen=True)
class Found:
    """A job, and how much is known about it."""

    job: Job
    stale: bool = False
    """Whether Prefect would have had to be asked and could not be."""


class Reading:
    """Reads jobs for any number of callers at once.

    Args:
        store: The job table.
        look: Asks Prefect how a run is, brings that into the table and returns the job, None where neither knows it;
            raises an error of kind `external` or `access` where Prefect can't be asked.
        seconds_since_sweep: Seconds since the last time that everything was looked at; infinite before the first.
    """

    def __init__(
        self, store: JobReader, look: Callable[[UUID], Job | None], seconds_since_sweep: Callable[[], float]
    ) -> None:
        self._store = store
        self._look = look
        self._seconds_since_sweep = seconds_since_sweep
        self._readers = ThreadPoolExecutor(READING_THREADS, "narrative-api-read")
        # Threads of their own: a Prefect that hangs must not keep callers from the table.
        self._lookers = ThreadPoolExecutor(LOOKING_THREADS, "narrative-api-look")
        self._looks: dict[UUID, asyncio.Future[Job | None]] = {}
        self._look_again_at = 0.0

    @property
    def seconds_since_sweep(self) -> float | None:
        """Seconds since the last time that everything was looked at; None before the first."""
        seconds = self._seconds_since_sweep()
        return seconds if math.isfinite(seconds) else None

    @property
    def behind(self) -> bool:
        """Whether nobody has looked at everything for a while."""
        return self._seconds_since_sweep() > BEHIND_SECONDS

    def close(self) -> None:
        """Begin nothing more."""
        for pool in (self._readers, self._lookers):
            pool.shutdown(wait=False, cancel_futures=True)

    async def table(self, work: Callable[[JobReader], Answer], *, seconds: float = TABLE_SECONDS) -> Answer:
        """Return what `work` reads from the table, in a thread.

        Raises:
            TableUnavailableError: the table can't be reached, or not in time.
        """
        try:
            async with asyncio.timeout(seconds):
                return await _in(self._readers, lambda: work(self._store))
        except (JobTableUnavailableError, TimeoutError) as exc:
            raise TableUnavailableError from exc

    async def job(self, job_id: UUID) -> Found:
        """Return a job; Prefect is asked first where the table has none, or an active one and no sweep was lately.

        Raises:
            UnknownJobError: neither the table nor Prefect knows it.
            PrefectUnavailableError: the table does not know it and Prefect can't be asked.
            TableUnavailableError: the table can't be reached.
        """
        row = await self.table(lambda store: store.get(JobId(job_id)))
        if row is not None and (row.state.terminal or self._seconds_since_sweep() <= FRESH_SECONDS):
            return Found(row)
        try:
            job = await self._looked(job_id)
        except TableUnavailableError:
            raise
        except Exception as exc:
            if row is None:
                raise
            if not isinstance(exc, PrefectUnavailableError):
                logger.exception("Job %s can't be looked up", job_id, extra={"job_id": str(job_id)})
            return Found(row, stale=True)
        if job is None:
            raise no_such_job(job_id)
        return Found(job)

    async def jobs(self, job_ids: Sequence[UUID]) -> list[Job]:
        """Return those of these jobs that the table has and that can be read.

        Raises:
            TableUnavailableError: the table can't be reached.
        """

        def read(store: JobReader) -> list[Job]:
            found = (_legible(store, job_id) for job_id in job_ids)
            return [job for job in found if job is not None]

        return await self.table(read)

    async def _looked(self, job_id: UUID) -> Job | None:
        """Ask Prefect, once for all who want to know the same at the same time."""
        if time.monotonic() < self._look_again_at:
            raise PrefectUnavailableError
        look = self._looks.get(job_id)
        if look is None:
            look = self._looks[job_id] = asyncio.ensure_future(_in(self._lookers, lambda: self._look(job_id)))
            look.add_done_callback(lambda done: self._forget(job_id, done))
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                return await asyncio.shield(look)
        except JobTableUnavailableError as exc:
            raise TableUnavailableError from exc
        except (NarrativeError, TimeoutError) as exc:
            if isinstance(exc, NarrativeError) and exc.kind not in {FailureKind.EXTERNAL, FailureKind.ACCESS}:
                raise
            self._look_again_at = time.monotonic() + REST_SECONDS
            raise PrefectUnavailableError from exc

    def _forget(self, job_id: UUID, done: "asyncio.Future[Job | None]") -> None:
        del self._looks[job_id]
        if not done.cancelled():
            done.exception()  # whoever asked may be gone: that nobody took it is no news


def _legible(store: JobReader, job_id: UUID) -> Job | None:
    try:
        return store.get(JobId(job_id))
    except JobTableUnavailableError:
        raise
    except Exception:  # one row that can't be read must not keep callers from the others
        logger.exception("Job %s can't be read", job_id, extra={"job_id": str(job_id)})
        return None


async def _in(pool: Executor, work: Callable[[], Answer]) -> Answer:
    return await asyncio.get_running_loop().run_in_executor(pool, work)
