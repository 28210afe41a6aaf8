"""Planes of this machine by their name, for whoever holds none: to fence attempts, and to find what was published."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect_narrative.planes import open_plane
from prefect_narrative.planes.connection import Place
from prefect_narrative.settings import Settings

LOCK_WAIT = timedelta(seconds=2)


class Fences:
    """What is asked of data planes about attempts whose own process can't be asked any more.

    A plane that does not lie on this machine is nobody's to fence from here: whoever could write to it is there too.
    Each call opens the plane, which takes about half a second.

    Args:
        settings: Where planes lie.
    """

    def __init__(self, settings: Settings) -> None:
        # A stopped process may hold the publish lock for long; whoever asks here asks again.
        self._settings = settings.model_copy(update={"publish_lock_timeout": LOCK_WAIT})

    def fence(self, plane: str | None, job_id: UUID, token: int) -> None:
        """See to it that no attempt of a job with a lower token than this can publish any more.

        Args:
            plane: The plane's name; None where it is not known: then all that lie here.
            job_id: The job.
            token: Higher than those of the attempts that are to be kept out.

        Raises:
            PublishLockTimeoutError: somebody holds the publish lock and does not let go of it.
            PlaneUnavailableError: the plane can't be used.
        """
        for name in self._here(plane):
            with open_plane(name, self._settings.plane_directory(name), self._settings) as opened:
                opened.fence(job_id, token)

    def published(self, plane: str | None, job_id: UUID) -> Mapping[str, Any] | None:
        """Return the result that a job has published, or None where it has not, or not on this machine."""
        for name in self._here(plane):
            with open_plane(name, self._settings.plane_directory(name), self._settings) as opened:
                found = opened.published(job_id)
            if found is not None:
                return found.result
        return None

    def _here(self, plane: str | None) -> list[str]:
        """Return the names of the planes that are meant and lie on this machine."""
        planes = self._settings.planes
        # A name from a job's record may be anything; it must not lead out of the planes' folder.
        here = (
            sorted(folder.name for folder in planes.iterdir() if Place(folder).catalog.exists())
            if planes.exists()
            else []
        )
        return [name for name in here if plane in {None, name}]
