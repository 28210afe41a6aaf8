"""Code that runs a step at a time: it stops before each call of the table, of Prefect, of the lake, and of processes.

While it stops, everything else may happen; it may be killed there, and its next call may fail.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar, cast
from uuid import UUID

from greenlet import getcurrent, greenlet

Answer = TypeVar("Answer")


class Killed(BaseException):
    """The process that ran this code is gone: nothing in it happens any more."""


class Fault(StrEnum):
    """What goes wrong with one call."""

    REFUSED = "refused"
    """It does nothing and fails."""
    ANSWER_LOST = "answer lost"
    """It does what it should, and fails all the same."""
    LATE = "late"
    """It fails, and does what it should later."""


@dataclass(frozen=True)
class Point:
    """Where an actor stands: it has done all before this call, and nothing of it."""

    who: str
    call: str
    job_id: UUID | None
    """The job that the call is about; None where it is about all of them."""


class Actor(greenlet):  # type: ignore[misc]
    """Somebody whose code runs a step at a time.

    Args:
        who: What it is, such as `sweep`.
        work: What it does, from its first step to its last.
    """

    def __init__(self, who: str, work: Callable[[], object]) -> None:
        super().__init__(self._guarded)
        self.who = who
        self.at: Point | None = None
        self.fault: Fault | None = None
        self.done: dict[UUID, str] = {}
        """The last thing that it did about each job; what it has only read is none."""
        self._until: Callable[[], bool] | None = None
        self._work = work

    def start(self) -> "Actor":
        """Go to the first step, and return this actor."""
        self.parent = getcurrent()
        self.switch()
        return self

    def _guarded(self) -> None:
        with contextlib.suppress(Killed):
            self._work()
        self.at = self._until = None

    @property
    def is_done(self) -> bool:
        """Whether it has come to its end, or was killed."""
        return bool(self.dead)

    @property
    def can_go_on(self) -> bool:
        """Whether a step would lead anywhere: it has not ended, and what it waits for is there."""
        return not self.is_done and (self._until is None or self._until())

    def step(self) -> None:
        """Make the call before which it stands, and go on to the next."""
        self.parent = getcurrent()
        self.switch()

    def go_on(self, steps: int = 1_000) -> None:
        """Take some steps: all there are, but for an actor that goes in circles."""
        while steps > 0 and self.can_go_on:
            self.step()
            steps -= 1

    def kill(self) -> None:
        """Let nothing of it happen any more."""
        if not self.is_done:
            self.interrupt(Killed)
        assert self.is_done

    def interrupt(self, error: type[BaseException]) -> None:
        """Raise an error where it stands."""
        self.parent = getcurrent()
        self._until = None
        self.throw(error)

    def stand(self, point: Point) -> Fault | None:
        """Wait before a call until the next step; return what is to go wrong with it."""
        self.at = point
        self.parent.switch()
        fault, self.fault = self.fault, None
        return fault

    def wait(self, point: Point, until: Callable[[], bool]) -> None:
        """Stand still until something is so."""
        while not until():
            self._until = until
            self.stand(point)
        self._until = None


def current() -> Actor | None:
    """Return the actor whose code is running; None outside of all."""
    found = getcurrent()
    return found if isinstance(found, Actor) else None


class Gate:
    """A way to a system that may be down: each call through it is a step of the actor that makes it.

    Args:
        error: Makes the error by which the system is known to be down.
        postpone: Takes what a late call does, to do it later.
    """

    def __init__(self, error: Callable[[], Exception], postpone: Callable[[str, Callable[[], object]], None]) -> None:
        self.is_up = True
        self._error = error
        self._postpone = postpone

    def call(
        self,
        name: str,
        job_id: UUID | None,
        action: Callable[[], Answer],
        *,
        late: Callable[[], object] | None = None,
        is_deed: bool = False,
    ) -> Answer:
        """Return what `action` returns, as a step of its own.

        Args:
            name: What is called.
            job_id: The job that it is about.
            action: Does it.
            late: Does it where it happens later than asked for; None: it can't.
            is_deed: Whether it changes something: then there is a step between that and the answer.
        """
        actor = current()
        fault = None if actor is None else actor.stand(Point(actor.who, name, job_id))
        if fault is Fault.LATE and late is not None:
            self._postpone(name, late)
            raise self._error()
        if not self.is_up or fault in {Fault.REFUSED, Fault.LATE}:
            raise self._error()
        answer = action()
        if actor is not None and is_deed and job_id is not None:
            actor.done[job_id] = name
            actor.stand(Point(actor.who, f"{name}, done", job_id))
        if fault is Fault.ANSWER_LOST:
            raise self._error()
        return answer


def job_of(arguments: tuple[Any, ...]) -> UUID | None:
    """Return the job that a call with these arguments is about."""
    if not arguments:
        return None
    first = arguments[0]
    return cast("UUID | None", first if isinstance(first, UUID) else getattr(first, "job_id", None))
