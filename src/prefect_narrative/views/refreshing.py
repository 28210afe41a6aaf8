"""Bringing a view up to date: what has to be done, and doing it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, TypeVar
from uuid import UUID

from prefect_narrative.planes.errors import WriteConflictError
from prefect_narrative.planes.plane import CheckedQuery, Ingestion, Plane, SourceVersion, Stage, StateWrite, Write
from prefect_narrative.views.appending import stage_increment
from prefect_narrative.views.definition import ViewDefinition
from prefect_narrative.views.expiring import Due, expire, rows_due
from prefect_narrative.views.expiry import EXPIRE_EVERYTHING
from prefect_narrative.views.filling import fill_view
from prefect_narrative.views.outcome import Outcome
from prefect_narrative.views.reasons import NotIncrementalError
from prefect_narrative.views.sensitivity import Sensitivity
from prefect_narrative.views.updating import Mode, Update, choose, stage_update

T = TypeVar("T")

PLANS = 6
"""So often a refresh is planned where others keep overtaking it."""

Action = Literal["full", "incremental", "no_data"]
"""full: the rows were made anew. incremental: rows were added, replaced or taken away. no_data: nothing was done."""


@dataclass(frozen=True)
class RefreshPlan:
    """What a refresh is going to do, and why."""

    view: str
    action: Action
    reason: str
    definition: ViewDefinition
    """What the view is; its `sources` are those of the rows that are there now."""
    query: CheckedQuery
    at: int
    """The newest snapshot when the plan was made."""
    versions: tuple[SourceVersion, ...]
    """The contents of the sources that are read: those at that snapshot, where nothing else was asked for."""
    table_id: int
    """The lake's table that the new rows replace."""
    old_rows: int
    refreshed_at: datetime
    """When the plan was made."""
    pins: Mapping[str, int] = field(default_factory=dict)
    """Sources that are read at snapshots of their own."""
    expired: Due | None = None
    """Rows whose time is over."""
    runs_query: bool = True
    """Whether the query runs; where it does not, an incremental refresh is nothing but rows that expire."""
    update: Update | None = None
    """How rows that a refresh replaces are brought up to date; None where there was no choice."""


def plan_refresh(
    plane: Plane,
    view: str,
    *,
    mode: Mode = "auto",
    instead: str | None = None,
    due: datetime | None = None,
    now: datetime | None = None,
    pins: Mapping[str, int] | None = None,
) -> RefreshPlan:
    """Decide what bringing a view up to date takes, without running its query.

    Args:
        plane: Where the view lives.
        view: Its name.
        mode: `full` makes the rows anew even where nothing has changed, `incremental` refuses to, `auto` takes what is
            expected to be quicker.
        instead: Why the rows are made anew though that was not asked for, in a sentence.
        due: When the view was to be refreshed, where a schedule asks for it: a view that was refreshed since is left
            alone, so that after a down time it is refreshed once and not once for each time that was missed.
        now: The time; None: the clock's.
        pins: Sources that are to be read at snapshots of their own. A view that was made from newer contents of one of
            them is left alone.

    Raises:
        DatasetNotFoundError: there is no such view, or a source is gone.
        NotAViewError: it is a dataset, but not a view.
        QueryRefusedError: the query is not allowed any more.
        NotIncrementalError: `incremental` was asked for, and can't be.
    """
    now = now or datetime.now(UTC)  # before the snapshot is chosen: what is written in between is not in it
    with plane.steady():
        return _planned(plane, view, mode, instead, due, now, dict(pins or {}))


def _planned(
    plane: Plane,
    view: str,
    mode: Mode,
    instead: str | None,
    due: datetime | None,
    now: datetime,
    pins: dict[str, int],
) -> RefreshPlan:
    at = plane.snapshot()
    dataset = plane.dataset(view, at)
    definition = ViewDefinition.of(dataset)
    query = plane.check(definition.query, at, deltas=definition.write_mode == "append")
    versions = tuple(version for source in query.sources for version in plane.versions([source], pins.get(source, at)))
    seen = {source.name: source.as_source() for source in definition.sources}
    newer = [version.name for version in versions if _is_newer(plane, seen.get(version.name), version)]
    action: Action
    expired = None
    runs_query = True
    update = None
    if newer:
        action, reason = (
            "no_data",
            (f"The view was made from newer contents than were asked for, of {', '.join(newer)}: it is left as it is."),
        )
    elif mode == "full":
        action, reason = "full", instead or "A full refresh was asked for."
    elif due is not None and definition.refreshed_at is not None and definition.refreshed_at >= due:
        action, reason = (
            "no_data",
            (
                f"This refresh was due at {due.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC, and the view has been refreshed "
                f"since, at {definition.refreshed_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC."
            ),
        )
    else:
        expired = rows_due(plane, dataset, definition, now)
        change = None if definition.expire == EXPIRE_EVERYTHING else _change(plane, definition, query, versions)
        runs_query = change is not None
        action, reason = _decide(definition, change, expired)
        if change is not None and definition.write_mode == "overwrite":
            update = choose(plane, dataset, definition, query, versions, change, mode)
            action, reason = update.action, update.reason
    inherited = Sensitivity(plane, at).inherited(query, dataset.columns)
    if action != "full":  # rows that are there already stay what they were made from
        inherited = tuple(dict.fromkeys((*definition.inherited, *inherited)))
    definition = definition.model_copy(update={"refreshed_at": now, "emptied_at": None, "inherited": inherited})
    return RefreshPlan(
        view=view,
        action=action,
        reason=reason,
        definition=definition,
        query=query,
        at=at,
        versions=versions,
        table_id=dataset.table_id,
        old_rows=dataset.rows,
        refreshed_at=now,
        pins=pins,
        expired=expired,
        runs_query=runs_query,
        update=update,
    )


def carried_out(plan: Callable[[Mode, str | None], RefreshPlan], do: Callable[[RefreshPlan], T], mode: Mode) -> T:
    """Return what carrying out a plan yields; it is planned again where another writer was quicker.

    Args:
        plan: Makes a plan for a mode, and for a reason why that was not asked for, see `plan_refresh`.
        do: Carries it out.
        mode: What was asked for.

    Raises:
        WriteConflictError: others have been quicker again and again.
        NotIncrementalError: `incremental` was asked for, and can't be.
    """
    instead = None
    for left in reversed(range(PLANS)):
        made = plan(mode, instead)
        try:
            return do(made)
        except NotIncrementalError as error:
            if mode != "auto":
                raise
            mode, instead = "full", f"It could not be brought up to date: {error}"
        except WriteConflictError:
            if not left:
                raise
    raise AssertionError  # the last plan returns or raises


def _decide(definition: ViewDefinition, change: str | None, expired: Due | None) -> tuple[Action, str]:
    """Return what is to be done where nobody has asked for anything in particular.

    Args:
        definition: What the view is.
        change: Why its query is to run, in a sentence; None: it is not.
        expired: Rows whose time is over.
    """
    if change is not None:
        return ("full" if definition.write_mode == "overwrite" else "incremental"), change
    if expired is not None:
        return "incremental", expired.reason
    if definition.expire == EXPIRE_EVERYTHING:
        return "no_data", f"{EXPIRE_EVERYTHING}: the view is kept empty."
    if definition.emptied_at is not None:
        return "no_data", "The sources are unchanged since the last refresh, and its rows have expired."
    return "no_data", "The sources are unchanged since the last refresh."


def _change(
    plane: Plane, definition: ViewDefinition, query: CheckedQuery, versions: tuple[SourceVersion, ...]
) -> str | None:
    """Return why the query may yield other rows than at the last refresh, in a sentence; None: it does not."""
    if query.volatile:
        return f"The query depends on the time ({', '.join(query.volatile)})."
    seen = {source.name: source.as_source() for source in definition.sources}
    if set(seen) != set(query.sources):
        return "The query reads other datasets than at the last refresh."
    changed = [
        version.name
        for version in versions
        if plane.changed(seen[version.name], max(version.snapshot_id, seen[version.name].snapshot_id))
    ]
    return f"Changed since the last refresh: {', '.join(sorted(changed))}." if changed else None


def _is_newer(plane: Plane, seen: SourceVersion | None, wanted: SourceVersion) -> bool:
    """Return whether a source's contents that were seen may be newer ones than those that are wanted."""
    if seen is None or seen.snapshot_id <= wanted.snapshot_id:
        return False
    return seen.table_id != wanted.table_id or plane.changed(wanted, seen.snapshot_id)


def stage_refresh(plane: Plane, job_id: UUID, token: int, plan: RefreshPlan) -> Outcome:
    """Do what a plan says, up to its publication: outside any lock, and nobody sees it yet.

    Raises:
        ViewColumnsError: the query does not yield the columns of a view that keeps its rows.
        DeltaLostError: it can't be told what has changed in a source that DELTA names.
        DuplicateKeyError: the view is merged by key, and the query yields a key twice.
        NotIncrementalError: it turns out that the view can't be brought up to date by what has changed.
        WriteConflictError: files were compacted while their changes were being read.
    """
    if plan.action == "incremental" and plan.update is not None:
        return stage_update(plane, job_id, token, plan.definition, plan.update, plan.versions, plan.at)
    if plan.action == "incremental" and not plan.runs_query and plan.expired is not None:
        return expire(plane, job_id, token, plan.expired, plan.refreshed_at)
    if plan.action == "incremental":
        return stage_increment(
            plane,
            job_id,
            token,
            plan.view,
            plan.definition,
            plan.query,
            at=plan.at,
            table_id=plan.table_id,
            old_rows=plan.old_rows,
            versions=plan.versions,
            now=plan.refreshed_at,
            expired=plan.expired,
            pins=plan.pins,
        )
    filled = fill_view(plane, job_id, token, plan.view, plan.query, plan.at, plan.definition, plan.pins)
    stage = filled.stage
    write = view_write(
        plan.view,
        filled.definition,
        plan.versions,
        stage,
        replaces=plan.table_id,
        since=plan.at,
        state=filled.state,
    )
    return Outcome(
        write,
        inserted_rows=stage.rows,
        deleted_rows=plan.old_rows,
        rows=stage.rows,
        seconds=filled.seconds,
        told=filled.told,
    )


def view_write(
    view: str,
    definition: ViewDefinition,
    versions: tuple[SourceVersion, ...],
    stage: Stage,
    *,
    replaces: int | None = None,
    since: int | None = None,
    state: StateWrite | None = None,
) -> Write:
    """Return what publishes a view's rows and its definition together.

    Args:
        view: The view's name.
        definition: What it is.
        versions: The contents of its sources that the rows were made from.
        stage: The rows.
        replaces: The table that they replace; None where the view is new.
        since: The snapshot in which the view was read; None where it is new.
        state: What is kept of its groups.
    """
    return Write(
        dataset=view,
        mode="create" if replaces is None else "replace",
        stage=stage,
        kind="view",
        properties=definition.read_from(versions).as_properties(),
        replaces=replaces,
        since=since,
        state=state,
        ingestion=Ingestion(definition.refreshed_at) if definition.keeps_ages and definition.refreshed_at else None,
    )
