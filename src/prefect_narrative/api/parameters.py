"""What a caller may ask for: the parameters of each path, each checked, none ignored."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Path, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, BeforeValidator, Field

from prefect_narrative.api.errors import InvalidParameterError, quoted
from prefect_narrative.jobs.record import JobFilter
from prefect_narrative.jobs.states import JobState
from prefect_narrative.jobs.store import MAX_PAGE

LONGEST_WAIT_SECONDS = 60


def _moment(value: Any) -> datetime:
    """Return the time that an ISO 8601 text says, in UTC."""
    text = str(value)
    try:
        said = datetime.fromisoformat(text if text.isprintable() else "")  # else it stops reading at a NUL
        return said.replace(tzinfo=UTC) if said.tzinfo is None else said.astimezone(UTC)
    except OverflowError as exc:
        raise ValueError("it lies outside the years 1 to 9999 in UTC") from exc
    except ValueError as exc:
        raise ValueError("it is not ISO 8601, such as 2026-03-01T12:00:00Z; in a URL the + of a zone is %2B") from exc


Moment = Annotated[datetime | None, BeforeValidator(_moment)]


def _moment_field(description: str) -> Any:
    told = f"{description} ISO 8601; UTC where it names no zone."
    return Field(default=None, description=told, examples=["2026-03-01T12:00:00Z"])


class Listing(BaseModel):
    """Which jobs a list shows."""

    state: list[JobState] | None = Field(
        default=None, description="Only jobs in this state; repeatable.", examples=[["failed"]]
    )
    type: str | None = Field(default=None, description="Only jobs of this type.", examples=["create-dataset"])
    dataset: str | None = Field(
        default=None, description="Only jobs that write or describe this dataset.", examples=["flights"]
    )
    data_plane: str | None = Field(default=None, description="Only jobs on this data plane.", examples=["default"])
    tag: str | None = Field(default=None, description="Only jobs with this tag.", examples=["nightly"])
    request_source: Literal["api", "operator", "schedule", "cli", "job"] | None = Field(
        default=None, description="Only jobs that were asked for by this kind of source.", examples=["schedule"]
    )
    created_from: Moment = _moment_field("Created at this time or later.")
    created_before: Moment = _moment_field("Created before this time.")
    ended_from: Moment = _moment_field("Ended at this time or later.")
    ended_before: Moment = _moment_field("Ended before this time.")
    limit: int = Field(default=50, ge=1, le=MAX_PAGE, description="Most jobs on the page.", examples=[50])
    cursor: str | None = Field(default=None, description="Where the page before this one ended: its `cursor`.")

    @property
    def narrowed(self) -> JobFilter:
        """The filters, as the table takes them."""
        return JobFilter(
            state=frozenset(self.state) if self.state else None,
            **{name: getattr(self, name) for name in JobFilter.model_fields if name != "state"},
        )


Id = Annotated[
    UUID,
    Path(
        description="The job's id, which is that of its flow run in Prefect.",
        examples=["7c9e6679-7425-40de-944b-e07fc1f90ae7"],
    ),
]
Wait = Annotated[
    float,
    Query(
        ge=0,
        le=LONGEST_WAIT_SECONDS,
        allow_inf_nan=False,
        description=(
            "Seconds to wait at most for the job's end. The answer comes as soon as the job is at rest and is not "
            "about to be tried again by itself; else, when the time is over, with the job as it is then."
        ),
        examples=[30],
    ),
]


def only(*names: str, repeatable: Sequence[str] = ()) -> Callable[[Request], Awaitable[None]]:
    """Return a check that a request has no other parameters than these, and none twice.

    A filter whose name is misspelt would else be ignored, and the list show what nobody asked for.
    """

    async def check(request: Request) -> None:  # async, or it would be run in a thread
        counts = Counter(name for name, _ in request.query_params.multi_items())
        for name, count in counts.items():
            if name not in names:
                known = f"there are {', '.join(names)}" if names else "this path takes none"
                raise InvalidParameterError(f"There is no parameter {quoted(name)}: {known}.")
            if count > 1 and name not in repeatable:
                raise InvalidParameterError(f"The parameter {name} is given {count} times: once is the rule.")

    return check


def refused(error: RequestValidationError) -> InvalidParameterError:
    """Return the error that names each value that was refused, and its rule."""
    return InvalidParameterError("; ".join(_said(one) for one in error.errors()) + ".")


def _said(one: dict[str, Any]) -> str:
    name = ".".join(str(part) for part in one["loc"][1:2])
    reason = str(one["ctx"]["error"]) if one["type"] == "value_error" else str(one["msg"])
    return f"{name} = {quoted(one.get('input'))}: {reason[:1].lower()}{reason[1:]}"
