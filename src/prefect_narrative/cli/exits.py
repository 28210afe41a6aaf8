"""The exit codes of `narrative`, and the errors that only a command line has."""

from enum import IntEnum
from typing import ClassVar

from prefect_narrative.errors import FailureKind, NarrativeError


class ExitCode(IntEnum):
    """What the exit code of every command says."""

    OK = 0
    """Done; of a job: completed."""
    FAILED = 1
    """The job failed or was cancelled, or the command could not do its work."""
    REFUSED = 2
    """The command line, a value, a name or a query breaks a rule."""
    NOT_FOUND = 3
    """No such job, job type or dataset."""
    UNREACHABLE = 4
    """Prefect's API or the job table can't be reached, or refuses the credentials."""
    TIMED_OUT = 5
    """The wait ended before the job did."""
    INTERRUPTED = 130
    """Ctrl-C."""


class UsageError(NarrativeError, ValueError):
    """The command line can't be understood."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "usage"
    remedy = "See `narrative --help`."


class NotFoundError(NarrativeError, LookupError):
    """There is no such thing."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "not_found"
    remedy = "See `narrative jobs list`."


def exit_code_of(error: NarrativeError) -> ExitCode:
    """Return the exit code that says what kind of error this is."""
    if error.code.endswith("not_found"):
        return ExitCode.NOT_FOUND
    if isinstance(error, TimeoutError) and error.code.startswith("wait"):
        return ExitCode.TIMED_OUT
    if error.kind is FailureKind.INPUT:
        return ExitCode.REFUSED
    if error.kind in {FailureKind.EXTERNAL, FailureKind.ACCESS}:
        return ExitCode.UNREACHABLE
    return ExitCode.FAILED
