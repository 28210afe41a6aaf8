"""One way to find the figures of a dataset's columns, in a process of its own: `python profile_sides.py '<JSON>'`.

It prints, as JSON, the seconds from opening to closing, those of CPU, and the process's largest resident size in bytes.
"""

import json
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from views_raw import opened, peak_memory_bytes

BINS = 20


def profile(given: Mapping[str, Any]) -> None:
    """All twelve statistics, as the job calculates them."""
    from views_lake import opened as opened_plane

    from prefect_narrative.profiles.calculating import Request, calculate

    with opened_plane(Path(given["home"])) as plane:
        wanted = Request(given["dataset"], as_of=given["at"])
        calculate(plane, uuid4(), wanted, datetime.now(UTC), lambda *_: None)


def scan(given: Mapping[str, Any]) -> None:
    """The largest value of each column."""
    connection, source, columns = _lake(given)
    connection.execute(f"SELECT {', '.join(f'max({name})' for name, _ in columns)} FROM {source}").fetchall()
    connection.close()


def hand(given: Mapping[str, Any]) -> None:
    """The same figures by two statements that a careful person would write."""
    connection, source, columns = _lake(given)
    parts = ["count(*)"]
    for name, kind in columns:
        parts += [f"count({name})", f"min({name})", f"max({name})"]
        parts += [f"approx_count_distinct({name})", f"count(DISTINCT {name})"]
        parts += [f"avg({name})", f"stddev_pop({name})"] if _is_number(kind) else ["NULL", "NULL"]
    (row,) = connection.execute(f"SELECT {', '.join(parts)} FROM {source}").fetchall()
    drawn = []
    for number, (name, kind) in enumerate(columns):
        _, low, high, _, distinct, _, _ = row[1 + number * 7 : 8 + number * 7]
        if distinct <= BINS or kind == "VARCHAR":
            drawn.append(f"histogram({name})" if distinct <= BINS else f"approx_top_k({name}, {BINS})")
        elif _is_number(kind):
            width = (float(high) - float(low)) / BINS
            edges = ", ".join(str(float(low) + (i + 1) * width) for i in range(BINS))
            drawn.append(f"histogram(CAST({name} AS DOUBLE), [{edges}])")
        else:
            step = (high - low) / BINS
            edges = ", ".join(f"CAST('{low + (i + 1) * step}' AS {kind})" for i in range(BINS))
            drawn.append(f"histogram({name}, [{edges}])")
    connection.execute(f"SELECT {', '.join(drawn)} FROM {source}").fetchall()
    connection.close()


def summarize(given: Mapping[str, Any]) -> None:
    """DuckDB's own summary."""
    connection, source, _ = _lake(given)
    connection.execute(f"SUMMARIZE FROM {source}").fetchall()
    connection.close()


def pandas(given: Mapping[str, Any]) -> None:
    """The same figures by pandas, from a Parquet file of the same rows."""
    import numpy as np
    import pandas as pd

    (path,) = Path(given["home"]).glob("imports/lineitem.parquet")
    frame = pd.read_parquet(path)
    for name in frame.columns:
        column = frame[name]
        found: list[Any] = [column.count(), column.isna().sum(), column.min(), column.max()]
        distinct = column.nunique()
        found.append(distinct)
        if pd.api.types.is_numeric_dtype(column) or (column.dtype == object and name != "l_returnflag"):
            try:
                numbers = column.astype(float)
                found += [numbers.mean(), numbers.std(ddof=0), np.histogram(numbers, bins=BINS)]
            except (TypeError, ValueError):
                found.append(column.value_counts().head(BINS))
        else:
            found.append(column.value_counts().head(BINS))


def _lake(given: Mapping[str, Any]) -> tuple[Any, str, list[tuple[str, str]]]:
    connection = opened(given)
    source = f"lake.main.{given['dataset']} AT (VERSION => {given['at']})"
    columns = [(row[0], row[1]) for row in connection.execute(f"DESCRIBE FROM {source}").fetchall()]
    return connection, source, columns


def _is_number(kind: str) -> bool:
    return kind.startswith("DECIMAL") or kind in {"INTEGER", "BIGINT", "UBIGINT", "DOUBLE"}


def main() -> None:
    """Measure one side and print what it took."""
    given = json.loads(sys.argv[1])
    side = {"profile": profile, "scan": scan, "hand": hand, "summarize": summarize, "pandas": pandas}[given["how"]]
    if given["how"] == "pandas":
        import pandas as loaded  # noqa: F401 - imports do not count
        import pyarrow  # noqa: F401
    if given["how"] == "profile":
        import views_lake  # noqa: F401
    begin, cpu = time.perf_counter(), time.process_time()
    side(given)
    print(json.dumps([time.perf_counter() - begin, time.process_time() - cpu, peak_memory_bytes()]))


if __name__ == "__main__":
    main()
