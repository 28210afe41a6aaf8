"""`narrative datasets mark|unmark`: which columns are sensitive."""

from prefect_narrative.cli.datasets import DEFAULT_PLANE, open_plane
from prefect_narrative.cli.exits import ExitCode, UsageError
from prefect_narrative.cli.options import Json
from prefect_narrative.cli.output import Output


def mark(name: str, /, *columns: str, data_plane: str = DEFAULT_PLANE, as_json: Json = False) -> int:
    """Mark columns as sensitive: from now on nobody is shown their values, nor those that derive from them.

    Args:
        name: The dataset or view.
        columns: The columns.
        data_plane: The data plane's name.
        as_json: Print the sensitive columns as JSON.
    """
    return _set(name, columns, data_plane, as_json=as_json, sensitive=True)


def unmark(name: str, /, *columns: str, data_plane: str = DEFAULT_PLANE, as_json: Json = False) -> int:
    """Take the mark of sensitive columns away. Views keep it until their rows are made anew.

    Args:
        name: The dataset or view.
        columns: The columns.
        data_plane: The data plane's name.
        as_json: Print the columns that are still sensitive as JSON.
    """
    return _set(name, columns, data_plane, as_json=as_json, sensitive=False)


def _set(name: str, columns: tuple[str, ...], data_plane: str, *, as_json: bool, sensitive: bool) -> int:
    if not columns:
        raise UsageError("No column is named.", remedy="Name the columns: narrative datasets mark NAME COLUMN ...")
    output = Output(as_json=as_json)
    from prefect_narrative.views.marking import mark as set_marks  # noqa: PLC0415 - not for those who ask for help

    with open_plane(data_plane) as plane:
        left = set_marks(plane, name, columns, sensitive=sensitive)
    if as_json:
        output.document({"data_plane": data_plane, "dataset": name, "sensitive_columns": list(left)})
    output.line(f"sensitive columns of {name}: {', '.join(left) or 'none'}")
    return ExitCode.OK
