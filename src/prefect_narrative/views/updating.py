"""Refreshing a view whose rows are replaced at each refresh: anew, or by what has changed, whichever is quicker."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from prefect_narrative.planes.errors import QueryFailedError
from prefect_narrative.planes.plane import CheckedQuery, Dataset, Plane, SourceVersion, Write
from prefect_narrative.planes.syntax import Parser
from prefect_narrative.views.choosing import Estimate, estimate
from prefect_narrative.views.definition import PastRefresh, ViewDefinition
from prefect_narrative.views.incremental import Workshop, stage_changes
from prefect_narrative.views.maintaining import Maintenance, maintenance, mark
from prefect_narrative.views.outcome import Outcome
from prefect_narrative.views.reasons import NotIncrementalError

Mode = Literal["auto", "full", "incremental"]


@dataclass(frozen=True)
class Update:
    """How a view is to be refreshed."""

    action: Literal["full", "incremental"]
    reason: str
    """Why, in a sentence."""
    found: Maintenance | None = None
    """What an incremental refresh takes; None where there can be none."""
    estimate: Estimate | None = None
    """What both ways are expected to take; None where there is no choice."""


def choose(
    plane: Plane,
    dataset: Dataset,
    definition: ViewDefinition,
    query: CheckedQuery,
    versions: Sequence[SourceVersion],
    change: str,
    mode: Mode,
) -> Update:
    """Return how a view is to be refreshed whose sources have changed.

    Args:
        plane: Where the view lives.
        dataset: The view, as it was read.
        definition: Its definition, with what its rows were made from.
        query: Its query.
        versions: The contents of its sources to which it is to be brought.
        change: Why it is refreshed, in a sentence.
        mode: What was asked for: `auto` or `incremental`.

    Raises:
        NotIncrementalError: `incremental` was asked for, and can't be.
    """
    because = change.removesuffix(".")
    try:
        found = maintenance(plane, dataset, definition, query, versions)
    except NotIncrementalError as error:
        if mode == "incremental":
            raise
        return Update("full", f"{because}; in full, since: {error}")
    expected = estimate(found, definition.past)
    if mode == "incremental":
        return Update("incremental", f"{because}; an incremental refresh was asked for.", found, expected)
    return Update(expected.better, f"{because}; {expected.told}.", found, expected)


def stage_update(
    plane: Plane,
    job_id: UUID,
    token: int,
    definition: ViewDefinition,
    update: Update,
    versions: Sequence[SourceVersion],
    at: int,
) -> Outcome:
    """Return the rows to add and delete, staged, with what publishes them.

    Args:
        plane: Where the view lives.
        job_id: For whom.
        token: The attempt's fencing token.
        definition: What the view is.
        update: An incremental one.
        versions: The contents of its sources to which it is brought.
        at: The snapshot in which the view was read.

    Raises:
        NotIncrementalError: it turns out that it can't be.
        WriteConflictError: files were compacted while their changes were being read.
    """
    found, expected = update.found, update.estimate
    if found is None or expected is None:
        raise ValueError("the update is not an incremental one")
    began = time.monotonic()
    parser = Parser()
    try:
        workshop = Workshop(plane, job_id, token, found.dataset.name, at, parser)
        changes = stage_changes(workshop, found.shape, found.changes, found.dataset, definition.partitioned_by)
    except QueryFailedError as error:  # also where an old row, or a combination of old and new ones, can't be computed
        raise NotIncrementalError(f"What has changed could not be computed: {error}") from error
    finally:
        parser.close()
    rows = found.dataset.rows + changes.inserted_rows - changes.deleted_rows
    past = PastRefresh(
        action="incremental", seconds=time.monotonic() - began, usual_seconds=expected.incremental_usual,
        changed_rows=expected.changed_rows, source_rows=expected.source_rows, rows=rows,
    )  # fmt: skip
    after = definition.model_copy(update={"engine": mark(plane, job_id)}).remembering(past)
    write = Write(
        dataset=found.dataset.name,
        mode="change",
        stage=changes.added,
        kind="view",
        properties=after.read_from(tuple(versions)).as_properties(),
        replaces=found.dataset.table_id,
        deletes=changes.deleted,
        since=at,
        state=changes.state,
    )
    return Outcome(write, changes.inserted_rows, changes.deleted_rows, rows, seconds=past.seconds)
