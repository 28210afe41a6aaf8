"""Artifacts in Prefect, one for each thing that is shown: a newer one takes the place of the older."""

from hashlib import sha256
from typing import Literal
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey


def key_of(kind: str, name: str, data_plane: str) -> str:
    """Return the key of an artifact: small letters, digits and hyphens.

    Names that would be alike, those with a dot and those of other planes than the default one, get a hash.

    Args:
        kind: What it is, such as `sample`.
        name: Of what it is: a dataset's name, or another one in small letters.
        data_plane: Where that lies.
    """
    slug = name.replace("_", "-").replace(".", "-").strip("-")
    if data_plane == "default" and "." not in name:
        return f"{kind}-{slug}" if name.replace("_", "-") == slug else f"{kind}-{slug}-{_hash(name)}"
    return f"{kind}-{data_plane}-{slug}-{_hash(f'{data_plane}/{name}')}"


def put_artifact(
    key: str, kind: Literal["table", "markdown"], data: str, job_id: UUID, description: str | None = None
) -> None:
    """Create an artifact, and remove those of the same key that were there before."""
    with get_client(sync_client=True) as client:
        made = client.create_artifact(
            ArtifactCreate(key=key, type=kind, description=description, data=data, flow_run_id=job_id)
        )
        _remove(client, key, keep=made.id)


def remove_artifacts(key: str) -> None:
    """Remove what Prefect shows under a key."""
    with get_client(sync_client=True) as client:
        _remove(client, key, keep=None)


def _remove(client: SyncPrefectClient, key: str, keep: UUID | None) -> None:
    wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
    for one in client.read_artifacts(artifact_filter=wanted):
        if one.id != keep:
            client.delete_artifact(one.id)


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:8]
