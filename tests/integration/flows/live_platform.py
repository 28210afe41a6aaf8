"""A home and a Prefect server of its own, as the tests of flows use them."""

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from prefect import Flow, State
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import Artifact

from prefect_narrative.jobs.hooks import here
from prefect_narrative.jobs.record import Job, JobId
from prefect_narrative.jobs.store import JobStore
from prefect_narrative.planes import Plane, open_plane
from prefect_narrative.settings import Settings

SECRET = "ann@secret.example"
"""A value that is sensitive in the tests that have it."""


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

    def run(self, flow: Flow[..., object], **inputs: object) -> Job:
        """Run a flow here and return its job; nothing that is told of it has the secret in it."""
        state: State[object] = flow(**inputs, return_state=True)
        record = self.store().get(JobId(UUID(str(state.state_details.flow_run_id))))
        assert record is not None
        assert SECRET not in f"{record!r} {state.message}"
        return record


def artifacts(key: str) -> list[Artifact]:
    """Return what Prefect shows under a key."""
    with get_client(sync_client=True) as client:
        return client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))
