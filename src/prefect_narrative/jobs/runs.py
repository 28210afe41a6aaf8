"""What the reconciler asks of Prefect, in our words: how its runs are, and to end one or try it again."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Literal, Protocol
from uuid import UUID

from prefect_narrative.jobs.record import Observation


class Runs(Protocol):
    """Prefect's flow runs that are jobs: those of deployments that are ours, by their name or their tag.

    Every method raises `httpx.HTTPError` where Prefect can't be reached or refuses.
    """

    def now(self) -> datetime:
        """Return the time by the clock of Prefect's server, whose times all its states carry."""
        ...

    def read(self, job_id: UUID) -> Observation | None:
        """Return how one run is, or None where Prefect has no such run."""
        ...

    def is_ours(self, seen: Observation) -> bool:
        """Return whether a run is a job: one of a deployment of ours."""
        ...

    def known(self, job_ids: Iterable[UUID]) -> Mapping[UUID, Observation]:
        """Return how these runs are; those that Prefect does not have are left out."""
        ...

    def due(self, at: datetime) -> Iterator[Observation]:
        """Yield the runs that are not at rest and were due at a time."""
        ...

    def asked_for(self, at: datetime) -> Iterator[Observation]:
        """Yield the runs of a later time than this that are not at rest, but for those that a schedule keeps ready.

        Somebody asked for them; or they were taken, forced or retried before their time, as it looks where the server's
        clock was set back.
        """
        ...

    def ended(self, since: datetime) -> Iterator[Observation]:
        """Yield the runs that ended since a time."""
        ...

    def history(self, job_id: UUID) -> Sequence[str]:
        """Return the types of all states that a run has been in, oldest first; empty where there is no such run."""
        ...

    def cancel(self, job_id: UUID, message: str) -> bool:
        """Ask for a run to be cancelled, by whoever has its process; say whether Prefect took that."""
        ...

    def end(self, job_id: UUID, state_id: UUID, type: Literal["CRASHED", "CANCELLED"], message: str) -> bool:
        """Move a run whose process is gone to its end, if it is still in the state of that id; say whether it was."""
        ...

    def retry(self, job_id: UUID, state_id: UUID, message: str) -> bool:
        """Ask for another attempt at a run, if a worker can take it and it is still in that state; say whether so."""
        ...
