"""Upserting by key: what a merge leaves, whatever the keys and rows are."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from plane_samples import make_dataset, rows_of
from view_samples import make_view, publish_plan, refresh

from prefect_narrative.errors import FailureKind
from prefect_narrative.planes import Plane
from prefect_narrative.planes.errors import OvertakenError, UnstorableColumnError
from prefect_narrative.views.appending import ViewColumnsError
from prefect_narrative.views.definition import InvalidMergeKeyError
from prefect_narrative.views.merging import DuplicateKeyError, told_key
from prefect_narrative.views.refreshing import plan_refresh

NO_ROWS = "SELECT 1 AS k, 'a' AS v WHERE false"


def source(plane: Plane, query: str) -> None:
    make_dataset(plane, "incoming", query)


def merged(plane: Plane, merge_on: tuple[str, ...] = ("k",), **said: Any) -> None:
    make_view(plane, "merged", "SELECT * FROM incoming", write_mode="append", merge_on=merge_on, **said)


def values(rows: list[tuple[int | None, str | None, int | None]]) -> str:
    told = ", ".join(
        f"({'NULL' if k is None else k}, {'NULL' if t is None else repr(t)}, {'NULL' if v is None else v})"
        for k, t, v in rows
    )
    columns = "SELECT k::BIGINT AS k, t::VARCHAR AS t, v::BIGINT AS v FROM"
    return (
        f"{columns} (VALUES {told}) AS rows(k, t, v)"
        if rows
        else f"{columns} (VALUES (1, 'a', 1)) AS r(k, t, v) WHERE false"
    )


keys = st.tuples(st.one_of(st.none(), st.integers(0, 3)), st.one_of(st.none(), st.sampled_from(["", "a"])))
batches = st.lists(st.dictionaries(keys, st.one_of(st.none(), st.integers(0, 2)), max_size=6), min_size=2, max_size=4)


@given(batches)
@hypothesis_settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_merge_is_an_update_of_a_dictionary(
    shared_plane: Plane, given_batches: list[dict[tuple[int | None, str | None], int | None]]
) -> None:
    expected: dict[tuple[int | None, str | None], int | None] = {}
    for number, batch in enumerate(given_batches):
        source(shared_plane, values([(*key, value) for key, value in batch.items()]))
        if number == 0:
            merged(shared_plane, ("k", "t"))
        else:
            new = [key for key in batch if key not in expected]
            replaced = [key for key in batch if key in expected and expected[key] != batch[key]]
            done = refresh(shared_plane, "merged")
            assert (done["inserted_rows"], done["deleted_rows"]) == (len(new) + len(replaced), len(replaced))
        expected |= batch
        rows = rows_of(shared_plane, "FROM merged")
        assert sorted(rows, key=repr) == sorted(((*key, value) for key, value in expected.items()), key=repr)


@pytest.mark.parametrize(
    ("key", "same"),
    [
        ("'nan'::DOUBLE", "'-nan'::DOUBLE"),
        ("0.0::DOUBLE", "'-0.0'::DOUBLE"),
        ("NULL::DOUBLE", "NULL::DOUBLE"),
        ("[1, NULL]", "[1, NULL]"),
        ("{'a': NULL::INTEGER, 'b': [1]}", "{'a': NULL::INTEGER, 'b': [1]}"),
        ("MAP {'a': 1}", "MAP {'a': 1}"),
        ("'it''s \"; DROP TABLE x'", "'it''s \"; DROP TABLE x'"),
        ("TIMESTAMPTZ '2024-01-01 12:00:00+01'", "TIMESTAMPTZ '2024-01-01 11:00:00+00'"),
    ],
    ids=["nan", "zero", "null", "list", "struct", "map", "text", "time"],
)
def test_keys_are_equal_as_values_are(shared_plane: Plane, key: str, same: str) -> None:
    source(shared_plane, f"SELECT {key} AS k, 1 AS v")
    merged(shared_plane)
    source(shared_plane, f"SELECT {same} AS k, 2 AS v")
    assert refresh(shared_plane, "merged")["deleted_rows"] == 1
    assert rows_of(shared_plane, "SELECT v FROM merged") == [(2,)]


def test_columns_of_any_name_and_a_key_of_all_columns(shared_plane: Plane) -> None:
    source(shared_plane, 'SELECT 1 AS "k""; --", NULL::INTEGER AS differs')
    merged(shared_plane, ('K"; --', "differs"))
    source(shared_plane, 'SELECT unnest([1, 2]) AS "k""; --", NULL::INTEGER AS differs')
    done = refresh(shared_plane, "merged")
    assert (done["inserted_rows"], done["deleted_rows"], done["rows"]) == (1, 0, 2)
    assert sorted(rows_of(shared_plane, "FROM merged")) == [(1, None), (2, None)]


def test_what_comes_in_as_it_is_stays_untouched(shared_plane: Plane) -> None:
    source(shared_plane, "SELECT 1 AS k, 'a' AS v")
    merged(shared_plane)
    files = shared_plane.dataset("merged").files
    source(shared_plane, "SELECT 1 AS k, 'a' AS v")
    done = refresh(shared_plane, "merged")
    assert (done["action"], done["inserted_rows"], done["deleted_rows"], done["rows"]) == ("incremental", 0, 0, 1)
    assert done["reason"].endswith("Rows: 0 new, 0 replaced, 1 as they were.")
    assert shared_plane.dataset("merged").files == files
    assert refresh(shared_plane, "merged")["action"] == "no_data"


def test_nothing_comes_in_and_nothing_was_there(shared_plane: Plane) -> None:
    source(shared_plane, NO_ROWS)
    merged(shared_plane)
    source(shared_plane, "SELECT 1 AS k, 'a' AS v")
    assert refresh(shared_plane, "merged")["rows"] == 1
    source(shared_plane, NO_ROWS)
    done = refresh(shared_plane, "merged")
    assert (done["action"], done["inserted_rows"], done["deleted_rows"], done["rows"]) == ("incremental", 0, 0, 1)


def test_a_key_that_comes_in_twice_is_refused_before_anything_is_written(shared_plane: Plane) -> None:
    source(shared_plane, "SELECT 1 AS k, 'a' AS v")
    merged(shared_plane)
    source(shared_plane, "SELECT unnest([NULL, NULL, NULL, 2, 2, 3]) AS k, 'b' AS v")
    with pytest.raises(DuplicateKeyError) as raised:
        refresh(shared_plane, "merged")
    assert raised.value.kind is FailureKind.DATA
    assert str(raised.value) == (
        "'merged' can't be merged: 3 of the query's rows have the key k = None. In all, 3 rows too many."
    )
    assert raised.value.detail == {"dataset": "merged", "merge_on": ["k"], "surplus_rows": 3}
    assert rows_of(shared_plane, "FROM merged") == [(1, "a")]
    with pytest.raises(DuplicateKeyError):
        refresh(shared_plane, "merged", mode="full")
    with pytest.raises(DuplicateKeyError):
        merged(shared_plane)
    assert rows_of(shared_plane, "FROM merged") == [(1, "a")]


def test_a_key_in_a_message_is_short() -> None:
    assert told_key(["a", "b"], [Decimal("1.50"), "x\ny"]) == "a = Decimal('1.50'), b = 'x\\ny'"
    assert len(told_key(["a"], ["x" * 1000])) == 200


def test_two_refreshes_at_once_do_not_both_write(shared_plane: Plane) -> None:
    source(shared_plane, "SELECT 1 AS k, 'a' AS v")
    merged(shared_plane)
    source(shared_plane, "SELECT 2 AS k, 'b' AS v")
    late = plan_refresh(shared_plane, "merged")
    assert refresh(shared_plane, "merged")["rows"] == 2
    with pytest.raises(OvertakenError):
        publish_plan(shared_plane, late)
    assert refresh(shared_plane, "merged")["action"] == "no_data"
    assert sorted(rows_of(shared_plane, "FROM merged")) == [(1, "a"), (2, "b")]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT 1 AS k", "v is missing"),
        ("SELECT 1 AS k, 2 AS v", "v is INTEGER, the dataset has VARCHAR"),
        ("SELECT 1::BIGINT AS k, 'a' AS v", "k is BIGINT, the dataset has INTEGER"),
    ],
)
def test_other_columns_than_the_views_are_refused(shared_plane: Plane, query: str, words: str) -> None:
    source(shared_plane, "SELECT 1 AS k, 'a' AS v")
    merged(shared_plane)
    source(shared_plane, query)
    with pytest.raises(ViewColumnsError) as raised:
        refresh(shared_plane, "merged")
    assert words in str(raised.value)
    assert rows_of(shared_plane, "FROM merged") == [(1, "a")]


def test_narrower_numbers_and_more_columns_are_taken(shared_plane: Plane) -> None:
    source(shared_plane, "SELECT 1::BIGINT AS k, 1.5::DOUBLE AS v")
    merged(shared_plane)
    source(shared_plane, "SELECT 'new' AS extra, 2.5::FLOAT AS v, 1::SMALLINT AS k")
    assert refresh(shared_plane, "merged")["deleted_rows"] == 1
    assert rows_of(shared_plane, "FROM merged") == [(1, 2.5)]


def test_a_key_that_can_not_be_is_refused(shared_plane: Plane) -> None:
    source(shared_plane, "SELECT 1 AS k, 2 AS rowid")
    with pytest.raises(InvalidMergeKeyError, match="no column 'kk'"):
        merged(shared_plane, ("kk",))
    with pytest.raises(UnstorableColumnError, match="hides the ids of its rows"):
        merged(shared_plane)
