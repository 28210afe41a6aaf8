"""Values of every type survive the way through JSON, by the rule that the docs tell."""

import base64
import json
import math
from typing import Any

import pytest

from prefect_narrative.planes import Plane


def sampled(plane: Plane, expression: str) -> Any:
    """Return a value as a sample has it, once written as JSON and read again."""
    query = plane.check(f"SELECT {expression} AS value")
    found = plane.sample(query, at=plane.snapshot(), rows=1, method="first")
    return json.loads(json.dumps(found.rows[0][0], allow_nan=False))


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("NULL", None),
        ("true", True),
        ("127::TINYINT", 127),
        ("9007199254740991", 2**53 - 1),
        ("9007199254740992", str(2**53)),
        ("(-9223372036854775808)::BIGINT", str(-(2**63))),
        ("170141183460469231731687303715884105727::HUGEINT", str(2**127 - 1)),
        ("340282366920938463463374607431768211455::UHUGEINT", str(2**128 - 1)),
        ("0.1::DOUBLE", 0.1),
        ("'nan'::DOUBLE", "NaN"),
        ("'inf'::FLOAT", "Infinity"),
        ("'-inf'::DOUBLE", "-Infinity"),
        ("1.50::DECIMAL(10, 2)", "1.50"),
        ("99999999999999999999999999999999999999::DECIMAL(38, 0)", "9" * 38),
        ("'text \"ü\"'", 'text "ü"'),
        ("'a'::ENUM('a', 'b')", "a"),
        ("'{\"a\": [1]}'::JSON", '{"a": [1]}'),
        ("'\\x00\\xFF'::BLOB", base64.b64encode(b"\x00\xff").decode()),
        ("'101'::BIT", "101"),
        ("'01234567-89ab-cdef-0123-456789abcdef'::UUID", "01234567-89ab-cdef-0123-456789abcdef"),
        ("DATE '0044-03-15 (BC)'", "0044-03-15 (BC)"),
        ("'infinity'::DATE", "infinity"),
        ("TIMESTAMP '2024-02-29 23:59:59.000001'", "2024-02-29 23:59:59.000001"),
        ("TIMESTAMP_NS '2024-01-01 00:00:00.123456789'", "2024-01-01 00:00:00.123456789"),
        ("TIMESTAMPTZ '2024-01-01 00:00:00+05'", "2023-12-31 19:00:00+00"),
        ("'-infinity'::TIMESTAMP", "-infinity"),
        ("TIME '12:00:00'", "12:00:00"),
        ("'12:00:00+02'::TIMETZ", "12:00:00+02"),
        ("INTERVAL '1 year 2 days 3 hours'", "1 year 2 days 03:00:00"),
    ],
)
def test_plain_values(sample_plane: Plane, expression: str, value: Any) -> None:
    assert sampled(sample_plane, expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "DATE '0044-03-15 (BC)'", "DATE '9999-12-31'", "TIMESTAMP '0001-01-01 00:00:00'",
        "INTERVAL '-13 months 4 days'",
        "TIMESTAMPTZ '2024-07-01 12:00:00.5-03:30'", "'23:59:59.999999-15:59'::TIMETZ", "1.25::DECIMAL(18, 5)",
        "uuid()", "'0110'::BIT", "18446744073709551615::UBIGINT", "'nan'::DOUBLE", "'-inf'::FLOAT",
        "TIMESTAMP_NS '2024-01-01 00:00:00.123456789'", "'b'::ENUM('a', 'b')",
        "-170141183460469231731687303715884105728",
    ],
)  # fmt: skip
def test_a_text_that_is_cast_back_is_the_value(sample_plane: Plane, expression: str) -> None:
    plane = sample_plane
    [(value, kind)] = plane.read(
        plane.check(f"SELECT v::VARCHAR, typeof(v) FROM (SELECT {expression} AS v)"), limit=1
    ).rows
    text = sampled(plane, f"CAST('{value}' AS {kind})")
    told = str(text).replace("'", "''")
    query = plane.check(f"SELECT CAST('{told}' AS {kind}) IS NOT DISTINCT FROM CAST('{value}' AS {kind})")
    assert plane.read(query, limit=1).rows == ((True,),)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("[1, NULL, 3]", [1, None, 3]),
        ("[]::INTEGER[]", []),
        ("[1.5, 2.5]::DOUBLE[2]", [1.5, 2.5]),
        ("['nan'::DOUBLE, 1]", ["NaN", 1.0]),
        ("[[DATE '0001-01-01 (BC)'], NULL]", [["0001-01-01 (BC)"], None]),
        ("{'x y': 1.50::DECIMAL(9, 2), 'when': INTERVAL '2 months'}", {"x y": "1.50", "when": "2 months"}),
        ("NULL::STRUCT(a INTEGER)", None),
        ("{'a': NULL::INTEGER[]}", {"a": None}),
        ("MAP {'k': [9007199254740993], 'l': NULL}",
         [{"key": "k", "value": ["9007199254740993"]}, {"key": "l", "value": None}]),
        ("union_value(num := 5)", {"num": 5}),
        ("[{'e0': [{'e1': '\\x01'::BLOB}]}]", [{"e0": [{"e1": "AQ=="}]}]),
        ("row(1, 'a')", "(1, a)"),
    ],
)  # fmt: skip
def test_nested_values(sample_plane: Plane, expression: str, value: Any) -> None:
    assert sampled(sample_plane, expression) == value


def test_long_values_are_cut_and_say_so(sample_plane: Plane) -> None:
    assert sampled(sample_plane, "repeat('ü', 10000000)") == {"$shortened": "ü" * 1000, "length": 10_000_000}
    assert sampled(sample_plane, "repeat('ü', 1000)") == "ü" * 1000
    assert sampled(sample_plane, "range(101)") == {"$shortened": list(range(100)), "length": 101}
    cut = sampled(sample_plane, "repeat('x', 3000)::BLOB")
    assert (base64.b64decode(cut["$shortened"]), cut["length"]) == (b"x" * 1000, 3000)
    within = sampled(sample_plane, "{'a': [repeat('y', 1001)], '$shortened': 1, 'length': 2}")
    assert within == {"a": [{"$shortened": "y" * 1000, "length": 1001}], "$shortened": 1, "length": 2}
    entries = sampled(sample_plane, "map_from_entries(list_transform(range(200), lambda i: {'k': i, 'v': i}))")
    assert (len(entries["$shortened"]), entries["length"]) == (100, 200)


def test_a_float_stays_the_number_that_it_is(sample_plane: Plane) -> None:
    assert math.copysign(1, sampled(sample_plane, "'-0.0'::DOUBLE")) == -1
    for text in ("5e-324", "1.7976931348623157e308", "0.30000000000000004"):
        assert sampled(sample_plane, f"'{text}'::DOUBLE") == float(text)
