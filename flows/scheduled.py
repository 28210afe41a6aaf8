"""What a run knows of the schedule that made it."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from prefect.context import FlowRunContext
from prefect_narrative.flows.standing_schedules import meant_by, utc

from prefect_narrative.errors import FailureKind, NarrativeError


@dataclass(frozen=True)
class Scheduled:
    """That a schedule asked for this run."""

    view: str | None
    """The view that the schedule is called after; None where it has no name."""
    data_plane: str | None
    due: datetime | None
    """When the run was to start."""


class NoViewError(NarrativeError, LookupError):
    """Neither the run nor its schedule says which view to refresh."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "no_view"
    remedy = "Give the schedule the parameter `view`, in Prefect's UI, or delete it."


def scheduled() -> Scheduled | None:
    """Return what this run knows of its schedule; None where somebody asked for it."""
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run is None or not run.auto_scheduled:
        return None
    name = run.created_by.display_value if run.created_by and run.created_by.type == "SCHEDULE" else None
    # A schedule without a name is called after its kind.
    view, data_plane = meant_by(name) if name and name[0].islower() else (None, None)
    return Scheduled(view, data_plane, utc(run.expected_start_time) if run.expected_start_time else None)


def whose(asked: Scheduled | None) -> tuple[str, str]:
    """Return the view and the plane that a run is for whose inputs name none.

    Prefect's server forgets a schedule's parameters when it is paused or edited in the UI; its name stays.

    Raises:
        NoViewError: nobody says.
    """
    if asked is None or asked.view is None or asked.data_plane is None:
        raise NoViewError("The run names no view to refresh, and was made by no schedule that is called after one.")
    return asked.view, asked.data_plane
