"""The job system of a data platform, as a plugin on Prefect.

`job` makes a function a job type, `current_job` is what its body works with, `Client` submits jobs and reads them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect_narrative.client import Client
    from prefect_narrative.errors import FailureKind, NarrativeError
    from prefect_narrative.jobs.context import JobContext, current_job
    from prefect_narrative.jobs.job import job, step
    from prefect_narrative.jobs.record import Job, JobEvent, JobFilter, JobId, JobPage
    from prefect_narrative.jobs.states import JobState
    from prefect_narrative.settings import Settings

_HOMES = {
    "Client": "client",
    "FailureKind": "errors",
    "Job": "jobs.record",
    "JobContext": "jobs.context",
    "JobEvent": "jobs.record",
    "JobFilter": "jobs.record",
    "JobId": "jobs.record",
    "JobPage": "jobs.record",
    "JobState": "jobs.states",
    "NarrativeError": "errors",
    "Settings": "settings",
    "current_job": "jobs.context",
    "job": "jobs.job",
    "step": "jobs.job",
}

__all__ = [
    "Client",
    "FailureKind",
    "Job",
    "JobContext",
    "JobEvent",
    "JobFilter",
    "JobId",
    "JobPage",
    "JobState",
    "NarrativeError",
    "Settings",
    "current_job",
    "job",
    "step",
]


def __getattr__(name: str) -> Any:
    # Prefect imports this package in every process through the blocks' entry point: the rest is loaded when it is used.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
