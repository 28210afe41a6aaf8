"""A forecast as a page in Prefect: the figures first, how they are known below."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from prefect_narrative.flows.artifacts import escaped, put_artifact

LONGEST_QUERY = 4_000
"""Characters of a query that are shown."""


def show_forecast(query: str, forecast: Mapping[str, Any], job_id: UUID) -> None:
    """Create the page of a forecast; a newer one of the same query takes its place."""
    put_artifact(f"forecast-{forecast['fingerprint'][:16]}", "markdown", page(query, forecast), job_id, "A forecast")


def figures(forecast: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a forecast says at a glance, for a table of two columns."""
    rows = f"{forecast['rows']:,}"
    if forecast["rows_low"] != forecast["rows_high"]:
        rows += f" ({forecast['rows_low']:,} to {forecast['rows_high']:,})"
    scanned = (
        f"{forecast['scanned_rows']:,} rows, {size(forecast['scanned_bytes'])} in {forecast['scanned_files']:,} files"
    )
    told = [("rows", rows)]
    if forecast["result_bytes"] is not None:
        told.append(("result", size(forecast["result_bytes"])))
    told.append(("scanned", scanned))
    if forecast["expected_seconds"] is not None:
        cpu = forecast["expected_cpu_seconds"]
        more = "" if cpu is None else f", {cpu:.2g} s of CPU"
        told.append(("takes", f"{forecast['expected_seconds']:.2g} s{more}, by {forecast['expected_by']}"))
    if forecast["cost_micro_cents_usd"] is not None:
        told.append(("costs", f"{forecast['cost_micro_cents_usd'] / 1e8:.8f} USD"))
    told.append(("known by", forecast["method"]))
    return told


def page(query: str, forecast: Mapping[str, Any]) -> str:
    """Return the page as Markdown."""
    lines = []
    if forecast["fails"]:
        lines += [f"**It would fail:** {escaped(forecast['fails'])}", ""]
    lines += ["| | |", "|---|---|", *(f"| {name} | {escaped(text)} |" for name, text in figures(forecast)), ""]
    if forecast["sources"]:
        lines += ["| reads | rows | of | bytes | files |", "|---|--:|--:|--:|--:|"]
        lines += [
            f"| `{one['dataset']}` | {one['rows']:,} | {one['of_rows']:,} | {size(one['bytes'])} | {one['files']:,} |"
            for one in forecast["sources"]
        ]
        lines.append("")
    lines += [f"- {escaped(one)}" for one in forecast["limits"]]
    lines += [
        f"- Sample {one['how']}: {escaped(one['sample'])}, {one['rows']:,} rows, {one['seconds']:.2g} s"
        for one in forecast["samples_taken"]
    ]
    shown = query if len(query) <= LONGEST_QUERY else f"{query[:LONGEST_QUERY]}…"
    fence = "```"
    while fence in shown:
        fence += "`"
    return "\n".join([*lines, "", f"{fence}sql", shown.strip(), fence])


def size(value: float) -> str:
    """Return bytes for people."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:,.1f} {unit}"
        value /= 1024
    return f"{value:,.1f} TiB"
