"""Options that many commands have, in one spelling."""

from typing import Annotated

from cyclopts import Parameter

from prefect_narrative.cli.exits import UsageError


def _positive(_kind: object, value: float | None) -> None:
    if value is not None and not 0 <= value < float("inf"):
        raise UsageError(f"{value} is no number of seconds to wait.", remedy="Give a number of seconds, 0 or more.")


def check_timeout(timeout: float | None, *, wait: bool) -> None:
    """Refuse a time limit for a wait that nobody asked for.

    Raises:
        UsageError: it says nothing.
    """
    if timeout is not None and not wait:
        raise UsageError("--timeout says nothing without --wait.")


Json = Annotated[bool, Parameter(name="--json", negative="")]
"""Write one JSON document to standard output, and nothing else."""
Wait = Annotated[bool, Parameter(negative="", alias="-w")]
"""Wait until the job has ended."""
Timeout = Annotated[float | None, Parameter(validator=_positive)]
"""Seconds to wait at most; None: for ever."""
