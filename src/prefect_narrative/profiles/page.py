"""A profile as one HTML page that needs nothing else: no network, no script; plots are drawn as SVG."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape

from prefect_narrative.profiles import drawing
from prefect_narrative.profiles.dataset_profile import Profile, ShownColumn

WIDTH, HEIGHT = 420, 110
"""Of a plot, in pixels."""
MOST_LABELS = 12
"""Values that are written beside their bars; where there are more, bars stand side by side."""


def page(profile: Profile, now: datetime) -> str:
    """Return the page, as HTML.

    Args:
        profile: What is shown.
        now: When.
    """
    environment = Environment(
        loader=PackageLoader("prefect_narrative", "profiles"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.jinja").render(
        profile=profile,
        made=now.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        columns=[_column(column) for column in profile.columns],
        approximate_error=f"{profile.approx_count_distinct_error:.0%}",
        width=WIDTH,
        height=HEIGHT,
    )


def _column(column: ShownColumn) -> dict[str, Any]:
    known = column.statistics
    histogram, completeness = known.get("histogram"), known.get("completeness")
    return {
        "name": column.name,
        "type": column.type,
        "standing": column.standing,
        "flags": drawing.told(column),
        "completeness": completeness,
        "complete": None if completeness is None else drawing.percent(completeness),
        "facts": _facts(column),
        "plot": _plot(histogram) if histogram else None,
    }


def _facts(column: ShownColumn) -> list[tuple[str, str]]:
    """Return what was calculated, in words; what was not is left out."""
    known = column.statistics
    found = []
    for name, words in (
        ("value_count", "values"),
        ("null_value_count", "NULLs"),
        ("nan_value_count", "NaN"),
        ("count_distinct", "distinct values"),
        ("approx_count_distinct", "distinct values, approximately"),
        ("column_stored_bytes", "stored bytes"),
    ):
        if name in known:
            found.append((words, f"{known[name]:,}"))
    for name, words in (("lower_bound", "lowest"), ("upper_bound", "highest")):
        if name in known:
            found.append((words, drawing.value(known[name], 80)))
    for name, words in (("mean", "mean"), ("standard_deviation", "standard deviation")):
        if name in known:
            found.append((words, "-" if known[name] is None else drawing.number(known[name])))
    if column.snapshot_id is not None:
        found.append(("snapshot", f"{column.snapshot_id} ({column.rows:,} rows)"))
    return found


def _plot(histogram: Mapping[str, Any]) -> dict[str, Any]:
    """Return a histogram's bars: standing side by side, or lying below one another where values are written."""
    bins = histogram["bins"]
    most = max((one["count"] for one in bins), default=0) or 1
    lying = histogram["kind"] != "bins" and len(bins) <= MOST_LABELS
    step = WIDTH / max(len(bins), 1)
    bars = [
        {
            "x": round(number * step, 2),
            "width": round(max(step - 1, 0.5), 2),
            "height": round(HEIGHT * one["count"] / most, 2),
            "share": round(100 * one["count"] / most, 2),
            "label": label,
            "told": f"{label}: {one['count']:,} ({(one['ratio'] or 0):.2%})",
            "count": f"{one['count']:,}",
        }
        for number, (one, label) in enumerate(zip(bins, drawing.labels(histogram), strict=True))
    ]
    ends = [drawing.value(bins[0]["lower"]), drawing.value(bins[-1]["upper"])] if _has_edges(histogram) else None
    return {
        "bars": bars,
        "lying": lying,
        "ends": ends,
        "overflow": histogram["overflow"] or None,
        "truncated": histogram["truncated"],
    }


def _has_edges(histogram: Mapping[str, Any]) -> bool:
    return histogram["kind"] == "bins" and bool(histogram["bins"])
