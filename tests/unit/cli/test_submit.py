from pathlib import Path
from typing import Any

import pytest

from prefect_narrative.cli.exits import UsageError
from prefect_narrative.cli.submit import MAX_FILE_BYTES, parse_inputs, parse_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("flights", "flights"),
        ("", ""),
        ("3", 3),
        ("-3.5", -3.5),
        ("true", True),
        ("null", None),
        ('["a", "b"]', ["a", "b"]),
        ('{"a": 1}', {"a": 1}),
        ('"3"', "3"),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ("True", "True"),
        ("[a", "[a"),
        ("SELECT 'a=b' AS x", "SELECT 'a=b' AS x"),
        ("@@here", "@here"),
        ("@daily", "@daily"),
        ("@once", "@once"),
        ("0 6 * * *", "0 6 * * *"),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_a_value_is_json_where_it_is_json(text: str, value: Any) -> None:
    assert parse_value(text) == value


def test_only_the_first_equals_sign_divides() -> None:
    assert parse_inputs(["query=SELECT 1 = 1", "name=v"]) == {"query": "SELECT 1 = 1", "name": "v"}


def test_a_file_is_text_even_where_it_looks_like_json(tmp_path: Path) -> None:
    (tmp_path / "q.sql").write_text("1\n")
    assert parse_inputs([f"query=@{tmp_path}/q.sql"]) == {"query": "1\n"}


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (["name"], "is not name=value"),
        (["=3"], "is not name=value"),
        ([" =3"], "is not name=value"),
        (["a=1", "a=2"], "given twice"),
        (["a=@/nowhere/x.sql"], "can't be read: No such file or directory"),
        (["a=@/"], "can't be read: Is a directory"),
    ],
)
def test_what_is_no_input_is_refused(inputs: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_inputs(inputs)


def test_odd_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"\xff\xfe\xfa")
    (tmp_path / "big").write_bytes(b"x" * (MAX_FILE_BYTES + 1))
    with pytest.raises(UsageError, match="not UTF-8"):
        parse_value(f"@{tmp_path}/latin")
    with pytest.raises(UsageError, match="larger than"):
        parse_value(f"@{tmp_path}/big")
