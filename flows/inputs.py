"""Inputs that several job types share: Prefect's forms and checks are made from their types."""

from typing import Annotated, Literal

from pydantic import Field

from prefect_narrative.planes.errors import DatasetExistsError, WrongKindError
from prefect_narrative.planes.plane import Plane

DATASET_PATTERN = r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?$"

DatasetName = Annotated[str, Field(pattern=DATASET_PATTERN, max_length=128, examples=["flights", "sales.orders"])]
PlaneName = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
Query = Annotated[
    str,
    Field(
        min_length=1, max_length=100_000, examples=["SELECT carrier, count(*) AS flights FROM flights GROUP BY carrier"]
    ),
]
Text = Annotated[str, Field(max_length=10_000)]
Tag = Annotated[str, Field(min_length=1, max_length=100)]
Tags = Annotated[list[Tag], Field(max_length=50)]
ColumnName = Annotated[str, Field(min_length=1, max_length=255)]
Columns = Annotated[list[ColumnName], Field(max_length=2000, examples=[["email", "salary"]])]
MergeKey = Annotated[list[ColumnName], Field(min_length=1, max_length=50, examples=[["order_id"]])]
PartitionKey = Annotated[str, Field(min_length=1, max_length=270)]
Partitions = Annotated[
    list[PartitionKey], Field(min_length=1, max_length=10, examples=[["year(sold_at)", "month(sold_at)", "region"]])
]


def check_target(plane: Plane, name: str, write_mode: Literal["create", "overwrite", "append"]) -> None:
    """Raise before any work is done where publishing would refuse in the end.

    Raises:
        InvalidNameError: the name breaks the naming rule.
        DatasetExistsError: `create` of what exists.
        DatasetNotFoundError: `append` to what does not.
        WrongKindError: the dataset is a view, whose rows come from its query alone.
    """
    if write_mode != "append" and not plane.exists(name):
        return
    there = plane.dataset(name)
    if write_mode == "create":
        raise DatasetExistsError(f"There is a {there.kind} called {name!r} already.", detail={"dataset": name})
    if there.kind == "view":
        raise WrongKindError(f"{name!r} is a view: its rows come from its query, nothing else may write to it.")
