"""Averages from a sum and a count, bit by bit as the engine's avg() has them.

DuckDB divides the exact sum of whole numbers by their count as 80-bit floating-point numbers where the machine has
these, and rounds the quotient to a DOUBLE: rounded twice, one in a thousand differs in its last bit from sum / count.
So the same is done here in whole numbers. Smallints and decimals of up to four digits are divided as DOUBLEs.
"""

# ruff: noqa: S608  (names and numbers are made here)

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from prefect_narrative.planes.names import quoted

PROBE_ROWS = 13_039
PROBE_ELEVENS = 5_800
"""That many rows of 11 among rows of 10: their average is another number when it is rounded twice."""
EXTENDED_BITS = 64
LONGEST_SUM_BITS = 63
LONGEST_COUNT_BITS = 62
"""Beyond these the whole numbers that are needed would not fit; nor would the engine's own steps be exact."""
EXACT_IN_DOUBLE = 2**53


class Division(StrEnum):
    """How the engine divides a sum by a count."""

    DOUBLE = "double"
    EXTENDED = "extended"


@dataclass(frozen=True)
class Average:
    """One average that a query has to yield."""

    name: str
    """Its column; another one, `{name}_unknown`, says where it can't be told from sum and count."""
    sum: str
    """The column with the sum, as whole number or decimal."""
    count: str
    """The column with the count of values that are not NULL."""
    scale: int
    """Digits after the point of the values."""
    division: Division


def probe(kind: str) -> str:
    """Return a query whose one value tells how averages of a type are divided, see `division_of`."""
    return (
        f"SELECT avg(CAST(CASE WHEN i < {PROBE_ELEVENS} THEN 11 ELSE 10 END AS {kind})) AS found "
        f"FROM range({PROBE_ROWS}) AS numbers(i)"
    )


def division_of(found: float) -> Division | None:
    """Return how the engine divides, from what the probe found; None: in no way that is known here."""
    total = 10 * PROBE_ROWS + PROBE_ELEVENS
    if found == total / PROBE_ROWS:
        return Division.DOUBLE
    return Division.EXTENDED if found == rounded_twice(total, PROBE_ROWS) else None


def rounded_twice(total: int, count: int) -> float:
    """Return total / count, rounded to 64 bits and then to a DOUBLE; both positive."""
    shift = EXTENDED_BITS - total.bit_length() + count.bit_length()
    if (total << shift) // count >= 2**EXTENDED_BITS:
        shift -= 1
    quotient, rest = divmod(total << shift, count)
    quotient += 2 * rest > count or (2 * rest == count and quotient % 2 == 1)
    return float(quotient) / 2.0**shift


def with_averages(rows: str, averages: Sequence[Average]) -> str:
    """Return a query that yields the rows of another one, and two columns more for each average, beside steps to them.

    The average is NULL where the count is 0.
    """
    extended = [one for one in averages if one.division is Division.EXTENDED]
    steps = [[step for one in averages for step in _whole_numbers(one)]]
    if extended:
        steps += [[step for one in extended for step in part(one)] for part in (_shift, _quotient, _normal, _rounded)]
    steps.append([step for one in averages for step in _result(one)])
    for step in steps:
        rows = f"SELECT *, {', '.join(step)} FROM ({rows}) AS narrative_averages" if step else rows
    return rows


def _whole_numbers(one: Average) -> tuple[str, ...]:
    """The sum without its point, NULL where it is too long; and what it is divided by."""
    name, total = one.name, quoted(one.sum)
    digits = f"replace(CAST({total} AS VARCHAR), '.', '')" if one.scale else total
    return (
        f"TRY_CAST({digits} AS BIGINT) AS {quoted(f'{name}_s')}",
        f"CAST({quoted(one.count)} AS HUGEINT) * {10**one.scale}::HUGEINT AS {quoted(f'{name}_d')}",
    )


def _shift(one: Average) -> tuple[str, ...]:
    """By how many bits the sum is moved, so that the quotient has 64 bits or one more."""
    s, d = quoted(f"{one.name}_s"), quoted(f"{one.name}_d")
    fits = f"{s} > {-(2**LONGEST_SUM_BITS)} AND {d} BETWEEN 1 AND {2**LONGEST_COUNT_BITS}"
    return (
        f"CASE WHEN {fits} THEN {EXTENDED_BITS} - length(bin(abs(CAST({s} AS HUGEINT)))) + length(bin({d})) END AS "
        f"{quoted(f'{one.name}_h')}",
    )


def _power(exponent: str) -> str:
    return f"CAST(pow(2, {exponent}) AS HUGEINT)"


def _quotient(one: Average) -> tuple[str, ...]:
    s, d, h = (quoted(f"{one.name}_{part}") for part in "sdh")
    return (f"abs(CAST({s} AS HUGEINT)) * {_power(h)} // {d} AS {quoted(f'{one.name}_p')}",)


def _normal(one: Average) -> tuple[str, ...]:
    """The quotient with 64 bits, and its exponent."""
    p, h = (quoted(f"{one.name}_{part}") for part in "ph")
    long = f"{p} >= {2**EXTENDED_BITS}::HUGEINT"
    return (
        f"CASE WHEN {long} THEN {p} // 2 ELSE {p} END AS {quoted(f'{one.name}_q')}",
        f"CASE WHEN {long} THEN {h} - 1 ELSE {h} END AS {quoted(f'{one.name}_e')}",
    )


def _rounded(one: Average) -> tuple[str, ...]:
    """The quotient, rounded to the nearest and between two to the even one."""
    s, d, q, e = (quoted(f"{one.name}_{part}") for part in "sdqe")
    rest = f"(abs(CAST({s} AS HUGEINT)) * {_power(e)} - {q} * {d}) * 2"
    up = f"{rest} > {d} OR ({rest} = {d} AND {q} % 2 = 1)"
    return (
        f"CASE WHEN {up} THEN {q} + 1 ELSE {q} END AS {quoted(f'{one.name}_n')}",
        f"CASE WHEN {s} < 0 THEN -1.0::DOUBLE ELSE 1.0::DOUBLE END AS {quoted(f'{one.name}_r')}",
    )


def _result(one: Average) -> tuple[str, ...]:
    s, d, count = quoted(f"{one.name}_s"), quoted(f"{one.name}_d"), quoted(one.count)
    if one.division is Division.EXTENDED:
        n, e, r = (quoted(f"{one.name}_{part}") for part in "ner")
        value = f"{r} * CAST({n} AS DOUBLE) / pow(2, {e})"
        exact = f"{s} IS NOT NULL AND ({s} = 0 OR {n} IS NOT NULL)"
    else:
        value = f"CAST({s} AS DOUBLE) / CAST({d} AS DOUBLE)"
        exact = f"{s} BETWEEN {-EXACT_IN_DOUBLE} AND {EXACT_IN_DOUBLE} AND {d} <= {EXACT_IN_DOUBLE}"
    return (
        f"CASE WHEN {count} = 0 THEN NULL WHEN {s} = 0 THEN 0.0::DOUBLE ELSE {value} END AS {quoted(one.name)}",
        f"{count} > 0 AND ({exact}) IS NOT TRUE AS {quoted(f'{one.name}_unknown')}",
    )
