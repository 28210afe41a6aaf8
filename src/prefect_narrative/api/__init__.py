"""The HTTP job API: who triggers jobs by HTTP reads their states and results by HTTP. It knows no Prefect."""

JOBS_PATH = "/v1/jobs"
HEALTH_PATH = "/v1/health"
STALE_HEADER = "Narrative-Stale"
"""In an answer that may be old, because Prefect could not be asked; its value is `true`."""
ENDED_HEADER = "Narrative-Ended"
"""In an answer about one job, whether it has ended: it is at rest, and nobody is about to try it again by itself."""
