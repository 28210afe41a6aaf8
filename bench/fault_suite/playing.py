"""Plays a cell and judges it: how long the table was wrong, whether it became right, and what else was promised."""

import json
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from uuid import UUID

from fault_suite.cell import Cell
from fault_suite.parts import flow_processes, runs
from fault_suite.scene import Actor, PromiseBrokenError, Scene
from fault_suite.stage import Stage
from fault_suite.tables import ImpossibleHereError
from fault_suite.truth import Glimpse, agrees, delays, wrong_spans
from fault_suite.watching import with_history
from prefect_narrative.jobs.record import JobId
from prefect_narrative.jobs.states import JobState

STEADY_SECONDS = 2.0
"""How long the table must stay right before it is believed."""
GRACE_SECONDS = 0.5
"""How late a process's end may be noticed here."""


@dataclass
class Outcome:
    """What came of one cell."""

    cell: Cell
    table: str
    wrong_seconds: float = 0.0
    """The longest time at a stretch that the table was wrong."""
    wrong_for_ever: bool = False
    moves: list[float] = field(default_factory=list)
    """How long each move took to be seen, in a healthy cell."""
    broken: list[str] = field(default_factory=list)
    """Promises that were not kept."""
    impossible: str | None = None
    """Why it could not be played here."""
    worst: str = ""
    """What the table said wrongly."""
    took_seconds: float = 0.0

    @property
    def verdict(self) -> str:
        """In a few words."""
        if self.impossible:
            return f"not played: {self.impossible}"
        said = []
        if self.wrong_for_ever:
            said.append(f"WRONG FOR EVER ({self.worst})")
        elif self.wrong_seconds > self.cell.aim_seconds:
            said.append(f"too long ({self.worst})")
        said += self.broken
        return " ".join("; ".join(said).split()) or "right"

    @property
    def good(self) -> bool:
        """Whether nothing is to be said against it."""
        return self.impossible is not None or self.verdict == "right"


def play(cell: Cell, stage: Stage) -> Outcome:
    """Play one cell on a stage."""
    outcome = Outcome(cell, stage.table.name)
    begin = time.monotonic()
    stage.make_ready()
    scene = Scene(stage)
    settled = False
    try:
        cell.play(scene)
        settled = settle(scene.actors, cell.patience_seconds)
    except ImpossibleHereError as why:
        outcome.impossible = str(why)
    except Exception as why:  # a cell that can't be played must not keep the others from being played
        outcome.broken.append(f"{type(why).__name__}: {why}")
    until = time.time()
    if outcome.impossible is None:
        judge(scene, outcome, until, settled=settled)
    outcome.took_seconds = time.monotonic() - begin
    if not outcome.good:
        for actor in scene.actors:
            stage.said(f"{cell.name}\n{story_of(actor, stage)}")
    clear(stage, scene)
    return outcome


def settle(actors: Sequence[Actor], seconds: float) -> bool:
    """Wait until all is as it must be and stays so for a while; say whether it came to that."""
    until, since = time.monotonic() + seconds, None
    while True:
        now = time.monotonic()
        if all(map(is_settled, actors)):
            since = now if since is None else since
            if now - since >= STEADY_SECONDS:
                return True
        else:
            since = None
            if now > until:
                return False
        time.sleep(0.1)


def is_settled(actor: Actor) -> bool:
    """Return whether a job's row is right, and the job is where it must come to."""
    expected, recording = actor.expected, actor.recording
    truth = recording.truth()
    if not is_right(actor):
        return False
    if expected is None:
        return True
    if not recording.rows or recording.rows[-1].state not in expected.states:
        return False
    if not recording.rows[-1].state.terminal:
        return True
    at_rest = bool(truth) and truth[-1].state is not None and truth[-1].state.terminal
    told = recording.deleted is not None or _prefect_is_at_rest(actor)
    return at_rest and told and (actor.spared or actor.pid is None)


def _prefect_is_at_rest(actor: Actor) -> bool:
    entered = actor.recording.entered()
    return bool(entered) and entered[-1][1]["type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def is_right(actor: Actor) -> bool:
    """Return whether a job's row is right now."""
    truth, rows = actor.recording.truth(), actor.recording.rows
    may_be = actor.expected is not None and actor.expected.may_be_resultless
    past = [one for one in truth if one.at <= time.time()]
    return agrees(past[-1] if past else None, rows[-1] if rows else Glimpse(0.0), resultless=may_be)


def judge(scene: Scene, outcome: Outcome, until: float, *, settled: bool) -> None:
    """Fill in the outcome from the recordings."""
    for actor in scene.actors:
        recording = actor.recording
        if recording.deleted is None:
            with_history(recording, scene.stage.prefect.states(actor.id))
        may_be = actor.expected is not None and actor.expected.may_be_resultless
        truth = recording.truth()
        spans = wrong_spans(truth, recording.rows, until, excused=scene.excused, resultless=may_be)
        for span in spans:
            if span.seconds > outcome.wrong_seconds:
                outcome.wrong_seconds, outcome.worst = span.seconds, span.what
        if not settled and not is_right(actor):
            outcome.wrong_for_ever = True
        if outcome.cell.healthy:
            outcome.moves += delays(truth, recording.rows, resultless=may_be)
        outcome.broken += broken_promises(scene.stage, actor)
    for check in scene.checks:
        try:
            check()
        except PromiseBrokenError as why:
            outcome.broken.append(str(why))


def broken_promises(stage: Stage, actor: Actor) -> list[str]:
    """Return what is not as it must be with a job, apart from how long its row was wrong."""
    row, expected = stage.row(actor.id), actor.expected
    found = _broken_chain(stage, actor)
    if expected is None:
        return found
    if row is None:
        return [*found, "no row"]
    if row.state not in expected.states:
        entered = actor.recording.entered()
        said = entered[-1][1] if entered else None
        found.append(f"{row.state}, not {' or '.join(expected.states)} (Prefect: {said and said['name']})")
    if expected.attempt is not None and row.attempt != expected.attempt:
        found.append(f"attempt {row.attempt}, not {expected.attempt}")
    kinds = [str(one.kind) for one in row.failures]
    if expected.kinds is not None and kinds != list(expected.kinds):
        found.append(f"failures {kinds}, not {list(expected.kinds)}")
    if actor.must_publish is not None:
        published = bool(publications(stage, actor.id))
        if published is not actor.must_publish:
            found.append("published" if published else "did not publish")
    if row.state.terminal and not actor.spared and (left := [pid for pid in flow_processes(actor.id) if runs(pid)]):
        found.append(f"its process lives on: {left}")
    if _was_cancelled_too_soon(actor):
        found.append("cancelled before its process was gone")
    return found


def _broken_chain(stage: Stage, actor: Actor) -> list[str]:
    events, row = stage.store.events(JobId(UUID(actor.id))), stage.row(actor.id)
    if row is None:
        return ["events without a row"] if events else []
    if [one.number for one in events] != list(range(1, len(events) + 1)):
        return [f"events numbered {[one.number for one in events]}"]
    links = [None, *(one.to_state for one in events)]
    if [one.from_state for one in events] != links[:-1] or links[-1] is not row.state:
        return [f"events {[(one.from_state, one.to_state) for one in events]} end at {row.state}"]
    return []


def _was_cancelled_too_soon(actor: Actor) -> bool:
    """Return whether the row said `cancelled` of a job that was asked to cancel and whose process still ran."""
    recording = actor.recording
    if not recording.died:
        return False
    for before, after in pairwise(recording.rows):
        if before.state is JobState.PENDING_CANCELLATION and after.state is JobState.CANCELLED:
            return not any(at - GRACE_SECONDS <= after.at for at in recording.died)
    return False


def publications(stage: Stage, job_id: str) -> list[int]:
    """Return the tokens of the attempts with which a job has made snapshots of the lake, one for each snapshot."""
    catalog = stage.settings.plane_directory("default") / "catalog.sqlite"
    if not catalog.exists():
        return []
    with closing(sqlite3.connect(f"file:{catalog}?mode=ro", uri=True, timeout=10)) as lake:
        found = lake.execute(
            "SELECT commit_extra_info FROM ducklake_snapshot_changes WHERE commit_extra_info LIKE ?", [f"%{job_id}%"]
        ).fetchall()
    return [json.loads(info)["token"] for (info,) in found]


def story_of(actor: Actor, stage: Stage) -> str:
    """Return what happened to a job, for a person: Prefect's states, the row as it was seen, and its events."""
    recording = actor.recording
    moments = [(at, f"Prefect  {state['name']}: {state.get('message') or ''}") for at, state in recording.entered()]
    moments += [(at, "process  gone") for at in recording.died]
    moments += [(recording.deleted, "Prefect  deleted")] if recording.deleted is not None else []
    moments += [(one.at, f"row      {one.state or 'none'} attempt {one.attempt}") for one in recording.rows]
    for event in stage.store.events(JobId(UUID(actor.id))):
        what = f"{event.number} {event.from_state or 'none'} -> {event.to_state} attempt {event.attempt}: {event.cause}"
        moments.append((event.at.timestamp(), f"event    {what}"))
    moments.sort(key=lambda one: one[0])
    row = stage.row(actor.id)
    failures = [f"         attempt {one.attempt} {one.kind}: {one.message}" for one in row.failures] if row else []
    begin = moments[0][0] if moments else 0.0
    told = [f"{at - begin:9.2f} {what}"[:180] for at, what in moments]
    logged = [f"         log {one}"[:180] for one in stage.prefect.warnings(actor.id)]
    return "\n".join([f"  {actor.id}", *told, *failures, *logged])


def clear(stage: Stage, scene: Scene) -> None:
    """Leave nothing of a cell that could disturb the next: no process, and no run that a worker could take."""
    for actor in scene.actors:
        stage.kill_flows(actor.id)
    if not stage.server.alive:
        stage.server.start()
    stage.server.thaw()
    stage.wait("the server answers", stage.prefect.healthy, stage.server)
    for actor in scene.actors:
        if actor.recording.deleted is not None:
            stage.deleted.add(actor.id)
        run = stage.prefect.run(actor.id)
        if run and run["state_type"] not in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}:
            with suppress(RuntimeError):
                stage.prefect.set_state(actor.id, "CANCELLED", force=True)
    stage.watcher.forget()
