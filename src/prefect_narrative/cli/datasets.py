"""`narrative datasets list|show` and `narrative query`: what is in a data plane."""

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from prefect_narrative.cli.connection import connect
from prefect_narrative.cli.exits import ExitCode, UsageError
from prefect_narrative.cli.options import Json
from prefect_narrative.cli.output import Output
from prefect_narrative.planes.sensitive import REDACTED
from prefect_narrative.settings import Settings

if TYPE_CHECKING:
    from prefect_narrative.planes.outputs import Outputs
    from prefect_narrative.planes.plane import Column, Dataset, Plane, Rows

MAX_ROWS = 1000
DEFAULT_PLANE = "default"


def list_datasets(*, data_plane: str = DEFAULT_PLANE, as_json: Json = False) -> int:
    """List datasets and views.

    Args:
        data_plane: The data plane's name.
        as_json: Print them as JSON.
    """
    output = Output(as_json=as_json)
    with open_plane(data_plane) as plane:
        found = plane.datasets()
    if as_json:
        output.document({"data_plane": data_plane, "datasets": [document(dataset) for dataset in found]})
    elif found:
        columns = ("name", "kind", "rows", "bytes", "files", "snapshot_id")
        output.table(columns, [(one.name, one.kind, one.rows, one.bytes, one.files, one.snapshot_id) for one in found])
    else:
        output.note("No datasets.")
    return ExitCode.OK


def show(name: str, /, *, data_plane: str = DEFAULT_PLANE, as_json: Json = False) -> int:
    """Show one dataset or view: its columns, its size, and what was published with it.

    Args:
        name: The dataset's name.
        data_plane: The data plane's name.
        as_json: Print it as JSON.
    """
    output = Output(as_json=as_json)
    with open_plane(data_plane) as plane:
        dataset = plane.dataset(name)
    if as_json:
        output.document(document(dataset))
        return ExitCode.OK
    sizes = {"rows": dataset.rows, "bytes": dataset.bytes, "files": dataset.files, "snapshot_id": dataset.snapshot_id}
    told: dict[str, Any] = {"name": dataset.name, "kind": dataset.kind, **sizes, **_properties(dataset)}
    output.fields({key: value for key, value in told.items() if value not in (None, "", [], ())})
    output.line()
    output.table(("column", "type"), [(column.name, column.type) for column in dataset.columns])
    return ExitCode.OK


def query(
    text: str,
    /,
    *,
    limit: Annotated[int, Parameter(alias="-n")] = 100,
    data_plane: str = DEFAULT_PLANE,
    as_json: Json = False,
) -> int:
    """Run one SELECT over datasets and print its first rows, sensitive columns redacted.

    Args:
        text: The query, in DuckDB's dialect; @query.sql takes a file's text.
        limit: Most rows, 1 to 1000.
        data_plane: The data plane's name.
        as_json: Print columns and rows as JSON.
    """
    if not 1 <= limit <= MAX_ROWS:
        raise UsageError(
            f"A query shows 1 to {MAX_ROWS} rows, not {limit}.", remedy="Aggregate, or keep the rows in a view."
        )
    if text.startswith("@"):
        from prefect_narrative.cli.submit import parse_value  # noqa: PLC0415 - only where it is needed

        text = str(parse_value(text))
    output = Output(as_json=as_json)
    from prefect_narrative.views.sensitivity import Sensitivity  # noqa: PLC0415 - not for those who ask for help

    with open_plane(data_plane) as plane:
        at = plane.snapshot()
        checked = plane.check(text, at)
        outputs = Sensitivity(plane, at).of_query(checked)
        with output.waiting("Running the query"):
            found = plane.read(checked, limit=limit, at=at)
    rows = _redacted(found, outputs)
    if as_json:
        columns = [_column(column) for column in found.columns]
        told = {"columns": columns, "rows": rows, "truncated": found.truncated, "snapshot_id": found.snapshot_id}
        output.document(told)
        return ExitCode.OK
    output.table([column.name for column in found.columns], rows)
    if found.truncated:
        output.note(f"There are more rows than these {len(found.rows):,}.")
    return ExitCode.OK


def open_plane(name: str) -> "Plane":
    """Return the data plane of a name, as its block says where a Prefect server is known.

    Without one the default plane is there as it is built in.
    """
    settings = Settings()
    if connect(settings).known or name != DEFAULT_PLANE:
        from prefect_narrative.blocks import load_plane  # noqa: PLC0415 - Prefect reads its settings on import
        from prefect_narrative.client import reaching  # noqa: PLC0415

        with reaching():
            return load_plane(name, settings)
    from prefect_narrative.planes import open_plane as open_built_in  # noqa: PLC0415 - without Prefect

    return open_built_in(name, settings.plane_directory(name), settings)


def document(dataset: "Dataset") -> dict[str, Any]:
    """Return a dataset for programs."""
    return {
        "name": dataset.name,
        "kind": dataset.kind,
        "snapshot_id": dataset.snapshot_id,
        "rows": dataset.rows,
        "bytes": dataset.bytes,
        "files": dataset.files,
        "columns": [_column(column) for column in dataset.columns],
        "properties": dict(dataset.properties),
    }


def _column(column: "Column") -> dict[str, str]:
    return {"name": column.name, "type": column.type}


def _redacted(found: "Rows", outputs: "Outputs") -> list[tuple[Any, ...]]:
    hidden = [outputs.has(column.name) for column in found.columns]
    return [tuple(REDACTED if hit else value for value, hit in zip(row, hidden, strict=True)) for row in found.rows]


def _properties(dataset: "Dataset") -> dict[str, Any]:
    return {key: value for key, value in dataset.properties.items() if key not in {"name", "kind"}}
