"""`narrative samples list|show|delete`: rows that jobs have kept to look at."""

from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import Parameter

from prefect_narrative.cli.connection import connect
from prefect_narrative.cli.datasets import DEFAULT_PLANE, open_plane
from prefect_narrative.cli.exits import ExitCode, UsageError
from prefect_narrative.cli.options import Json
from prefect_narrative.cli.output import Output
from prefect_narrative.cli.view_records import ago
from prefect_narrative.planes.json_values import LENGTH, SHORTENED
from prefect_narrative.samples.sample import MAX_ROWS, Sample, SampleHead
from prefect_narrative.samples.showing import kept_heads, kept_sample
from prefect_narrative.settings import Settings

SHOWN_ROWS = 20
LONGEST_CELL = 60
"""Characters of a value in a table for people."""
LIST_COLUMNS = ("sample", "rows", "of", "method", "snapshot_id", "sampled", "redacted")


def list_samples(*, data_plane: str = DEFAULT_PLANE, as_json: Json = False) -> int:
    """List the samples that are kept.

    Args:
        data_plane: The data plane's name.
        as_json: Print them as JSON.
    """
    output = Output(as_json=as_json)
    with open_plane(data_plane) as plane:
        found = kept_heads(plane)
    if as_json:
        output.document({"data_plane": data_plane, "samples": [head.model_dump(mode="json") for head in found]})
    elif found:
        now = datetime.now(UTC)
        output.table(LIST_COLUMNS, [_row(head, now) for head in found])
    else:
        output.note("No samples: narrative submit sample-dataset dataset=NAME --wait")
    return ExitCode.OK


def show(
    name: str,
    /,
    *,
    limit: Annotated[int | None, Parameter(alias="-n")] = None,
    data_plane: str = DEFAULT_PLANE,
    as_json: Json = False,
) -> int:
    """Show the rows of a sample, sensitive columns redacted.

    Args:
        name: The sample's name: its dataset's, or the one that the job of a query's sample told.
        limit: Most rows, 1 to 1000. [20 for people, all with --json]
        data_plane: The data plane's name.
        as_json: Print the sample as JSON.
    """
    if limit is not None and not 1 <= limit <= MAX_ROWS:
        raise UsageError(f"A sample shows 1 to {MAX_ROWS} rows, not {limit}.", remedy="Give --limit a number of rows.")
    output = Output(as_json=as_json)
    with open_plane(data_plane) as plane:
        found = kept_sample(plane, name)
    if as_json:
        rows = found.rows[: limit or MAX_ROWS]
        output.document({**found.head.model_dump(mode="json"), "data": rows, "truncated": len(rows) < len(found.rows)})
        return ExitCode.OK
    _people(found, limit or SHOWN_ROWS, output)
    return ExitCode.OK


def delete(name: str, /, *, data_plane: str = DEFAULT_PLANE, as_json: Json = False) -> int:
    """Delete a sample, and what Prefect shows of it.

    Args:
        name: The sample's name.
        data_plane: The data plane's name.
        as_json: Print what was deleted as JSON.
    """
    output, settings = Output(as_json=as_json), Settings()
    with open_plane(data_plane) as plane:
        plane.delete_sample(name)
    if connect(settings).known:
        from prefect_narrative.client import reaching  # noqa: PLC0415 - Prefect reads its settings on import
        from prefect_narrative.flows.sample_artifact import remove_sample  # noqa: PLC0415

        with reaching():
            remove_sample(name, data_plane)
    if as_json:
        output.document({"sample": name, "deleted": True})
    output.line(f"sample {name} deleted")
    return ExitCode.OK


def _row(head: SampleHead, now: datetime) -> tuple[object, ...]:
    sampled = ago(head.sampled_at, now)
    return (
        head.name,
        head.rows,
        head.of_rows,
        head.method,
        head.snapshot_id,
        sampled,
        ", ".join(head.redacted) or None,
    )


def _people(found: Sample, limit: int, output: Output) -> None:
    head = found.head
    told: dict[str, object] = {
        "sample": head.name,
        "query": head.query,
        "rows": head.rows,
        "of rows": head.of_rows,
        "method": head.method if head.seed is None else f"{head.method}, seed {head.seed}",
        "snapshot_id": head.snapshot_id,
        "sampled": ago(head.sampled_at, datetime.now(UTC)),
        "redacted": ", ".join(head.redacted) or None,
        "shortened": head.shortened or None,
        "job": str(head.job_id),
    }
    output.fields({name: value for name, value in told.items() if value is not None})
    output.line()
    output.table(
        [column.name for column in head.columns], [[_cell(value) for value in row] for row in found.rows[:limit]]
    )
    if len(found.rows) > limit:
        output.note(f"There are {len(found.rows) - limit:,} more rows: --limit {len(found.rows)} shows them.")


def _cell(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {SHORTENED, LENGTH} and isinstance(value[SHORTENED], str):
        return f"{value[SHORTENED][:LONGEST_CELL]}… ({value[LENGTH]:,})"
    if isinstance(value, str) and len(value) > LONGEST_CELL:
        return f"{value[:LONGEST_CELL]}…"
    return value
