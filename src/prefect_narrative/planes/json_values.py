"""Values of every type as JSON, by one rule that the value's type decides, and cut where they are long.

Whole numbers are numbers up to 2**53 - 1 in size, as far as every reader of JSON keeps them exactly, and text beyond.
Floats are numbers; those that JSON lacks are the texts NaN, Infinity and -Infinity. BLOBs are base64. A LIST or an
ARRAY is an array, a STRUCT an object, a MAP an array of objects with key and value, a UNION an object of the one member
that it has. Every other type is the text that DuckDB writes for it, times in UTC: `CAST(text AS type)` gives the value.

A text, a BLOB or a list that is too long is an object with its beginning under `$shortened` and its whole length (in
characters, bytes, items) under `length`. It is cut where it is read, so that what is left out is never fetched.
"""

import base64
import math
from typing import TYPE_CHECKING, Any

from prefect_narrative.planes.names import literal

if TYPE_CHECKING:
    from duckdb.sqltypes import DuckDBPyType

LONGEST_TEXT = 1000
"""Characters of a text, and bytes of a BLOB, that are kept."""
LONGEST_LIST = 100
"""Items of a list, and entries of a MAP, that are kept."""
LARGEST_NUMBER = 2**53 - 1
SHORTENED = "$shortened"
LENGTH = "length"

_NUMBERS = frozenset(
    "tinyint smallint integer bigint hugeint utinyint usmallint uinteger ubigint uhugeint".split()  # noqa: SIM905
)
_FLOATS = frozenset({"float", "double"})
_AS_THEY_ARE = frozenset({"boolean", "null"})
_LISTS = frozenset({"list", "array"})
_SHORT = frozenset(
    {
        "date", "decimal", "interval", "time", "time with time zone", "time_ns", "timestamp", "timestamp_s",
        "timestamp_ms", "timestamp_ns", "timestamp with time zone", "uuid",
    }
)  # fmt: skip
"""Types whose texts have a bounded length."""


def fetched(expression: str, kind: "DuckDBPyType", depth: int = 0) -> str:  # noqa: PLR0911 - one a family of types
    """Return SQL that yields a value in the form that `json_value` takes.

    Args:
        expression: SQL for the value.
        kind: Its type.
        depth: How many lists it lies in.
    """
    name = kind.id
    if name in _NUMBERS or name in _FLOATS or name in _AS_THEY_ARE:
        return expression
    if name in _SHORT:
        return f"CAST({expression} AS VARCHAR)"
    if name in _LISTS:
        return _items(expression, f"len({expression})", _parts(kind)[0][1], depth)
    if name == "map":
        (_, key), (_, value) = _parts(kind)
        entry = f"e{depth}"
        pair = f"{{k: {fetched(f'{entry}.key', key, depth + 1)}, v: {fetched(f'{entry}.value', value, depth + 1)}}}"
        entries = f"list_transform(map_entries({expression})[1:{LONGEST_LIST}], lambda {entry}: {pair})"
        return f"CASE WHEN {expression} IS NOT NULL THEN {{n: cardinality({expression}), v: {entries}}} END"
    if name == "struct":
        fields = ", ".join(
            f"f{number}: {fetched(f'struct_extract({expression}, {_field(field, number)})', part, depth)}"
            for number, (field, part) in enumerate(_parts(kind))
        )
        return f"CASE WHEN {expression} IS NOT NULL THEN {{{fields}}} END"
    if name == "union":
        members = ", ".join(
            f"f{number}: {fetched(f'union_extract({expression}, {literal(member)})', part, depth)}"
            for number, (member, part) in enumerate(_parts(kind))
        )
        tag = f"CAST(union_tag({expression}) AS VARCHAR)"
        return f"CASE WHEN {expression} IS NOT NULL THEN {{tag: {tag}, {members}}} END"
    if name == "blob":
        cut = f"{{n: octet_length({expression}), v: ({expression})[1:{LONGEST_TEXT}]}}"
        return f"CASE WHEN {expression} IS NOT NULL THEN {cut} END"
    text = f"CAST({expression} AS VARCHAR)"
    cut = f"{{n: length({text}), v: left({text}, {LONGEST_TEXT})}}"
    return f"CASE WHEN {expression} IS NOT NULL THEN {cut} END"


def json_value(value: Any, kind: "DuckDBPyType") -> Any:  # noqa: PLR0911 - one a family of types
    """Return a fetched value as JSON has it."""
    if value is None:
        return None
    name = kind.id
    if name in _NUMBERS:
        return value if abs(value) <= LARGEST_NUMBER else str(value)
    if name in _FLOATS:
        return value if math.isfinite(value) else "NaN" if value != value else f"{'-' * (value < 0)}Infinity"  # noqa: PLR0124
    if name in _AS_THEY_ARE or name in _SHORT:
        return value
    if name in _LISTS:
        part = _parts(kind)[0][1]
        return _cut([json_value(item, part) for item in value["v"]], value["n"])
    if name == "map":
        (_, key), (_, held) = _parts(kind)
        return _cut(
            [{"key": json_value(one["k"], key), "value": json_value(one["v"], held)} for one in value["v"]], value["n"]
        )
    if name == "struct":
        return {
            field or f"v{number + 1}": json_value(value[f"f{number}"], part)
            for number, (field, part) in enumerate(_parts(kind))
        }
    if name == "union":
        return {
            member: json_value(value[f"f{number}"], part)
            for number, (member, part) in enumerate(_parts(kind))
            if member == value["tag"]
        }
    if name == "blob":
        begun = base64.b64encode(value["v"]).decode("ascii")
        return begun if len(value["v"]) == value["n"] else {SHORTENED: begun, LENGTH: value["n"]}
    return _cut(value["v"], value["n"])


def is_shortened(value: Any) -> bool:
    """Return whether a JSON value, or one within it, was cut."""
    if isinstance(value, dict):
        return set(value) == {SHORTENED, LENGTH} or any(map(is_shortened, value.values()))
    return isinstance(value, list) and any(map(is_shortened, value))


def _items(expression: str, length: str, part: "DuckDBPyType", depth: int) -> str:
    item = f"e{depth}"
    items = f"list_transform(({expression})[1:{LONGEST_LIST}], lambda {item}: {fetched(item, part, depth + 1)})"
    return f"CASE WHEN {expression} IS NOT NULL THEN {{n: {length}, v: {items}}} END"


def _parts(kind: "DuckDBPyType") -> list[tuple[str, "DuckDBPyType"]]:
    """Return the parts of a nested type: an array has its length, which is no type, and a union its tag beside them."""
    parts = [(name, part) for name, part in kind.children if isinstance(part, type(kind))]
    return [(name, part) for name, part in parts if name] if kind.id == "union" else parts


def _field(name: str, number: int) -> str:
    return literal(name) if name else str(number + 1)


def _cut(begun: Any, length: int) -> Any:
    return begun if len(begun) == length else {SHORTENED: begun, LENGTH: length}
