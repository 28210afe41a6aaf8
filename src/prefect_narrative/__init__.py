"""The job system of a data platform, as a plugin on Prefect."""
