"""What is deployed: one declaration for each job type. `prefect.yaml` says the same; a test compares the two."""

from dataclasses import dataclass
from typing import Any

DEPLOYMENT = "narrative"
"""The name of each deployment; `create-dataset/narrative` in full."""
WORK_POOL = "narrative"
WORK_POOL_TYPE = "process"
TAGS = ("narrative",)


@dataclass(frozen=True)
class Declaration:
    """One deployment of ours."""

    type: str
    """The job type, which is the flow's name."""
    entrypoint: str
    """Module and flow; a worker with the package installed needs no code of its own."""
    description: str
    required: tuple[str, ...] = ()
    """Inputs that every caller must give, though the flow has a default for them, which is for its schedules alone."""


DECLARATIONS = (
    Declaration(
        "create-dataset",
        "prefect_narrative.flows.create_dataset.create_dataset",
        "Load files into a dataset: all of their rows become visible at once, or none.",
    ),
    Declaration(
        "create-materialized-view",
        "prefect_narrative.flows.create_materialized_view.create_materialized_view",
        "Define a view over datasets, fill it, and schedule its refresh.",
    ),
    Declaration(
        "refresh-materialized-view",
        "prefect_narrative.flows.refresh_materialized_view.refresh_materialized_view",
        "Bring a view up to date with its sources; its schedules are the views' own.",
        required=("view",),
    ),
    Declaration(
        "sample-dataset",
        "prefect_narrative.flows.sample_dataset.sample_dataset",
        "Keep some rows of a dataset, a view or a query to look at, sensitive columns redacted.",
    ),
    Declaration(
        "calculate-column-statistics",
        "prefect_narrative.flows.calculate_column_statistics.calculate_column_statistics",
        "Measure a dataset's columns, and keep what was found to look at.",
    ),
    Declaration(
        "calculate-costs",
        "prefect_narrative.flows.calculate_costs.calculate_costs",
        "Say what an operation would cost, what a job has cost, or what the jobs of a period have cost.",
    ),
    Declaration(
        "clean-up",
        "prefect_narrative.flows.clean_up.clean_up",
        "Free what is no longer needed: drop datasets and views, the views' schedules with them.",
    ),
)

BASE_JOB_TEMPLATE: dict[str, Any] = {
    "job_configuration": {"stream_output": True},
    "variables": {"type": "object", "properties": {}, "additionalProperties": False},
}
"""The work pool's template: no command, environment or working directory for callers to set.

A run gets the environment that its worker was started with.
"""


def as_prefect_yaml() -> dict[str, Any]:
    """Return the content that `prefect.yaml` must have."""
    return {
        "name": "prefect-narrative",
        "pull": [],
        "deployments": [
            {
                "name": DEPLOYMENT,
                "description": one.description,
                "tags": list(TAGS),
                "entrypoint": one.entrypoint,
                "enforce_parameter_schema": True,
                "work_pool": {"name": WORK_POOL},
            }
            for one in DECLARATIONS
        ],
    }
