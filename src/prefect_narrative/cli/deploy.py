"""`narrative deploy`: what connects a Prefect server with the platform."""

from dataclasses import asdict

from prefect_narrative.cli.connection import connect
from prefect_narrative.cli.exits import ExitCode
from prefect_narrative.cli.options import Json
from prefect_narrative.cli.output import Output
from prefect_narrative.settings import Settings


def deploy(*, as_json: Json = False) -> int:
    """Apply work pool, blocks and deployments to Prefect; what operators changed stays as they left it.

    The server is that of PREFECT_API_URL, else of a running `narrative up`, else of your Prefect profile.

    Args:
        as_json: Print what was created, updated and left unchanged as JSON.
    """
    connect(Settings())
    from prefect_narrative.client import reaching  # noqa: PLC0415 - Prefect reads its settings on import
    from prefect_narrative.deployments import apply_deployments  # noqa: PLC0415

    output = Output(as_json=as_json)
    with reaching(), output.waiting("Applying the deployments"):
        applied = asdict(apply_deployments())
    if as_json:
        output.document(applied)
    rows = [(part, name, outcome) for part, outcomes in applied.items() for name, outcome in outcomes.items()]
    output.table(("part", "name", "outcome"), rows)
    return ExitCode.OK
