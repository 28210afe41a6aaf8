"""A home and a Prefect server of its own, as the tests of flows use them."""

from dataclasses import dataclass
from pathlib import Path

from prefect_narrative.jobs.hooks import here
from prefect_narrative.jobs.store import JobStore
from prefect_narrative.planes import Plane, open_plane
from prefect_narrative.settings import Settings


@dataclass(frozen=True)
class Platform:
    """A home and a server of its own."""

    home: Path
    url: str
    environment: dict[str, str]
    """What a process needs to work on it."""

    @property
    def imports(self) -> Path:
        return self.home / "imports"

    def plane(self) -> Plane:
        settings = Settings()
        return open_plane("default", settings.plane_directory("default"), settings)

    def store(self) -> JobStore:
        return here()[0]
