"""`create-dataset`: load files into a dataset."""

from collections.abc import Sequence
from typing import Annotated, Literal

from prefect_narrative.blocks import load_plane
from prefect_narrative.flows.inputs import Columns, DatasetName, Partitions, PlaneName, Tags, Text, check_target
from pydantic import BaseModel, Field

from prefect_narrative.jobs.context import current_job
from prefect_narrative.jobs.job import job, step
from prefect_narrative.planes.partitioning import partitions
from prefect_narrative.planes.plane import Column, Guard, Plane, Published, Stage, Write
from prefect_narrative.planes.sensitive import SENSITIVE, marked, marks, marks_as_before


class DatasetColumn(BaseModel):
    """A column of a dataset."""

    name: str
    type: str
    """In DuckDB's words."""


class DatasetCreated(BaseModel):
    """What `create-dataset` has made."""

    dataset: str
    snapshot_id: int
    """The snapshot in which the rows are first seen."""
    rows: int
    """Rows that were loaded."""
    bytes: int
    """Stored bytes of these rows."""
    columns: list[DatasetColumn]


@job(type="create-dataset", label="create dataset {name}", dataset="name")
def create_dataset(
    name: DatasetName,
    source: Annotated[str, Field(min_length=1, max_length=4096, examples=["flights.csv", "2013/*.parquet"])],
    format: Literal["auto", "parquet", "csv", "json"] = "auto",
    write_mode: Literal["create", "overwrite", "append"] = "create",
    partitioned_by: Partitions | None = None,
    sensitive_columns: Columns | None = None,
    description: Text | None = None,
    tags: Tags | None = None,
    data_plane: PlaneName = "default",
) -> DatasetCreated:
    """Load files into a dataset: all of their rows become visible at once, or none.

    Args:
        name: The dataset's name: small letters, digits and underscores, optionally after a schema and a dot.
        source: Path or glob of the files, below one of the worker's import roots; relative paths start there.
        format: How to read the files; auto tells by their endings. json means JSON lines.
        write_mode: create refuses an existing dataset, overwrite replaces it, append adds to it.
        partitioned_by: What files are kept apart by: columns, or year(c), month(c), day(c) of a date or timestamp;
            appended rows follow the dataset's own unless they are given others.
        sensitive_columns: Columns whose values nobody is shown. Leaving it out keeps those that are marked; overwrite
            with an empty list takes the marks away, append only adds to them.
        description: What the dataset holds, for people.
        tags: Words to find the dataset by.
        data_plane: The data plane that the dataset lives in.
    """
    context = current_job()
    plane = context.use(load_plane(data_plane))
    context.on_end(lambda: plane.discard(context.job_id, context.token))
    published = plane.published(context.job_id)
    if published is None:
        check_target(plane, name, write_mode)
        context.progress("reading the files", until=0.9)
        keys = partitioned_by or kept_apart(plane, name, write_mode)
        there = plane.dataset(name) if plane.exists(name) else None
        dataset, before = (name, {}) if there is None else (there.name, there.properties)
        stage = load_files(plane, name, source, format, keys, sensitive=bool(sensitive_columns or marked(before)))
        context.progress("publishing", start=0.9)
        adds = write_mode == "append"
        sensitive = marks(stage.columns, sensitive_columns, before, "The source", adds=adds)
        write = _write(plane, name, write_mode, stage, keys, description, tags, sensitive)
        published = publish_dataset(plane, name, write, stage, marks_as_before(dataset, before))
    return DatasetCreated.model_validate(published.result)


@step(name="load files")
def load_files(
    plane: Plane,
    name: str,
    source: str,
    file_format: Literal["auto", "parquet", "csv", "json"],
    partitioned_by: Sequence[str],
    *,
    sensitive: bool,
) -> Stage:
    """Read the files and write their rows as files of the lake, which nobody sees yet."""
    context = current_job()
    return plane.stage_files(
        context.job_id,
        context.token,
        name,
        source,
        file_format,
        partitioned_by=partitioned_by,
        sensitive=sensitive,
    )


@step(name="publish")
def publish_dataset(plane: Plane, name: str, write: Write, stage: Stage, guard: Guard) -> Published:
    """Make the rows visible, in one transaction with the job's result."""
    context = current_job()
    result = {
        "dataset": name,
        "rows": stage.rows,
        "bytes": stage.bytes,
        "columns": [_column(column) for column in stage.columns],
    }
    return plane.publish(context.job_id, context.token, [write], result, guard=guard)


def kept_apart(plane: Plane, name: str, write_mode: str) -> list[str]:
    """Return the partition keys that a dataset has from before, which appended rows follow."""
    return list(plane.dataset(name).properties.get("partitioned_by", ())) if write_mode == "append" else []


def _write(
    plane: Plane,
    name: str,
    write_mode: str,
    stage: Stage,
    partitioned_by: Sequence[str],
    description: str | None,
    tags: list[str] | None,
    sensitive: list[str],
) -> Write:
    properties = {
        "description": description,
        "tags": sorted(set(tags or [])),
        "partitioned_by": [str(key) for key in partitions(partitioned_by, stage.columns)],
        **({SENSITIVE: sensitive} if sensitive else {}),
    }
    match write_mode:
        case "create":
            return Write(name, "create", stage, properties=properties)
        case "overwrite":
            return Write(name, "replace", stage, properties=properties)
        case _:
            said = {key: value for key, value in properties.items() if value}
            kept = plane.dataset(name).properties if said else {}
            return Write(name, "append", stage, properties={**kept, **said} if said else None)


def _column(column: Column) -> dict[str, str]:
    return {"name": column.name, "type": column.type}
