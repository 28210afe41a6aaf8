"""Names of datasets, and how they are written as SQL."""

import re
from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_narrative.planes.errors import InvalidNameError
from prefect_narrative.planes.names import dataset_name, literal, quoted

NAME = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
RULE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?")


@given(NAME, NAME.filter(lambda name: name not in {"main", "lake", "temp", "system", "memory", "pg_catalog"}))
def test_a_name_is_the_same_with_and_without_the_main_schema(name: str, schema: str) -> None:
    assert str(dataset_name(name)) == str(dataset_name(f"main.{name}")) == name
    assert str(dataset_name(f"{schema}.{name}")) == f"{schema}.{name}"
    assert dataset_name(f"{schema}.{name}").sql == f'lake."{schema}"."{name}"'


@given(st.text(max_size=150))
def test_whatever_is_taken_keeps_the_rule(text: str) -> None:
    try:
        dataset_name(text)
    except InvalidNameError as error:
        assert str(error).isprintable()  # noqa: PT017  (a text may pass or be refused)
    else:
        assert RULE.fullmatch(text)
        assert len(text) <= 128


@pytest.mark.parametrize("name", [None, 3, b"orders", ["orders"]])
def test_what_is_no_text_is_no_name(name: object) -> None:
    with pytest.raises(InvalidNameError):
        dataset_name(name)  # type: ignore[arg-type]


def test_names_of_the_rules_greatest_length_are_taken() -> None:
    assert dataset_name("x" * 128).table == "x" * 128
    assert dataset_name("s." + "x" * 126).schema == "s"


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    opened = duckdb.connect()
    yield opened
    opened.close()


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40))
@settings(deadline=None)
def test_texts_and_names_survive_being_written_as_sql(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    cursor = connection.execute(f"SELECT {literal(text)} AS {quoted(text)}")
    assert cursor.description[0][0] == text
    assert cursor.fetchall() == [(text,)]
