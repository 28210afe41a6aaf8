"""Writes `prefect.yaml` from the declarations: `python -m prefect_narrative.deployments.prefect_yaml`."""

import sys

import yaml
from prefect_narrative.deployments.declarations import as_prefect_yaml

HEAD = """\
# Made from deployments/declarations.py by `python -m prefect_narrative.deployments.prefect_yaml`.
#
# `narrative deploy` applies the same declarations and more: it makes the work pool, whose template lets callers choose
# no command and no environment, registers the blocks, and forbids unknown inputs, which `prefect deploy` can't say.
# With `prefect deploy --all` alone, make the pool first:
#   prefect work-pool create narrative --type process --base-job-template deployments/work-pool.json
"""


def render() -> str:
    """Return the text of `prefect.yaml`."""
    return HEAD + str(yaml.safe_dump(as_prefect_yaml(), sort_keys=False, width=110))


if __name__ == "__main__":
    sys.stdout.write(render())
