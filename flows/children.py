"""Asking for child jobs: runs of deployments that know their parent and have a work queue of their own."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun

from prefect_narrative.jobs.record import PARENT_TAG, SOURCE_TAG

QUEUE = "children"
"""The work queue of child jobs: a limit on their parents' queue does not keep them from starting."""


def ask(
    client: SyncPrefectClient, parent: UUID, deployment: str, parameters: Mapping[str, Any], *, subject: str
) -> FlowRun:
    """Return the run of a child job: a new one, or the one that an earlier attempt of the parent has asked for.

    Args:
        client: A client of Prefect's API.
        parent: The job whose child it is.
        deployment: The deployment, as `type/name`.
        parameters: The child's input.
        subject: What it is about: a parent has one child of each subject.
    """
    answer = client.request(
        "POST",
        "/deployments/{id}/create_flow_run",
        path_params={"id": client.read_deployment_by_name(deployment).id},
        json={
            "parameters": dict(parameters),
            "tags": [f"{SOURCE_TAG}job", f"{PARENT_TAG}{parent}"],
            "idempotency_key": f"{parent}:{subject}",
            "work_queue_name": QUEUE,
            "state": {"type": "SCHEDULED"},
        },
    )
    return FlowRun.model_validate(answer.json())
