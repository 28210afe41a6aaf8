"""Artifacts in Prefect, one for each thing that is shown: a newer one takes the place of the older."""

import logging
import re
from collections.abc import Callable
from hashlib import sha256
from typing import Literal
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

logger = logging.getLogger(__name__)

_MARKS = re.compile(r"([\\`*_{}\[\]<>()#+\-.!|~&$:/@])")
_LINES = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]+")


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


def shown_if_possible(what: str, show: Callable[[], object]) -> None:
    """Show something in Prefect; it is kept all the same where that does not work, which is logged.

    Args:
        what: What is kept, at the beginning of a sentence.
        show: Shows it.
    """
    try:
        show()
    except Exception as error:
        logger.warning("%s is kept, but not shown in Prefect: %s", what, type(error).__name__)


def escaped(text: str) -> str:
    """Return a text in which Markdown and HTML find nothing to act upon."""
    return _MARKS.sub(r"\\\1", _LINES.sub(" ", text)).replace("\\<", "&lt;").replace("\\&", "&amp;")


def _remove(client: SyncPrefectClient, key: str, keep: UUID | None) -> None:
    wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
    for one in client.read_artifacts(artifact_filter=wanted):
        if one.id != keep:
            client.delete_artifact(one.id)


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:8]
