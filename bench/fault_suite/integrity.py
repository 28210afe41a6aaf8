"""The whole table against all of Prefect's runs, when every cell has been played."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from fault_suite.stage import Stage
from fault_suite.truth import Truth, agrees, meant_by
from fault_suite.watching import glimpse_of
from prefect_narrative.jobs.record import Job
from prefect_narrative.jobs.states import JobState

PATIENCE_SECONDS = 15.0


@dataclass(frozen=True)
class Integrity:
    """What is wrong with the table as a whole; ids, with what is wrong."""

    lost: tuple[str, ...] = ()
    """Runs that are jobs and have no row."""
    doubled: tuple[str, ...] = ()
    """Rows that are there twice, or of which Prefect has never heard."""
    wrong: tuple[str, ...] = field(default=())
    """Rows that say something else than Prefect."""

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.lost or self.doubled or self.wrong)

    def __add__(self, other: "Integrity") -> "Integrity":
        """Return both together."""
        return Integrity(self.lost + other.lost, self.doubled + other.doubled, self.wrong + other.wrong)


def inspect(stage: Stage) -> Integrity:
    """Return what is wrong with a stage's table, once it has had a while to become right."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = _compare(stage)
        if found.sound or time.monotonic() > until:
            for problem in found.lost + found.doubled + found.wrong:
                stage.said(f"in the end: {problem}")
            return found
        time.sleep(1)


def _compare(stage: Stage) -> Integrity:
    runs = {run["id"]: run for run in stage.prefect.runs()}
    rows = _all_rows(stage)
    by_id = {str(row.job_id): row for row in rows}
    ours = set(stage.deployments.values())
    lost = [
        f"no row of {run_id}, a {run['state_name']} run"
        for run_id, run in runs.items()
        if run["deployment_id"] in ours and run_id not in by_id and not _is_ahead(run)
    ]
    doubled = [f"{row.job_id} is there twice" for row in rows if by_id[str(row.job_id)] is not row]
    doubled += [
        f"the row of {job_id}, a {row.type} that is {row.state}: there never was such a run"
        for job_id, row in by_id.items()
        if job_id not in runs and job_id not in stage.deleted
    ]
    wrong = [
        f"{job_id}, a {row.type}, is {row.state} while Prefect says {runs[job_id]['state_name']}"
        for job_id, row in by_id.items()
        if job_id in runs and not _is_right(runs[job_id], row)
    ]
    wrong += [
        f"{job_id}, whose run was deleted, is {row.state}"
        for job_id, row in by_id.items()
        if job_id not in runs and not row.state.terminal
    ]
    return Integrity(tuple(lost), tuple(doubled), tuple(wrong))


def _is_right(run: dict[str, Any], row: Job) -> bool:
    seen, truth = glimpse_of(row, 0.0), Truth(0.0, meant_by(run["state"]), run["state_name"])
    # Of a run that completed, the row either has the result or says that there is none.
    resultless = truth.state is JobState.COMPLETED and seen.resultless
    return agrees(truth, seen, resultless=resultless)


def _is_ahead(run: dict[str, Any]) -> bool:
    """Return whether it is a schedule's run that is not due yet."""
    due = run.get("expected_start_time")
    return bool(run.get("auto_scheduled")) and due is not None and datetime.fromisoformat(due) > datetime.now(UTC)


def _all_rows(stage: Stage) -> list[Job]:
    rows: list[Job] = []
    cursor = None
    while True:
        page = stage.store.page(cursor=cursor, limit=500)
        rows += page.jobs
        cursor = page.cursor
        if cursor is None:
            return rows
