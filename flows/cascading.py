"""Refreshing a view's dependants as child jobs, in order, all from one set of contents of what they are made from."""

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect_narrative.blocks import DEFAULT_PLANE
from prefect_narrative.flows.children import ask
from pydantic import BaseModel

from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.jobs.context import JobContext
from prefect_narrative.jobs.hooks import here
from prefect_narrative.jobs.prefect_runs import PrefectRuns
from prefect_narrative.jobs.reconciler import look
from prefect_narrative.jobs.record import Job
from prefect_narrative.jobs.retries import has_ended
from prefect_narrative.jobs.states import JobState
from prefect_narrative.jobs.store import JobTableUnavailableError
from prefect_narrative.views.cascade import pins, sorter
from prefect_narrative.views.lineage import Lineage

logger = logging.getLogger(__name__)

REFRESH_DEPLOYMENT = "refresh-materialized-view/narrative"
LOOK_EVERY = timedelta(seconds=1)


class CascadeFailedError(NarrativeError):
    """A dependant could not be refreshed."""

    kind: ClassVar[FailureKind] = FailureKind.DATA
    code: ClassVar[str] = "cascade_failed"
    remedy = (
        "See why with `narrative jobs show` of the failed job; then retry this one: it goes on where it stopped, from "
        "the same contents."
    )


class NoRoomForChildrenError(NarrativeError):
    """The work pool runs one job at a time, so that a cascade would wait for itself."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "no_room_for_children"
    remedy = (
        "Raise the pool's limit to 2 or more, or take it off and limit the queue `default` instead: "
        "child jobs have a queue of their own."
    )


class ChildRefresh(BaseModel):
    """What became of one dependant."""

    view: str
    job_id: UUID
    state: Literal["completed", "failed", "cancelled"]
    action: Literal["full", "incremental", "no_data"] | None
    """What its refresh did; None where it did not complete."""
    reason: str
    """Why that; where it did not complete, why not."""
    snapshot_id: int | None
    """The snapshot in which the dependant is as it is now; None where it did not complete."""


class Cascade:
    """The refresh of one view's dependants.

    It can be begun again by another attempt of its job: the child jobs are the same then, those that have failed are
    opened again, and every one reads what the first attempt said.

    Args:
        context: The job whose children they are.
        view: The view that was refreshed.
        data_plane: The plane that it lives in.
        lineage: Which views read what, as of the snapshot `base`.
        base: The snapshot at which everything is read that the cascade does not refresh itself.
        refreshed_at: The snapshot in which the view's own new rows are.
    """

    def __init__(
        self, context: JobContext, view: str, data_plane: str, lineage: Lineage, *, base: int, refreshed_at: int
    ) -> None:
        self._context = context
        self._view = view
        self._data_plane = data_plane
        self._lineage = lineage
        self._base = base
        self._refreshed = {view: refreshed_at}
        self._waiting: dict[str, UUID] = {}
        self._done: list[ChildRefresh] = []

    def run(self) -> list[ChildRefresh]:
        """Refresh all dependants, side by side where none needs the other, and return what became of each.

        Raises:
            NoRoomForChildrenError: no child could ever start while its parent runs.
            CascadeFailedError: a dependant was not refreshed; those that read it were left alone.
        """
        members = self._lineage.dependants(self._view)
        if not members:
            return []
        order = sorter(self._lineage, self._view)
        with get_client(sync_client=True) as client:
            _check_room(client)
            try:
                while order.is_active():
                    for view in order.get_ready():
                        self._waiting[view] = self._ask(client, view)
                    if not self._waiting:
                        break  # what is left depends on what has failed
                    self._tell(len(members))
                    for child in self._ended(client):
                        self._done.append(child)
                        if child.snapshot_id is not None:
                            self._refreshed[child.view] = child.snapshot_id
                            order.done(child.view)
            except BaseException:  # cancelled, too old, or shut down: whoever ends the parent means its children
                self._cancel(client)
                raise
        self._judge(members)
        return self._in_order(members)

    def _ask(self, client: SyncPrefectClient, view: str) -> UUID:
        """Ask for the refresh of a dependant, or find the one that an earlier attempt asked for."""
        parameters: dict[str, Any] = {
            "view": view,
            "source_snapshots": pins(self._lineage.sources(view), self._base, self._refreshed),
        }
        if self._data_plane != DEFAULT_PLANE:
            parameters["data_plane"] = self._data_plane
        run = ask(client, self._context.job_id, REFRESH_DEPLOYMENT, parameters, subject=view)
        if run.state is not None and run.state.is_final() and not run.state.is_completed():
            logger.info("The refresh of %s (job %s) is opened again", view, run.id)
            PrefectRuns(client).retry(run.id, run.state.id, "Its parent was tried again.")
        return run.id

    def _ended(self, client: SyncPrefectClient) -> list[ChildRefresh]:
        """Wait until at least one dependant has ended, and return those that have."""
        runs = PrefectRuns(client)
        store, _ = here()
        while True:
            found = []
            for view, job_id in list(self._waiting.items()):
                try:
                    job = look(store, runs, job_id)
                except (httpx.HTTPError, JobTableUnavailableError) as exc:
                    logger.warning("How the refresh of %s (job %s) goes can't be seen now: %s", view, job_id, exc)
                    continue
                if job is None:
                    found.append(_deleted(view, job_id))
                elif has_ended(job, datetime.now(UTC)):
                    found.append(_child(view, job))
                else:
                    continue
                del self._waiting[view]
            if found:
                return found
            time.sleep(LOOK_EVERY.total_seconds())

    def _tell(self, count: int) -> None:
        share = len(self._done) / count
        names = ", ".join(sorted(self._waiting))
        self._context.progress(f"refreshing {names} ({len(self._done)} of {count} done)", start=share, until=share)

    def _cancel(self, client: SyncPrefectClient) -> None:
        runs = PrefectRuns(client)
        for view, job_id in self._waiting.items():
            try:
                runs.cancel(job_id, "Its parent has ended.")
            except httpx.HTTPError as exc:
                logger.warning("The refresh of %s (job %s) could not be cancelled: %s", view, job_id, exc)

    def _in_order(self, members: tuple[str, ...]) -> list[ChildRefresh]:
        return sorted(self._done, key=lambda child: members.index(child.view))

    def _judge(self, members: tuple[str, ...]) -> None:
        failed = [child for child in self._done if child.state != "completed"]
        if not failed:
            return
        left = [view for view in members if view not in {child.view for child in self._done}]
        told = "; ".join(f"{child.view} {child.state} (job {child.job_id}): {child.reason}" for child in failed)
        then = f" Not refreshed, since they read these: {', '.join(left)}." if left else ""
        raise CascadeFailedError(
            f"{len(failed)} of {len(members)} dependants of {self._view} were not refreshed. {told}{then}",
            detail={
                "children": [child.model_dump(mode="json") for child in self._in_order(members)],
                "not_refreshed": left,
                "base_snapshot": self._base,
            },
        )


def _check_room(client: SyncPrefectClient) -> None:
    deployment = client.read_deployment_by_name(REFRESH_DEPLOYMENT)
    if deployment.work_pool_name is None:
        return
    pool = client.read_work_pool(deployment.work_pool_name)
    if pool.concurrency_limit is not None and pool.concurrency_limit < 2:
        raise NoRoomForChildrenError(
            f"The work pool {pool.name!r} runs at most {pool.concurrency_limit} job at a time: the refresh of a "
            "dependant could not start before this job, which waits for it, has ended."
        )


def _child(view: str, job: Job) -> ChildRefresh:
    result: Mapping[str, Any] = job.result or {}
    if job.state is JobState.COMPLETED:
        return ChildRefresh(
            view=view,
            job_id=job.job_id,
            state="completed",
            action=result["action"],
            reason=result["reason"],
            snapshot_id=result["snapshot_id"],
        )
    reason = job.failures[-1].message if job.state is JobState.FAILED and job.failures else "It was cancelled."
    state: Literal["failed", "cancelled"] = "failed" if job.state is JobState.FAILED else "cancelled"
    return ChildRefresh(view=view, job_id=job.job_id, state=state, action=None, reason=reason, snapshot_id=None)


def _deleted(view: str, job_id: UUID) -> ChildRefresh:
    return ChildRefresh(
        view=view, job_id=job_id, state="cancelled", action=None, reason="Its run was deleted.", snapshot_id=None
    )
