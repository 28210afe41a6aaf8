"""Inputs that several job types share: Prefect's forms and checks are made from their types."""

from typing import Annotated

from pydantic import Field

from prefect_narrative.planes.errors import DatasetExistsError
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


def refuse_existing(plane: Plane, name: str) -> None:
    """Raise before any work is done if a dataset of that name exists; publishing checks again.

    Raises:
        DatasetExistsError: it does.
    """
    if plane.exists(name):
        raise DatasetExistsError(name)
