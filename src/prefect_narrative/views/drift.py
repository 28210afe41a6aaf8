"""Where a view's definition and the schedule that stands in Prefect have drifted apart, and what to do about it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

from prefect_narrative.views.schedule import RefreshSchedule


class DriftKind(StrEnum):
    """How they differ."""

    MISSING = "missing"
    """The definition has a schedule, Prefect has none: somebody deleted it, or a job died before it had made it."""
    EDITED = "edited"
    """Somebody has changed it in Prefect, which goes before the definition."""
    PAUSED = "paused"
    """Somebody has paused it: the view is not refreshed by itself."""
    ADDED = "added"
    """Prefect has a schedule that the definition does not know; it refreshes the view all the same."""
    ORPHAN = "orphan"
    """Prefect has a schedule of a view that does not exist: each of its runs fails."""


@dataclass(frozen=True)
class StandingSchedule:
    """A schedule as it stands in Prefect."""

    schedule_id: UUID
    slug: str | None
    """Its name: the view's, followed by @ and the plane's where that is not the default one."""
    view: str | None
    """What its runs refresh; None where nothing says so."""
    data_plane: str
    cron: str | None
    """None where it is an interval or a calendar rule."""
    timezone: str
    told: str
    """What it says, for people."""
    active: bool
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Inputs of its runs."""

    @property
    def cron_schedule(self) -> RefreshSchedule | None:
        """What it says as a definition says it; None where that can't."""
        return None if self.cron is None else RefreshSchedule(self.cron, self.timezone)


@dataclass(frozen=True)
class Drift:
    """One difference."""

    kind: DriftKind
    view: str
    message: str
    """What was seen, in a sentence."""
    remedy: str


def of_view(
    view: str, slug: str, wanted: RefreshSchedule | None, standing: Sequence[StandingSchedule]
) -> tuple[Drift, ...]:
    """Return how a view's definition and Prefect differ.

    Args:
        view: The view's name.
        slug: What its schedule is called.
        wanted: What its definition says; None: no schedule.
        standing: All schedules that Prefect has for views of its plane.
    """
    own = [one for one in standing if one.slug == slug]
    others = [one for one in standing if one.slug != slug and one.view == view]
    if wanted is None:
        return tuple(_added(view, one) for one in (*own, *others))
    found = []
    if not own:
        told = f"The definition says {wanted}, and Prefect has no schedule called {slug!r}."
        found.append(Drift(DriftKind.MISSING, view, told, f"`narrative views resume {view}` makes it again."))
    for one in own:
        if one.cron_schedule != wanted:
            told = f"The definition says {wanted}, Prefect's schedule says {one.told}: that is what happens."
            found.append(Drift(DriftKind.EDITED, view, told, _reset(view)))
        if one.view != view:
            found.append(Drift(DriftKind.EDITED, view, f"Its schedule refreshes {one.view!r} instead.", _reset(view)))
        if not one.active:
            told = f"The schedule {one.told} is paused."
            found.append(Drift(DriftKind.PAUSED, view, told, f"`narrative views resume {view}` lets it go on."))
    return (*found, *(_added(view, one) for one in others))


def orphans(views: Collection[str], standing: Sequence[StandingSchedule]) -> tuple[Drift, ...]:
    """Return the schedules of views that do not exist.

    Args:
        views: The names of all views of a plane.
        standing: All schedules that Prefect has for views of that plane.
    """
    return tuple(
        Drift(
            DriftKind.ORPHAN,
            one.view,
            f"Prefect has the schedule {one.told} of {one.view!r}, which is no view.",
            f"`narrative views drop {one.view}` removes it.",
        )
        for one in standing
        if one.view is not None and one.view not in views
    )


def _added(view: str, one: StandingSchedule) -> Drift:
    name = f"called {one.slug!r}" if one.slug else "without a name"
    told = f"Prefect's schedule {name}, {one.told}, refreshes the view, and its definition does not know of it."
    remedy = "Keep it, or delete it in Prefect's UI; the view's own is set with refresh_schedule and if_exists=replace."
    return Drift(DriftKind.ADDED, view, told if one.active else f"{told} It is paused.", remedy)


def _reset(view: str) -> str:
    return f"Keep it, or `narrative views resume {view} --as-defined`."
