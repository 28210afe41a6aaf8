"""Measuring a view's columns after a refresh that changed it, where the view asks for that with extended_stats=all."""

import logging
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectException
from prefect_narrative.blocks import DEFAULT_PLANE
from prefect_narrative.flows.children import ask

from prefect_narrative.jobs.context import current_job
from prefect_narrative.views.definition import ViewDefinition

logger = logging.getLogger(__name__)

STATISTICS_DEPLOYMENT = "calculate-column-statistics/narrative"


def measure_if_wanted(definition: ViewDefinition, view: str, snapshot_id: int, data_plane: str) -> UUID | None:
    """Ask for a job that measures a view's columns, and return its id; None where the view does not want it.

    Nobody waits for it: the view is up to date without. Where it can't be asked for, that is logged, and the
    statistics stay stale, which whoever looks at them is told.

    Args:
        definition: The view's.
        view: Its name.
        snapshot_id: The snapshot in which its new rows are.
        data_plane: The plane that it lives in.
    """
    if definition.extended_stats != "all":
        return None
    parameters: dict[str, object] = {"dataset": view, "as_of": snapshot_id}
    if data_plane != DEFAULT_PLANE:
        parameters["data_plane"] = data_plane
    try:
        with get_client(sync_client=True) as client:
            return ask(client, current_job().job_id, STATISTICS_DEPLOYMENT, parameters, subject="statistics").id
    except (httpx.HTTPError, PrefectException) as error:
        logger.warning("The columns of %s are not measured: %s", view, error)
        return None
