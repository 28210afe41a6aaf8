"""Deployments: what is deployed, and how that is applied."""

from prefect_narrative.deployments.apply import Applied, apply_deployments
from prefect_narrative.deployments.declarations import DECLARATIONS, DEPLOYMENT, WORK_POOL

__all__ = ["DECLARATIONS", "DEPLOYMENT", "WORK_POOL", "Applied", "apply_deployments"]
