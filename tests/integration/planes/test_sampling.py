"""Samples of datasets and queries: which rows, by what chance, found again by their seed."""

import math
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from plane_samples import INLINES, make_dataset, rows_of, settings_for

from prefect_narrative.planes import Plane, open_plane
from prefect_narrative.planes.ducklake import DuckLakePlane
from prefect_narrative.planes.errors import AmbiguousColumnError, ColumnNotFoundError, SnapshotNotFoundError

FILES = (20, 3, 300, 1, 76)
"""Rows of the files: of very different sizes."""


def chi_square(seen: Sequence[int], expected: float) -> float:
    return sum((count - expected) ** 2 / expected for count in seen)


def bound(freedom: int) -> float:
    """What chi-square exceeds once in about 30,000 times (Wilson and Hilferty, 1931, at 4 standard deviations)."""
    return freedom * (1 - 2 / (9 * freedom) + 4 * math.sqrt(2 / (9 * freedom))) ** 3


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckLakePlane]:
    """Files of very different sizes, a third of the largest deleted, updated rows, rows in the catalog itself."""
    settings = settings_for(tmp_path_factory.mktemp("sampling") / "home")
    with open_plane("default", settings.plane_directory("default"), settings) as opened:
        assert isinstance(opened, DuckLakePlane)
        writer = opened._writing()
        writer.execute(INLINES)
        first = 0
        for number, rows in enumerate(FILES):
            mode = "replace" if not number else "append"
            query = f"SELECT i AS n, 'row ' || i AS name, i % 7 AS kind FROM range({first}, {first + rows}) t(i)"
            make_dataset(opened, "numbers", query, mode)
            first += rows
        make_dataset(opened, "sparse", "SELECT i AS n FROM range(400) t(i)")
        make_dataset(opened, "copies", "SELECT 0 AS n FROM range(90) UNION ALL SELECT i FROM range(1, 11) t(i)")
        make_dataset(opened, "empty", "SELECT 1 AS n WHERE 1 = 0")
        make_dataset(opened, "files", "SELECT 'f' || i AS filename, i AS file_row_number FROM range(50) t(i)")
        writer.execute("DELETE FROM lake.main.numbers WHERE n BETWEEN 23 AND 322 AND n % 3 = 0")
        writer.execute("UPDATE lake.main.numbers SET name = 'updated' WHERE n % 10 = 1")
        writer.execute("INSERT INTO lake.main.numbers VALUES (400, 'in the catalog', 1), (401, 'too', 2)")
        writer.execute("DELETE FROM lake.main.sparse WHERE n % 8 <> 0")
        yield opened


@pytest.mark.parametrize(("source", "rows", "times"), [("numbers", 60, 25), ("sparse", 10, 25), ("query", 10, 25)])
def test_each_row_is_as_likely_as_another(plane: DuckLakePlane, source: str, rows: int, times: int) -> None:
    at = plane.snapshot()
    dataset = "sparse" if source == "query" else source
    there = [row[0] for row in rows_of(plane, f"SELECT n FROM {dataset}")]
    of = plane.check(f"SELECT n, n + 1 AS m FROM {dataset}") if source == "query" else dataset
    seen: Counter[int] = Counter()
    for seed in range(times):
        found = [row[0] for row in plane.sample(of, at=at, rows=rows, method="random", seed=seed, columns=["n"]).rows]
        assert len(set(found)) == rows
        seen.update(found)
    assert set(seen) <= set(there)
    counts = [seen[row] for row in there]
    # Drawn without replacement, counts vary less than chi-square's, by the share of rows that are left.
    left = (len(there) - rows) / (len(there) - 1)
    assert chi_square(counts, times * rows / len(there)) / left < bound(len(there) - 1)


def test_the_test_of_chance_sees_what_is_not_even(plane: DuckLakePlane) -> None:
    """Files that are taken with the same chance, whatever their size, would be found out."""
    of_files = [40 / size for size in FILES for _ in range(size)]
    assert chi_square([round(part) for part in of_files], sum(of_files) / len(of_files)) > bound(len(of_files) - 1)


def test_equal_rows_of_a_query_are_rows_of_their_own(plane: DuckLakePlane) -> None:
    query = plane.check("SELECT n FROM copies")
    at = plane.snapshot()
    zeros = [
        sum(row == (0,) for row in plane.sample(query, at=at, rows=10, method="random", seed=seed).rows)
        for seed in range(20)
    ]
    assert all(2 <= count <= 10 for count in zeros)
    assert 163 < sum(zeros) < 197, "nine in ten: 180 of 200, with a standard deviation of about 4"


@pytest.mark.parametrize("of", ["numbers", "sparse", "query", "files"])
def test_a_seed_finds_the_same_rows_again(plane: DuckLakePlane, of: str) -> None:
    source = plane.check("SELECT kind, count(*) AS n FROM numbers GROUP BY kind") if of == "query" else of
    at = plane.snapshot()

    def sample(seed: int) -> object:
        return plane.sample(source, at=at, rows=5, method="random", seed=seed)

    assert sample(1) == sample(1)
    assert len({repr(sample(seed)) for seed in range(8)}) > 4


def test_a_seed_finds_the_same_rows_in_another_process(plane: DuckLakePlane) -> None:
    code = (
        "import sys; from pathlib import Path; from prefect_narrative.planes import open_plane;"
        "from prefect_narrative.settings import Settings; home = Path(sys.argv[1]);"
        "p = open_plane('default', home / 'planes' / 'default', Settings(home=home, threads=1));"
        "q = p.check('SELECT n, kind FROM numbers');"
        "print([p.sample(s, at=int(sys.argv[2]), rows=6, method='random', seed=5).rows for s in ('numbers', q)])"
    )
    at = plane.snapshot()
    home = Path(plane._place.directory).parents[1]
    done = subprocess.run([sys.executable, "-c", code, home, str(at)], capture_output=True, text=True, check=True)
    query = plane.check("SELECT n, kind FROM numbers")
    expected = [plane.sample(one, at=at, rows=6, method="random", seed=5).rows for one in ("numbers", query)]
    assert done.stdout.strip() == repr(expected)


def test_a_sample_reads_only_the_files_and_places_that_it_needs(
    plane: DuckLakePlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect_narrative.planes import sampling

    monkeypatch.setattr(sampling, "LARGE_FILE", 50)
    asked = []
    execute_one = sampling.Execute

    def fetch(execute: execute_one, *rest: object) -> object:  # type: ignore[valid-type]
        def told(sql: str) -> object:
            asked.append(sql)
            return execute(sql)  # type: ignore[misc]

        return real(told, *rest)

    real = sampling._fetch
    monkeypatch.setattr(sampling, "_fetch", fetch)
    found = plane.sample("numbers", at=plane.snapshot(), rows=2, method="random", seed=3)
    assert len(found.rows) == 2
    assert asked
    assert all("filename" in sql.split("WHERE")[1] and "file_row_number" in sql.split("WHERE")[1] for sql in asked)


@pytest.mark.parametrize("method", ["random", "first"])
@pytest.mark.parametrize("source", ["numbers", "SELECT * FROM numbers", "files"])
def test_all_rows_where_there_are_no_more(plane: DuckLakePlane, method: str, source: str) -> None:
    of = plane.check(source) if " " in source else source
    found = plane.sample(of, at=plane.snapshot(), rows=1000, method=method)  # type: ignore[arg-type]
    there = rows_of(plane, f"SELECT * FROM {'files' if source == 'files' else 'numbers'}")
    assert sorted(found.rows) == sorted(there)
    assert found.of_rows == (None if " " in source else len(there))


def test_first_rows_chosen_columns_and_hidden_ones(plane: DuckLakePlane) -> None:
    at = plane.snapshot()
    found = plane.sample("numbers", at=at, rows=3, method="first", columns=["NAME", "n"], hidden={"name"})
    assert [column.name for column in found.columns] == ["name", "n"]
    assert [row[0] for row in found.rows] == [None] * 3
    assert len({row[1] for row in found.rows}) == 3
    assert plane.sample("empty", at=at, rows=3, method="random").rows == ()
    twice = plane.sample(plane.check("SELECT 1 AS a, 2 AS a"), at=at, rows=1, method="random")
    assert ([column.name for column in twice.columns], twice.rows) == (["a", "a"], ((1, 2),))


def test_an_older_snapshot_is_sampled_as_it_was(shared_plane: Plane) -> None:
    make_dataset(shared_plane, "moving", "SELECT i AS n FROM range(10) t(i)")
    at = shared_plane.snapshot()
    make_dataset(shared_plane, "moving", "SELECT i AS n, 'new' AS more FROM range(100, 110) t(i)")
    found = shared_plane.sample("moving", at=at, rows=20, method="random")
    assert sorted(found.rows) == [(number,) for number in range(10)]
    assert (found.snapshot_id, found.of_rows) == (at, 10)


def test_what_is_not_there_is_refused_with_what_is_near(plane: DuckLakePlane) -> None:
    at = plane.snapshot()
    with pytest.raises(ColumnNotFoundError, match=r"'numbers' has no column 'knid'. Nearest: kind."):
        plane.sample("numbers", at=at, rows=1, method="first", columns=["knid"])
    with pytest.raises(AmbiguousColumnError, match="'n' is in columns twice"):
        plane.sample("numbers", at=at, rows=1, method="first", columns=["n", "N"])
    with pytest.raises(AmbiguousColumnError, match="The query has 2 columns called 'a'"):
        plane.sample(plane.check("SELECT 1 AS a, 2 AS a"), at=at, rows=1, method="random", columns=["a"])
    with pytest.raises(SnapshotNotFoundError, match="There is no snapshot 9999"):
        plane.sample("numbers", at=9999, rows=1, method="first")


def test_two_thousand_columns(plane: DuckLakePlane) -> None:
    text = ", ".join(f"n + {number} AS c{number}" for number in range(2000))
    found = plane.sample(plane.check(f"SELECT {text} FROM copies"), at=plane.snapshot(), rows=2, method="first")
    assert len(found.columns) == 2000
    assert [row[1999] - row[0] for row in found.rows] == [1999, 1999]
