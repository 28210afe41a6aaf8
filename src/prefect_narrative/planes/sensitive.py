"""Sensitive columns: where it is kept which they are, and what is shown in the place of their values."""

from collections.abc import Mapping, Sequence
from typing import Any

from prefect_narrative.planes.columns import named_columns
from prefect_narrative.planes.errors import OvertakenError, QueryFailedError
from prefect_narrative.planes.plane import Column, Description, Guard

SENSITIVE = "sensitive_columns"
"""The property of a dataset or view that names them."""
REDACTED = "<redacted>"
"""What people and programs see of a sensitive value."""


def marked(properties: Mapping[str, Any]) -> frozenset[str]:
    """Return the sensitive columns that properties name, in small letters."""
    return frozenset(str(name).casefold() for name in properties.get(SENSITIVE) or ())


def marks(
    columns: Sequence[Column], said: Sequence[str] | None, before: Mapping[str, Any], of: str, *, adds: bool = False
) -> list[str]:
    """Return the sensitive columns of rows that are about to be published.

    Args:
        columns: The columns that there will be.
        said: Those that somebody names; None: those that were sensitive stay so.
        before: The properties of what was there; none where there was nothing.
        of: What has the columns, for a message.
        adds: Whether those that were sensitive stay so in any case, since their rows stay.

    Raises:
        ColumnNotFoundError: a name is no column's, with the nearest names.
        AmbiguousColumnError: one is named twice.
    """
    named = named_columns(columns, said or (), of, SENSITIVE)
    kept = marked(before) if said is None or adds else frozenset()
    return [column.name for column in columns if column in named or column.name.casefold() in kept]


def marks_as_before(dataset: str, before: Mapping[str, Any]) -> Guard:
    """Return what refuses to publish where a dataset's marks have changed since its properties were read.

    It raises OvertakenError, after which the job is tried again.
    """

    def guard(found: Sequence[Description]) -> None:
        now = next((one.properties for one in found if one.name == dataset), {})
        if marked(now) != marked(before):
            raise OvertakenError(f"The sensitive columns of {dataset!r} have changed meanwhile.")

    return guard


def withheld() -> QueryFailedError:
    """Return the error for a query that failed on a value which nobody may see: the engine's own words quote it."""
    return QueryFailedError(
        "The query failed on a value that it read or computed. It reads sensitive columns, so the engine's message, "
        "which may quote the value, is withheld.",
        remedy="TRY_CAST and TRY(...) give NULL where a value can't be computed; or leave the sensitive columns out.",
    )
