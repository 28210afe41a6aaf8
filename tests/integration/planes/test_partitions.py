"""Files kept apart by partition: whatever the values are, no row is lost and a query reads only the files it needs."""

from collections.abc import Sequence
from uuid import uuid4

import pytest
from plane_samples import rows_of

from prefect_narrative.planes import Plane, Write
from prefect_narrative.planes.partitioning import InvalidPartitionError, TooManyPartitionsError

ODD = """
    SELECT i AS id, DATE '2023-12-30' + i::INTEGER AS day, TIMESTAMPTZ '2024-02-28 23:30:00+00' + to_hours(i) AS at,
           ['a', 'A', 'a/b', 'x=y', '', NULL, '%20', '__HIVE_DEFAULT_PARTITION__', 'NULL', repeat('x', 400), '..',
            'a*b[1]', chr(10)][1 + i % 13] AS word,
           [1.5, -0.0, 'nan'::DOUBLE, NULL][1 + i % 4] AS number, i % 2 = 0 AS even, i::DECIMAL(9, 2) AS price,
           'k' || i AS k0, i AS partition_number, [i] AS many
    FROM range(26) AS source(i)
"""
EVERYTHING = "SELECT * REPLACE (hash(number) AS number) FROM {} ORDER BY id"


def fill(plane: Plane, name: str, query: str, partitioned_by: Sequence[str], mode: str = "replace") -> None:
    job = uuid4()
    plane.claim(job, 1)
    at = plane.snapshot()
    stage = plane.stage_query(job, 1, name, plane.check(query), at=at, partitioned_by=partitioned_by)
    plane.publish(job, 1, [Write(name, mode, stage)], {})  # type: ignore[arg-type]
    plane.discard(job, 1)


@pytest.mark.parametrize(
    ("keys", "files"),
    [
        (["Year(day)", "month( day )"], 2),
        (["day(at)"], 3),
        (["word"], 13),
        (["number", "even"], 4),
        (["PRICE"], 26),
        (["k0"], 26),
        (["partition_number"], 26),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
def test_each_partition_has_files_of_its_own_and_no_row_is_lost(
    shared_plane: Plane, keys: list[str], files: int
) -> None:
    fill(shared_plane, "mixed", ODD, [])
    fill(shared_plane, "apart", ODD, keys)
    assert shared_plane.dataset("apart").files >= files
    assert rows_of(shared_plane, EVERYTHING.format("apart")) == rows_of(shared_plane, EVERYTHING.format("mixed"))
    assert shared_plane.dataset("apart").columns == shared_plane.dataset("mixed").columns
    fill(shared_plane, "apart", ODD, keys, "append")
    assert shared_plane.dataset("apart").files >= 2 * files
    assert shared_plane.dataset("apart").rows == 52


def test_nothing_to_keep_apart(shared_plane: Plane) -> None:
    fill(shared_plane, "nothing", f"SELECT * FROM ({ODD}) WHERE false", ["year(day)"])
    assert (shared_plane.dataset("nothing").rows, shared_plane.dataset("nothing").files) == (0, 0)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["dayy"], "Nearest: day"),
        (["year(word)"], "word is VARCHAR"),
        (["week(day)"], "'week\\(day\\)'"),
        (["many"], "BIGINT\\[\\]"),
        (["day", "DAY"], "twice"),
        (["year(day)", "month(nothing)"], "'nothing'"),
        ([""], "''"),
    ],
)
def test_what_can_not_be_partitioned_by(shared_plane: Plane, keys: list[str], words: str) -> None:
    with pytest.raises(InvalidPartitionError, match=words) as refused:
        fill(shared_plane, "refused", ODD, keys)
    assert "(column)" in refused.value.remedy or "once" in refused.value.remedy
    assert not shared_plane.exists("refused")


def test_too_many_partitions_are_refused_and_leave_nothing(shared_plane: Plane) -> None:
    with pytest.raises(TooManyPartitionsError, match=r"1,001 partitions: at most 1,000"):
        fill(shared_plane, "refused", "SELECT i FROM range(1001) AS source(i)", ["i"])
    assert not shared_plane.exists("refused")
