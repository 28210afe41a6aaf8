"""The row behind a job's record: what the table keeps of a job beside what readers see."""

import math
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, Field

from prefect_narrative.costs import Cost
from prefect_narrative.jobs.charging import Charge, cost_of_charges
from prefect_narrative.jobs.record import Failure, Job, Usage

Anything = TypeVar("Anything")

CANCELLED_WHILE_RUNNING = "cancelled_while_running"
"""Code of the failure that a reconciler notes of an attempt which worked on after its run was set to Cancelled."""


class Row(Job):
    """A job's record with the bookkeeping that only stores need."""

    staged_result: dict[str, Any] | None = None
    """A result kept until the job completes; None where there is none, and again once it has become `result`."""
    rested_attempt: int = Field(default=0, ge=0)
    """The last attempt that came to rest in a terminal state; 0 before."""
    last_event: int = Field(default=0, ge=0)
    """Number of the job's last event."""
    usages: dict[str, Usage] = Field(default_factory=dict)
    """What each attempt's process used, by its token in digits; `usage` is their total."""
    charges: tuple[Charge, ...] = ()
    """What each attempt costs, line by line; `cost_micro_cents_usd` is their total."""
    trusted: bool = True
    """False where the id in `prefect` was made up, so that only its timestamp says how new it is."""

    @property
    def used_up(self) -> bool:
        """Whether the number of this attempt can't be used for a further start."""
        return self.rested_attempt >= self.attempt or any(one.attempt == self.attempt for one in self.failures)

    def cost(self) -> Cost | None:
        """Return what the attempts have cost, line by line; None where that is not known of all of them."""
        return None if self.cost_micro_cents_usd is None else cost_of_charges(self.charges)

    def job(self) -> Job:
        """Return what readers see."""
        return Job.model_construct(**{name: getattr(self, name) for name in Job.model_fields})


def is_guess(failure: Failure) -> bool:
    """Return whether a failure was only inferred from Prefect's state, so that a reported one replaces it."""
    return failure.detail.get("guessed") is True


def is_report(failure: Failure) -> bool:
    """Return whether an attempt's own process told of a failure, and not somebody who looked at it."""
    return not is_guess(failure) and failure.code != CANCELLED_WHILE_RUNNING


def storable(value: Anything) -> Anything:
    """Return `value` as every database can keep it.

    Text loses what PostgreSQL refuses (NUL and lone surrogates become U+FFFD); a number that JSON does not have (NaN,
    infinity) becomes None; keys become text. Models, tuples, lists and mappings are walked through.
    """
    return _storable(value)  # type: ignore[no-any-return]


def _storable(value: Any) -> Any:
    kept = value
    if isinstance(value, str):
        if "\0" in value or not value.isascii():
            kept = value.replace("\0", "\ufffd").encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    elif isinstance(value, float):
        kept = value if math.isfinite(value) else None
    elif isinstance(value, Mapping):
        kept = {_storable(str(key)): _storable(one) for key, one in value.items()}
    elif isinstance(value, list | tuple):
        kept = type(value)(_storable(one) for one in value)
    elif isinstance(value, BaseModel):
        changed = {
            name: after
            for name in type(value).model_fields
            if (after := _storable(before := getattr(value, name))) is not before and after != before
        }
        kept = value.model_copy(update=changed) if changed else value
    return kept
