"""`narrative profile`: what the columns of a dataset are like, drawn from the statistics that jobs have kept."""

import os
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from prefect_narrative.cli.datasets import DEFAULT_PLANE, open_plane
from prefect_narrative.cli.exits import ExitCode, UsageError
from prefect_narrative.cli.options import Json
from prefect_narrative.cli.output import Output
from prefect_narrative.cli.view_records import ago
from prefect_narrative.planes.columns import named_columns
from prefect_narrative.planes.plane import Column
from prefect_narrative.profiles.dataset_profile import Profile
from prefect_narrative.profiles.drawing import HEADS, cells
from prefect_narrative.profiles.reading import profile as read_profile


def profile(
    name: str,
    /,
    *,
    column: Annotated[tuple[str, ...], Parameter(alias="-c", negative="", consume_multiple=False)] = (),
    snapshot: int | None = None,
    html: Path | None = None,
    data_plane: str = DEFAULT_PLANE,
    as_json: Json = False,
) -> int:
    """Show the statistics of a dataset's columns: how complete they are, their values, what is remarkable.

    Args:
        name: The dataset or view.
        column: Only this column; may be given several times.
        snapshot: The statistics of this snapshot. [of each column the newest]
        html: Write a page with plots into this file instead; it opens without network.
        data_plane: The data plane's name.
        as_json: Print the statistics as JSON.
    """
    if html is not None and as_json:
        raise UsageError("--html writes a page, --json prints a document: give one of them.")
    output = Output(as_json=as_json)
    with open_plane(data_plane) as plane:
        found = _narrowed(read_profile(plane, name, snapshot), column)
    if as_json:
        output.document({"data_plane": data_plane, **found.model_dump(mode="json")})
    elif html is not None:
        from prefect_narrative.profiles.page import page  # noqa: PLC0415 - only where a page is wanted

        _write(html, page(found, datetime.now(UTC)))
        output.line(f"{html} written")
    else:
        _people(found, output)
    return ExitCode.OK


def _narrowed(found: Profile, names: Sequence[str]) -> Profile:
    if not names:
        return found
    has = [Column(column.name, column.type) for column in found.columns]
    wanted = {column.name for column in named_columns(has, names, repr(found.dataset))}
    return found.model_copy(update={"columns": tuple(one for one in found.columns if one.name in wanted)})


def _people(found: Profile, output: Output) -> None:
    counts = ", ".join(f"{count} {standing}" for standing, count in found.standing.items() if count)
    made = max((one.calculated_at for one in found.columns if one.calculated_at), default=None)
    output.fields(
        {
            found.kind: found.dataset,
            "rows": found.rows,
            "snapshot_id": found.snapshot_id,
            "statistics": f"{counts} (calculated {ago(made, datetime.now(UTC))})" if made else counts,
        }
    )
    output.line()
    output.table(HEADS, [cells(column) for column in found.columns])
    if any(one.standing != "fresh" for one in found.columns):
        output.note(f"Measure again: narrative submit calculate-column-statistics dataset={found.dataset} --wait")


def _write(path: Path, text: str) -> None:
    """Write a file, whole or not at all.

    Raises:
        UsageError: it can't be written, with the reason.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError(
            f"{path} can't be written: {error.strerror or error}.",
            remedy="Name a file in a folder that may be written.",
        ) from error
