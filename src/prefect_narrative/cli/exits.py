"""The exit codes of `narrative`, and the errors that only a command line has."""

import os
from enum import IntEnum
from typing import ClassVar

from cyclopts import CycloptsError
from pydantic import ValidationError

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


class InvalidSettingError(NarrativeError, ValueError):
    """An environment variable of ours has a value that breaks its rule."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "invalid_setting"
    remedy = "Correct the variable, or unset it: every setting has a default."


class UnusableFileError(NarrativeError, OSError):
    """A file or folder can't be used."""

    kind: ClassVar[FailureKind] = FailureKind.RESOURCE
    code: ClassVar[str] = "unusable_file"
    remedy = "See that NARRATIVE_HOME names a folder that you may write to, on a disk with free space."


def told(error: Exception) -> NarrativeError:
    """Return the error of ours that tells an exception which nobody else has caught."""
    if isinstance(error, NarrativeError):
        return error
    if isinstance(error, CycloptsError):
        return UsageError(str(error))
    if isinstance(error, ValidationError) and error.title == "Settings":
        return InvalidSettingError(
            "; ".join(f"NARRATIVE_{'_'.join(map(str, one['loc'])).upper()}: {one['msg']}" for one in error.errors())
        )
    if isinstance(error, OSError) and error.filename is not None:
        return UnusableFileError(f"{os.fsdecode(error.filename)}: {error.strerror}")
    remedy = "This is a defect of ours: set NARRATIVE_TRACEBACK=1, run it again and report what it prints."
    return NarrativeError(f"{type(error).__name__}: {error}", remedy=remedy)


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
