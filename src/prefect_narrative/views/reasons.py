"""Why a view can't be refreshed incrementally."""

from typing import ClassVar

from prefect_narrative.errors import FailureKind, NarrativeError


class NotIncrementalError(NarrativeError, ValueError):
    """The view can't be refreshed incrementally."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "not_incremental"
    remedy = "Use mode auto or full, or write the query without what stands in the way."
