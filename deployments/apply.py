"""Applying the declarations to a Prefect server, as often as one likes, without undoing what operators changed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

from prefect import Flow
from prefect.blocks.core import Block
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectNotFound
from prefect.utilities.callables import parameter_schema
from prefect_narrative.blocks import DEFAULT_PLANE, DataPlane, PriceList
from prefect_narrative.deployments.declarations import (
    BASE_JOB_TEMPLATE,
    DECLARATIONS,
    DEPLOYMENT,
    TAGS,
    WORK_POOL,
    WORK_POOL_TYPE,
    Declaration,
)

from prefect_narrative.costs.prices import PRICE_LIST, PRICE_LIST_TYPE

Outcome = Literal["created", "updated", "unchanged"]


@dataclass(frozen=True)
class Applied:
    """What applying has changed."""

    pool: dict[str, Outcome] = field(default_factory=dict)
    deployments: dict[str, Outcome] = field(default_factory=dict)
    blocks: dict[str, Outcome] = field(default_factory=dict)


def apply_deployments() -> Applied:
    """Bring the configured Prefect server's pool, blocks and deployments up to these declarations.

    What operators may change is theirs once it exists: pauses, schedules, limits, tags, default parameters, work queue,
    job variables, the values in blocks. Ours stays what the code says: entry point, description, the inputs' schema,
    and that unknown or badly typed inputs are refused. The pool's template is ours too: it keeps callers from choosing
    a command or an environment.

    Raises:
        httpx.HTTPError: the server can't be reached or refuses.
    """
    applied = Applied()
    DataPlane.register_type_and_schema()
    PriceList.register_type_and_schema()
    with get_client(sync_client=True) as client:
        applied.blocks[f"{DataPlane.get_block_type_slug()}/{DEFAULT_PLANE}"] = _block(client, DEFAULT_PLANE, DataPlane)
        applied.blocks[f"{PRICE_LIST_TYPE}/{PRICE_LIST}"] = _block(client, PRICE_LIST, PriceList.with_defaults)
        applied.pool[WORK_POOL] = _work_pool(client)
        for one in DECLARATIONS:
            applied.deployments[f"{one.type}/{DEPLOYMENT}"] = _deployment(client, one)
    return applied


def _block(client: SyncPrefectClient, name: str, make: Callable[[], Block]) -> Outcome:
    """Make a block as it is by default, unless there is one of its type and name."""
    block = make()
    try:
        client.read_block_document_by_name(name, block.get_block_type_slug())
    except ObjectNotFound:
        block.save(name)
        return "created"
    return "unchanged"


def _work_pool(client: SyncPrefectClient) -> Outcome:
    try:
        there = client.read_work_pool(WORK_POOL)
    except ObjectNotFound:
        client.create_work_pool(
            WorkPoolCreate(
                name=WORK_POOL,
                type=WORK_POOL_TYPE,
                description="Runs the jobs of prefect-narrative.",
                base_job_template=BASE_JOB_TEMPLATE,
            )
        )
        return "created"
    if there.base_job_template == BASE_JOB_TEMPLATE:
        return "unchanged"
    client.request(
        "PATCH", "/work_pools/{name}", path_params={"name": WORK_POOL}, json={"base_job_template": BASE_JOB_TEMPLATE}
    )
    return "updated"


def _deployment(client: SyncPrefectClient, one: Declaration) -> Outcome:
    flow = load(one)
    ours: dict[str, Any] = {
        "description": one.description,
        "entrypoint": one.entrypoint,
        "pull_steps": [],
        "parameter_openapi_schema": input_schema(flow, one.required),
        "enforce_parameter_schema": True,
    }
    try:
        there = client.read_deployment_by_name(f"{one.type}/{DEPLOYMENT}")
    except ObjectNotFound:
        flow_id = client.create_flow_from_name(one.type)
        client.create_deployment(flow_id, DEPLOYMENT, work_pool_name=WORK_POOL, tags=list(TAGS), **ours)
        return "created"
    if all(getattr(there, name) == value for name, value in ours.items()):
        return "unchanged"
    # No key of an operator's is sent: a key that is absent is left as it is, one that is sent is made anew.
    client.request("PATCH", "/deployments/{id}", path_params={"id": there.id}, json=ours)
    return "updated"


def load(one: Declaration) -> Flow[..., Any]:
    """Return the flow that a declaration names."""
    module, _, name = one.entrypoint.rpartition(".")
    flow = getattr(import_module(module), name)
    if not isinstance(flow, Flow):
        raise TypeError(f"{one.entrypoint} is no flow")
    return flow


def input_schema(flow: Flow[..., Any], required: Sequence[str] = ()) -> dict[str, Any]:
    """Return the schema of a flow's inputs; an input that it does not know is refused when the run is asked for.

    Args:
        flow: The flow.
        required: Inputs that callers must give though the flow has a default for them.
    """
    schema = parameter_schema(flow).model_dump(mode="json")
    for name in required:
        schema["properties"][name].pop("default", None)
    must = [name for name in schema["properties"] if name in required or name in schema.get("required", ())]
    return schema | {"required": must, "additionalProperties": False}
