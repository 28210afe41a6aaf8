"""The one base of everything that we refuse or could not do, and the kinds that every failure falls into."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar


class FailureKind(StrEnum):
    """Whose fault a failure is, and so who can mend it."""

    INPUT = "input"
    """The caller's: a value, a name or a query that breaks a rule."""
    DATA = "data"
    """The data's: rows that can't be read, cast or kept."""
    ACCESS = "access"
    """A credential is missing or a permission is refused."""
    EXTERNAL = "external"
    """Another system is down or refuses."""
    RESOURCE = "resource"
    """Memory, disk or time ran out."""
    INFRASTRUCTURE = "infrastructure"
    """The process or its worker died."""
    CONFLICT = "conflict"
    """Another writer was first."""
    OPERATOR = "operator"
    """A person forced a state."""
    INTERNAL = "internal"
    """Ours: a defect."""

    @property
    def retryable(self) -> bool:
        """Whether a new attempt of the same job may end otherwise."""
        return self in RETRYABLE_KINDS


RETRYABLE_KINDS = frozenset({FailureKind.INFRASTRUCTURE, FailureKind.EXTERNAL, FailureKind.CONFLICT})


class NarrativeError(Exception):
    """Something went wrong in prefect-narrative.

    A subclass sets `kind`, `code` and `remedy`; its docstring's first line is the default message.

    Args:
        message: What was seen and which rule it breaks, for a person. Default: the class docstring's first line.
        remedy: What to do about it, as an instruction or a command. Default: the class's own.
        detail: Figures and names for programs. JSON values only; never rows of data, never a secret.
    """

    kind: ClassVar[FailureKind] = FailureKind.INTERNAL
    code: ClassVar[str] = "internal_error"
    remedy: str = "Report it with the job's id: this is a defect of ours."

    def __init__(
        self, message: str | None = None, *, remedy: str | None = None, detail: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message or (type(self).__doc__ or type(self).__name__).strip().splitlines()[0])
        if remedy is not None:
            self.remedy = remedy
        self.detail: dict[str, Any] = dict(detail or {})

    @property
    def retryable(self) -> bool:
        """Whether a new attempt of the same job may end otherwise."""
        return self.kind.retryable


class SupersededError(NarrativeError):
    """Another attempt of this job has taken over."""

    kind: ClassVar[FailureKind] = FailureKind.OPERATOR
    code: ClassVar[str] = "superseded"
    remedy = "Nothing: the newer attempt does the work, or the job was cancelled."
