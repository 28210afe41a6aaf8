"""Options that many commands have, in one spelling."""

from typing import Annotated

from cyclopts import Parameter

from prefect_narrative.cli.exits import UsageError


def _positive(_kind: object, value: float | None) -> None:
    if value is not None and not 0 <= value < float("inf"):
        raise UsageError(f"{value} is no number of seconds to wait.", remedy="Give a number of seconds, 0 or more.")


Json = Annotated[bool, Parameter(name="--json", negative="")]
"""Write one JSON document to standard output, and nothing else."""
Timeout = Annotated[float | None, Parameter(validator=_positive)]
"""Seconds to wait at most; None: for ever."""
