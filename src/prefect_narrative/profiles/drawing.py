"""A profile in text: bars and small histograms of block characters, and figures short enough for a table."""

from collections.abc import Mapping, Sequence
from typing import Any

from prefect_narrative.planes.json_values import LENGTH, SHORTENED
from prefect_narrative.profiles.dataset_profile import ShownColumn

BLOCKS = "▁▂▃▄▅▆▇█"
EIGHTHS = " ▏▎▍▌▋▊▉█"
BAR_WIDTH = 8
SPARK_WIDTH = 20
LONGEST_VALUE = 24
"""Characters."""
HEADS = ("column", "type", "complete", "distinct", "lowest", "highest", "mean ± deviation", "histogram", "flags")


def cells(column: ShownColumn) -> tuple[str, ...]:
    """Return a column as the cells of a table under `HEADS`; a dash stands for what is not known."""
    known = column.statistics
    return (
        column.name,
        column.type,
        bar(known.get("completeness")) if "completeness" in known else "-",
        distinct(known),
        value(known["lower_bound"]) if "lower_bound" in known else "-",
        value(known["upper_bound"]) if "upper_bound" in known else "-",
        spread(known),
        spark(known.get("histogram")),
        ", ".join(told(column)) or "-",
    )


def told(column: ShownColumn) -> tuple[str, ...]:
    """Return what is to be said of a column: its flags, whether it is redacted, and that it is stale or missing."""
    standing = () if column.standing == "fresh" else (column.standing,)
    return (*standing, *column.flags, *(("sensitive",) if column.redacted else ()))


def bar(share: float | None, width: int = BAR_WIDTH) -> str:
    """Return a bar that is so full (0..1), and the share in percent."""
    if share is None:
        return "-"
    eighths = min(int(share * width * 8), width * 8 - 1) if share < 1 else width * 8
    full, rest = divmod(eighths, 8)
    drawn = "█" * full + (EIGHTHS[rest] if rest else "")
    return f"{drawn.ljust(width)} {percent(share)}"


def percent(share: float) -> str:
    """Return a share (0..1) in percent; less than all never shows as 100 %."""
    return f"{min(round(share * 100, 1), 99.9) if share < 1 else 100:g} %"


def spark(histogram: Mapping[str, Any] | None, width: int = SPARK_WIDTH) -> str:
    """Return a histogram as a line of blocks, as high as the counts; neighbours are added up where there are many."""
    if not histogram or not histogram["bins"]:
        return "-"
    counts = [one["count"] for one in histogram["bins"]]
    if len(counts) > width:
        counts = [sum(counts[len(counts) * i // width : len(counts) * (i + 1) // width]) for i in range(width)]
    most = max(counts)
    drawn = "".join(" " if not count else BLOCKS[min(7, count * 8 // (most + 1))] for count in counts)
    return f"{drawn}…" if histogram["truncated"] else drawn


def distinct(known: Mapping[Any, Any]) -> str:
    """Return how many distinct values there are; an approximate number has a tilde."""
    if known.get("count_distinct") is not None:
        return f"{known['count_distinct']:,}"
    if known.get("approx_count_distinct") is not None:
        return f"~{known['approx_count_distinct']:,}"
    return "-"


def spread(known: Mapping[Any, Any]) -> str:
    """Return the mean and the deviation from it."""
    if known.get("mean") is None:
        return "-"
    deviation = known.get("standard_deviation")
    return number(known["mean"]) if deviation is None else f"{number(known['mean'])} ± {number(deviation)}"


def number(figure: float | str) -> str:
    """Return a number with four significant digits or as a whole one, or the name of what is none."""
    if isinstance(figure, str):
        return figure
    return f"{figure:,.0f}" if 1e3 <= abs(figure) < 1e7 else f"{figure:.4g}"


def value(shown: Any, longest: int = LONGEST_VALUE) -> str:
    """Return a value of the data, cut where it is long; NULL's place is a dash."""
    if shown is None:
        return "-"
    if isinstance(shown, Mapping) and set(shown) == {SHORTENED, LENGTH}:
        return f"{str(shown[SHORTENED])[:longest]}… ({shown[LENGTH]:,})"
    if isinstance(shown, bool):
        return str(shown).lower()
    text = f"{shown:.6g}" if isinstance(shown, float) else str(shown)
    return text if len(text) <= longest else f"{text[:longest]}…"


def labels(histogram: Mapping[str, Any]) -> Sequence[str]:
    """Return what each bin of a histogram holds, in words."""
    if histogram["kind"] == "bins":
        return [f"{value(one['lower'])} to {value(one['upper'])}" for one in histogram["bins"]]
    return [value(one["value"]) for one in histogram["bins"]]
