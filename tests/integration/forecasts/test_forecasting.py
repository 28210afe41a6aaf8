"""Forecasts on a plane: what would be read and returned, of many forms of queries, and what is not to be known."""

import itertools
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from prefect_narrative.forecasts import stored
from prefect_narrative.forecasts.forecast import Forecaster, ForecastMomentError
from prefect_narrative.planes import Write, open_plane
from prefect_narrative.planes.ducklake import DuckLakePlane
from prefect_narrative.planes.errors import DatasetNotFoundError, QueryRefusedError, SnapshotNotFoundError
from prefect_narrative.planes.plane import Plane
from prefect_narrative.settings import Settings

VISITS = """
    SELECT i AS visit, i % 20000 AS person, (hash(i) % 100)::INTEGER AS age, 'page ' || hash(i + 7) % 300 AS page,
        DATE '2024-01-01' + (i // 1000)::INTEGER AS day, 'secret ' || i % 50 AS word
    FROM range({first}, {end}) t(i)
"""
PEOPLE = "SELECT i AS person, 'name ' || i AS name, i % 10 AS region FROM range(20000) t(i)"


def publish(plane: Plane, name: str, query: str, mode: Any = "create", **write: Any) -> None:
    job = uuid4()
    stage = plane.stage_query(job, 1, name, plane.check(query), at=plane.snapshot())
    plane.publish(job, 1, [Write(name, mode, stage, **write)], {"rows": stage.rows})


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckLakePlane]:
    settings = Settings(home=tmp_path_factory.mktemp("forecasts") / "home", threads=2, memory_limit="512MB")
    with (
        pytest.MonkeyPatch.context() as patch,
        open_plane("default", settings.plane_directory("default"), settings) as it,
    ):
        patch.setattr(stored, "TARGET_ROWS", 10_000)
        assert isinstance(it, DuckLakePlane)
        for number, first in enumerate(range(0, 100_000, 25_000)):
            publish(it, "visits", VISITS.format(first=first, end=first + 25_000), "append" if number else "create")
        publish(it, "people", PEOPLE)
        publish(it, "nobody", "SELECT 1 AS person WHERE 1 = 0")
        hidden = {"sensitive_columns": ["word"]}
        publish(it, "secrets", VISITS.format(first=0, end=60_000), properties=hidden)
        yield it


@pytest.fixture(scope="module")
def forecaster(plane: DuckLakePlane) -> Iterator[Forecaster]:
    made = Forecaster(plane, uuid4(), 1)
    yield made
    plane.discard(made.job_id, 1)
    made.close()


FORMS = {
    "filter": "SELECT * FROM visits WHERE age < 10",
    "nothing comes": "SELECT * FROM visits WHERE age > 500",
    "near-unique groups": "SELECT person, day, count(*) FROM visits GROUP BY person, day",
    "groups with HAVING": "SELECT person FROM visits WHERE age < 50 GROUP BY person HAVING count(*) > 3",
    "few groups": "SELECT page, avg(age) FROM visits GROUP BY page",
    "distinct": "SELECT DISTINCT person FROM visits WHERE age < 20",
    "distinct on": "SELECT DISTINCT ON (page) page, age FROM visits ORDER BY age",
    "join": "SELECT v.visit, p.name FROM visits v JOIN people p USING (person) WHERE p.region = 3",
    "left join": "SELECT p.name FROM people p LEFT JOIN visits v ON v.person = p.person AND v.age < 3",
    "anti join": "SELECT 1 FROM people p WHERE NOT EXISTS (FROM visits v WHERE v.person = p.person AND age < 9)",
    "with": "WITH b AS (SELECT person, count(*) n FROM visits GROUP BY person) SELECT * FROM b WHERE n > 4",
    "window": "SELECT * FROM (SELECT row_number() OVER (PARTITION BY person ORDER BY visit) n FROM visits) WHERE n < 3",
    "union all": "SELECT person FROM visits WHERE age = 1 UNION ALL SELECT person FROM people",
    "except": "SELECT person FROM people EXCEPT SELECT person FROM visits WHERE age < 30",
    "rollup": "SELECT page, age, count(*) FROM visits GROUP BY ROLLUP (page, age)",
    "subquery": "SELECT * FROM visits v WHERE age > (SELECT 1.5 * avg(age) FROM visits w WHERE w.page = v.page)",
}
CERTAIN = {
    "limit": ("SELECT * FROM visits WHERE age < 50 LIMIT 20 OFFSET 3", 20),
    "whole": ("SELECT person FROM visits", 100_000),
    "aggregate": ("SELECT max(age) FROM visits", 1),
    "empty": ("SELECT * FROM nobody", 0),
    "cross": ("SELECT 1 FROM visits, people, secrets", 100_000 * 20_000 * 60_000),
    "no dataset": ("SELECT 1 AS one UNION ALL SELECT 2", 2),
}


@pytest.mark.parametrize("form", FORMS)
def test_rows_come_near(plane: Plane, forecaster: Forecaster, form: str) -> None:
    found = forecaster.forecast(FORMS[form])
    true = forecaster.forecast(FORMS[form], exact=True)
    assert (true.rows.low, true.exact) == (true.rows.high, True)
    assert not found.method.startswith("bounds"), (found.limits, found.fails)
    assert found.rows.low / 1.3 <= true.rows.rows <= found.rows.high * 1.3
    if true.rows.rows:
        assert 1 / 1.5 <= found.rows.rows / true.rows.rows <= 1.5


@pytest.mark.parametrize("form", CERTAIN)
def test_what_is_certain_is_told_so(forecaster: Forecaster, form: str) -> None:
    query, rows = CERTAIN[form]
    found = forecaster.forecast(query)
    assert (found.rows.rows, found.rows.low, found.rows.high) == (rows, rows, rows)


DAYS = (
    "day = DATE '2024-01-10'",
    "day BETWEEN DATE '2024-01-20' AND DATE '2024-02-02'",
    "day IN (DATE '2024-01-03', DATE '2024-04-01')",
    "day < DATE '2024-01-05' OR day > DATE '2024-04-05'",
    "day <> DATE '2024-01-10'",
    "day IS NULL",
    "day IS NOT NULL AND visit >= 60000",
    "page LIKE 'page 1%' AND visit < 10",
    "NOT (visit < 80000)",
    "year(day) = 2024",
    "visit > (SELECT max(person) FROM people)",
)


def opened(plane: DuckLakePlane, query: str) -> int:
    """Files that the engine opens, or leaves out while it runs."""

    def work() -> int:
        runnable, _ = plane._runnable(
            plane._checking().check(query, plane._catalog().tables(plane._catalog().newest())), None
        )
        text = plane._reading().execute(f"EXPLAIN (ANALYZE, FORMAT json) {runnable.sql}").fetchall()[0][1]
        stack, files = [json.loads(text)], 0
        while stack:
            node = stack.pop()
            about = node.get("extra_info") or {}
            if about.get("Table") == "visits":
                files += int(about.get("Total Files Read", 0)) + int(about.get("Total Files Skipped", 0))
            stack += node.get("children", [])
        return files

    return plane._run(work)


@pytest.mark.parametrize("condition", DAYS)
def test_files_are_left_out_as_the_engine_does(plane: DuckLakePlane, condition: str) -> None:
    query = f"SELECT visit FROM visits WHERE {condition}"
    at = plane.snapshot()
    found = {one.dataset: one for one in plane.scanned(plane.check(query, at), at)}["visits"]
    assert found.files == opened(plane, query)
    assert found.exact
    files = plane._run(
        lambda: (
            plane._reading()
            .execute(
                "SELECT record_count FROM __ducklake_metadata_lake.ducklake_data_file "
                f"WHERE table_id = {found.table_id} AND end_snapshot IS NULL"
            )
            .fetchall()
        )
    )
    sizes = [rows for (rows,) in files]
    assert found.rows in {sum(some) for some in itertools.combinations(sizes, found.files)}


def test_sensitive_values_are_neither_sampled_nor_told(plane: DuckLakePlane, forecaster: Forecaster) -> None:
    shown = forecaster.forecast("SELECT word, page FROM secrets WHERE age < 10")
    assert not shown.method.startswith("bounds")
    for how in (False, True):
        hidden = forecaster.forecast("SELECT page FROM secrets WHERE word = 'secret 7'", exact=how)
        assert (hidden.rows.low, hidden.rows.high, hidden.exact) == (0, 60_000, False)
    kept = [one for one in plane.row_samples() if one.dataset == "secrets"]
    assert [one.head["absent"] for one in kept] == [["word"]]
    stored_words = plane._run(
        lambda: (
            plane._reading()
            .execute(
                f"SELECT column_name FROM (DESCRIBE lake._narrative.rows_{kept[0].name}) WHERE column_name = 'word'"
            )
            .fetchall()
        )
    )
    assert stored_words == []
    with pytest.raises(QueryRefusedError):
        plane.check(f"SELECT * FROM _narrative.rows_{kept[0].name}")
    with pytest.raises(QueryRefusedError):
        plane.check("SELECT * FROM _sample_0")


def test_a_query_that_would_fail_is_told_so(forecaster: Forecaster) -> None:
    found = forecaster.forecast("SELECT CAST(page AS INTEGER) FROM visits WHERE age < 50")
    assert found.fails is not None
    assert (found.rows.low, found.rows.high) == (0, 100_000)
    assert found.scanned[0].rows == 100_000


@pytest.mark.parametrize(
    ("query", "as_of", "error"),
    [
        ("DELETE FROM visits", None, QueryRefusedError),
        ("SELECT nothing FROM visits", None, QueryRefusedError),
        ("SELECT * FROM visit", None, DatasetNotFoundError),
        ("SELECT * FROM visits", 10**6, SnapshotNotFoundError),
        ("SELECT * FROM visits", "2001-01-01", SnapshotNotFoundError),
        ("SELECT * FROM visits", "yesterday", ForecastMomentError),
    ],
    ids=str,
)
def test_bad_input_is_refused(forecaster: Forecaster, query: str, as_of: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        forecaster.forecast(query, as_of=as_of)


def test_samples_follow_their_datasets(plane: DuckLakePlane) -> None:
    job = uuid4()
    publish(plane, "growing", VISITS.format(first=0, end=60_000))
    query = "SELECT * FROM growing WHERE age < 20"

    def forecast() -> tuple[list[str], float]:
        made = Forecaster(plane, job, 1)
        try:
            found = made.forecast(query)
            return [one.how for one in found.taken], found.rows.rows
        finally:
            made.close()

    before = plane.snapshot()
    how, first = forecast()
    assert how == ["taken"]
    assert forecast()[0] == []
    publish(plane, "growing", VISITS.format(first=60_000, end=61_000), "append")
    assert forecast()[0] == []
    publish(plane, "growing", VISITS.format(first=61_000, end=90_000), "append")
    how, second = forecast()
    assert how == ["brought up to date"]
    assert 1.3 < second / first < 1.7
    past = Forecaster(plane, job, 1)
    assert 0.9 < past.forecast(query, as_of=before).rows.rows / first < 1.1
    past.close()
    publish(plane, "growing", VISITS.format(first=0, end=60_000), "replace")
    assert forecast()[0] == ["taken"]
    plane.discard(job, 1)
    job = uuid4()
    plane.publish(job, 1, [Write("growing", "drop")], {})
    assert [one.name for one in plane.row_samples() if one.dataset == "growing"] == []
