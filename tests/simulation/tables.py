"""The job table as reconcilers and as flows' processes reach it, and the lake beside it."""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from uuid import UUID

from typing_extensions import override

from prefect_narrative.errors import SupersededError
from prefect_narrative.jobs.outbox import Outbox
from prefect_narrative.jobs.store import JobStore, JobTableUnavailableError
from prefect_narrative.planes.errors import FencedError
from tests.simulation.actors import Gate, Point, current, job_of

WRITES = frozenset(
    {
        "apply",
        "begin_attempt",
        "stage_result",
        "add_failure",
        "describe",
        "add_usage",
        "set_progress",
        "beat",
        "raise_fence",
    }
)
LATE = frozenset({"apply", "begin_attempt", "stage_result", "add_failure", "describe", "add_usage"})
"""What a flow's process gives up waiting for and what may still take effect: as `ImpatientJobStore` has it."""


def table_is_down() -> JobTableUnavailableError:
    """Return the error of a job table that can't be reached."""
    return JobTableUnavailableError("the job table is down")


class Remembering:
    """Answers what was asked before and nobody has written since: most of what sweeps of a quiet world ask for.

    Args:
        table: The job table, which nobody writes to in another way.
    """

    def __init__(self, table: JobStore) -> None:
        self.table = table
        self._answers: dict[tuple[Any, ...], Any] = {}

    def call(self, name: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Return what the table answers."""
        if name in WRITES:
            self._answers.clear()
            return getattr(self.table, name)(*arguments, **named)
        key = (name, *arguments, *sorted(named.items()))
        if key not in self._answers:
            self._answers[key] = getattr(self.table, name)(*arguments, **named)
        return self._answers[key]


class _Forwarding:
    """Makes each call of a job table through a gate."""

    def __init__(self, table: Remembering, gate: Gate, wrote: Callable[[UUID, str, tuple[Any, ...]], None]) -> None:
        self._table = table
        self._gate = gate
        self._wrote = wrote

    def close(self) -> None:
        """Do nothing: the table is the world's."""

    def _forward(self, name: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        job_id = job_of(arguments)
        return self._gate.call(
            f"table.{name}",
            job_id,
            partial(self._perform, name, job_id, arguments, named),
            late=self._later(name, job_id, arguments, named),
            is_deed=name in WRITES,
        )

    def _perform(self, name: str, job_id: UUID | None, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        answer = self._table.call(name, arguments, named)
        if name in WRITES and job_id is not None:
            self._wrote(job_id, name, arguments)
        return answer

    def _later(
        self, name: str, job_id: UUID | None, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> Callable[[], object] | None:
        return None


class _Impatient(_Forwarding):
    """What a flow's process does with the job table, which it does not wait for."""

    def _perform(self, name: str, job_id: UUID | None, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if name != "begin_attempt":
            return super()._perform(name, job_id, arguments, named)
        token = named["token"]
        while True:
            try:
                return super()._perform(name, job_id, arguments, {**named, "token": token, "as_given": True})
            except SupersededError as error:
                token = error.detail["newest_token"] + 1

    def _later(
        self, name: str, job_id: UUID | None, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> Callable[[], object] | None:
        if name not in LATE:
            return None
        given = {**named, "as_given": True} if name == "begin_attempt" else named

        def late() -> None:
            try:  # noqa: SIM105
                _Forwarding._perform(self, name, job_id, arguments, given)
            except (SupersededError, KeyError):
                pass  # a thread that nobody waits for any more

        return late


def _forwarded(name: str) -> Callable[..., Any]:
    def method(self: _Forwarding, *arguments: Any, **named: Any) -> Any:
        return self._forward(name, arguments, named)

    return method


_METHODS = {name: _forwarded(name) for name in JobStore.__abstractmethods__ if name != "close"}
Table: Callable[[Remembering, Gate, Callable[[UUID, str, tuple[Any, ...]], None]], JobStore] = type(
    "Table", (_Forwarding, JobStore), dict(_METHODS)
)
"""The job table as a reconciler or a reader reaches it."""
ProcessTable: Callable[[Remembering, Gate, Callable[[UUID, str, tuple[Any, ...]], None]], JobStore] = type(
    "ProcessTable", (_Impatient, JobStore), dict(_METHODS)
)
"""The job table as a flow's process reaches it."""


class SteppedOutbox(Outbox):
    """An outbox in which to put a letter is a step."""

    @override
    def _put(self, letter: Any) -> None:
        actor = current()
        if actor is None:
            super()._put(letter)
            return
        actor.stand(Point(actor.who, "outbox.put", letter.job_id))
        super()._put(letter)
        actor.done[letter.job_id] = "outbox.put"
        actor.stand(Point(actor.who, "outbox.put, done", letter.job_id))


class Lake:
    """What jobs have published, and the highest token that was seen of each.

    Args:
        published: Told of each publication: the job and the token.
        marked: Told of what else happens.
    """

    def __init__(self, published: Callable[[UUID, int], None], marked: Callable[[str], None]) -> None:
        self.tokens: dict[UUID, int] = {}
        self.results: dict[UUID, dict[str, Any]] = {}
        self.fenced: Counter[UUID] = Counter()
        """How often attempts at each job were fenced out."""
        self._published = published
        self._marked = marked

    def claim(self, job_id: UUID, token: int) -> dict[str, Any] | None:
        """Return what the job has published, or make this its token."""
        if job_id in self.results:
            self._marked("found that it was published before")
            return self.results[job_id]
        seen = self.tokens.get(job_id, -1)
        if seen > token:
            self._marked("fenced out of the lake")
            raise FencedError(f"token {token} of job {job_id} is fenced: {seen} was seen")
        self.tokens[job_id] = token
        return None

    def publish(self, job_id: UUID, token: int, result: Mapping[str, Any]) -> dict[str, Any]:
        """Publish, unless that was done before or a higher token was seen."""
        found = self.claim(job_id, token)
        if found is not None:
            return found
        self._published(job_id, token)
        self.results[job_id] = dict(result)
        return self.results[job_id]

    def fence(self, job_id: UUID, token: int) -> None:
        """Keep lower tokens out."""
        self.fenced[job_id] += 1
        if job_id not in self.results:
            self.tokens[job_id] = max(token, self.tokens.get(job_id, -1))


class LakeFromHere:
    """The lake as a reconciler or a job reaches it: each call is a step."""

    def __init__(self, lake: Lake, gate: Gate) -> None:
        self._lake = lake
        self._gate = gate

    def fence(self, plane: str | None, job_id: UUID, token: int) -> None:
        """Keep lower tokens out of the plane; out of all, and so of this one, where it is not known."""
        self._gate.call("lake.fence", job_id, lambda: self._lake.fence(job_id, token), is_deed=True)

    def published(self, plane: str | None, job_id: UUID) -> dict[str, Any] | None:
        """Return what the job has published there."""
        if plane is None:
            return None
        return self._gate.call("lake.published", job_id, lambda: self._lake.results.get(job_id))

    def claim(self, job_id: UUID, token: int) -> dict[str, Any] | None:
        """Take over from earlier attempts; return what one of them has published."""
        return self._gate.call("lake.claim", job_id, lambda: self._lake.claim(job_id, token), is_deed=True)

    def publish(self, job_id: UUID, token: int, result: Mapping[str, Any]) -> dict[str, Any]:
        """Make the work visible, together with its result."""
        return self._gate.call("lake.publish", job_id, lambda: self._lake.publish(job_id, token, result), is_deed=True)
