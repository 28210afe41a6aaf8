"""What the table ought to say at each moment, and for how long it said otherwise: arithmetic over two recordings."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from prefect_narrative.jobs.states import JobState, state_of


@dataclass(frozen=True)
class Truth:
    """From a moment on, what the row must show."""

    at: float
    """Seconds since the epoch."""
    state: JobState | None
    """None: there is nothing yet that the table would have to show."""
    why: str
    """Prefect's state, or what happened to the process."""
    told: bool = True
    """Whether Prefect says so; else it is what the process's end means, of which Prefect had not been told."""


@dataclass(frozen=True)
class Glimpse:
    """From a moment on, what a reader saw."""

    at: float
    state: JobState | None = None
    """None: no row, or the table could not be read."""
    whole: bool = True
    """Whether the record agrees with itself: an end and a result exactly where the state says so."""
    legible: bool = True
    """Whether the table could be read."""
    resultless: bool = False
    """Whether it is a run that completed without a result."""
    state_id: str | None = None
    attempt: int = 0


@dataclass(frozen=True)
class Span:
    """A time during which the table was wrong."""

    begin: float
    end: float
    what: str

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end - self.begin


def meant_by(state: Mapping[str, Any]) -> JobState:
    """Return our state for a state as Prefect's API gives it."""
    suspended = bool((state.get("state_details") or {}).get("pause_reschedule"))
    return state_of(state["type"], suspended=suspended)


def seconds_of(moment: str) -> float:
    """Return a time of Prefect's API in seconds since the epoch."""
    return datetime.fromisoformat(moment).timestamp()


def truths(
    states: Sequence[tuple[float, Mapping[str, Any]]],
    *,
    due: float | None = None,
    deleted: float | None = None,
    died: Sequence[float] = (),
) -> list[Truth]:
    """Return what the table ought to have said, oldest first.

    Args:
        states: Prefect's states and when the run entered each, oldest first.
        due: When a schedule's run is due: before, it need not be there. None: somebody asked for it.
        deleted: When the run was deleted, if it was.
        died: When each process of the job ended.
    """
    found = []
    for at, state in states:
        early = due is not None and state["type"] == "SCHEDULED" and at < due
        found.append(Truth(at, None if early else meant_by(state), f"{state['type']} {state['name']}"))
        if early and due is not None:
            found.append(Truth(due, JobState.PENDING, "due"))
    found.sort(key=lambda one: one.at)
    found.extend(_deaths(found, died))
    found.sort(key=lambda one: one.at)
    if deleted is not None:
        found = [one for one in found if one.at <= deleted]
        # A process's end of which Prefect had not been told by then does not count: nobody can tell it any more.
        told = [one for one in found if one.told]
        if told and told[-1].state is not None and not told[-1].state.terminal:
            found.append(Truth(deleted, JobState.CANCELLED, "deleted"))
    return found


def _deaths(states: Sequence[Truth], died: Iterable[float]) -> list[Truth]:
    """Return the ends of processes that Prefect had not been told of when they happened."""
    found = []
    for at in died:
        before = [one for one in states if one.at <= at]
        if not before:
            continue
        match before[-1].state:
            case JobState.RUNNING:
                found.append(Truth(at, JobState.FAILED, "its process died", told=False))
            case JobState.PENDING_CANCELLATION:
                found.append(Truth(at, JobState.CANCELLED, "its process ended", told=False))
            case _:
                pass
    return found


def agrees(truth: Truth | None, seen: Glimpse, *, resultless: bool = False) -> bool:
    """Return whether a row is what it must be.

    Args:
        truth: What it must be; None: nothing is asked of it.
        seen: What it is.
        resultless: Whether a run may complete without a result, so that it counts as failed.
    """
    if not seen.whole:
        return False
    if truth is None or truth.state is None:
        return True
    if resultless and truth.state is JobState.COMPLETED and seen.state is JobState.FAILED:
        return seen.resultless
    return seen.state is truth.state


def wrong_spans(
    truth: Sequence[Truth],
    seen: Sequence[Glimpse],
    until: float,
    *,
    excused: Sequence[tuple[float, float]] = (),
    resultless: bool = False,
) -> list[Span]:
    """Return the times at which the table said what was not so, oldest first.

    Args:
        truth: What it ought to have said.
        seen: What it said.
        until: The end of the recording.
        excused: Times in which nobody could write the table.
        resultless: As for `agrees`.
    """
    edges = {one.at for one in (*truth, *seen)} | {edge for pair in excused for edge in pair} | {until}
    spans: list[Span] = []
    for begin, end in pairwise(sorted(edge for edge in edges if edge <= until)):
        ought, is_ = _last(truth, begin), _last(seen, begin)
        if ought is None or is_ is None or not is_.legible:
            continue
        if any(start <= begin < stop for start, stop in excused) or agrees(ought, is_, resultless=resultless):
            continue
        if spans and spans[-1].end == begin:
            spans[-1] = Span(spans[-1].begin, end, spans[-1].what)
        else:
            spans.append(Span(begin, end, f"{is_.state or 'no row'} while {ought.why}"))
    return spans


def delays(truth: Sequence[Truth], seen: Sequence[Glimpse], *, resultless: bool = False) -> list[float]:
    """Return for each of Prefect's moves how long the table took to show it, or a later one: seconds.

    A move that it never showed is left out; `wrong_spans` tells of it.
    """
    found = []
    moves = [one for one in truth if one.told]
    for number, one in enumerate(moves):
        before = moves[number - 1].state if number else None
        if one.state is None or one.state is before:
            continue
        later = moves[number:]
        for glimpse, following in zip(seen, [*seen[1:], None], strict=True):
            if following is not None and following.at <= one.at:
                continue
            at = max(glimpse.at, one.at)
            if any(two.at <= at and agrees(two, glimpse, resultless=resultless) for two in later):
                found.append(at - one.at)
                break
    return found


def _last(entries: Sequence[Any], at: float) -> Any:
    found = None
    for one in entries:
        if one.at > at:
            break
        found = one
    return found
