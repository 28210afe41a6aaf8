"""Numbers of rows and of groups, estimated from samples, each with an interval that covers the truth in 90 % of cases.

Sums over sampled units: Horvitz and Thompson, A generalization of sampling without replacement from a finite universe,
JASA 1952. Each unit is drawn with the same chance, independently of others, so a total is the sampled total over that
chance. Its interval is that of a Poisson count (Garwood, Biometrika 1936), with the chi-square quantile of Wilson and
Hilferty (PNAS 1931), stretched by how unequal the units are (Kish, Survey Sampling, 1965: the design effect).

Numbers of different values, where only some rows of each are in the sample: Haas and Stokes, Estimating the number of
classes in a finite population, JASA 1998: the unsmoothed second-order jackknife, stabilised (Duj2a), which corrects
Haas, Naughton, Seshadri and Stokes (VLDB 1995) for how unequal the classes are. Its bounds are those between which
Charikar, Chaudhuri, Motwani and Narasayya (Towards estimation error guarantees for distinct values, PODS 2000) place
every estimator: the values seen, and each value that was seen once standing for as many as the sample's share allows.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

COVERED = 0.9
"""Share of intervals that are to hold the truth."""
Z = 1.6448536269514722
"""The normal distribution's quantile that belongs to it, on each side."""
FREQUENT = 50
"""Classes seen more often than this are all known: they do not take part in the correction."""

FEW = 30
"""Classes seen once up to which their number itself is uncertain."""

UNEQUAL = 0.25
"""Squared coefficient of variation of the classes' sizes above which nothing but the bounds is sure."""


@dataclass(frozen=True)
class Estimate:
    """A number of rows."""

    rows: float
    low: float
    high: float

    @property
    def exact(self) -> bool:
        """Whether it is known for certain."""
        return self.low == self.high

    def clipped(self, limit: float | None, offset: float = 0.0) -> "Estimate":
        """Return what LIMIT and OFFSET leave of it."""

        def clip(value: float) -> float:
            left = max(0.0, value - offset)
            return left if limit is None else min(left, limit)

        return Estimate(clip(self.rows), clip(self.low), clip(self.high))

    def __add__(self, other: "Estimate") -> "Estimate":
        """Return the sum of two numbers that are estimated independently of each other."""
        rows = self.rows + other.rows
        below = math.hypot(self.rows - self.low, other.rows - other.low)
        above = math.hypot(self.high - self.rows, other.high - other.rows)
        return Estimate(rows, max(0.0, rows - below), rows + above)

    def __mul__(self, other: "Estimate") -> "Estimate":
        """Return the product of two numbers that are estimated independently: of all pairs of their rows."""
        return Estimate(self.rows * other.rows, self.low * other.low, self.high * other.high)

    def within(self, low: float, high: float) -> "Estimate":
        """Return the same between bounds that are certain."""

        def clip(value: float) -> float:
            return min(max(value, low), high)

        return Estimate(clip(self.rows), clip(self.low), clip(self.high))


def known(rows: float) -> Estimate:
    """Return a number that is certain."""
    return Estimate(rows, rows, rows)


def total(rows: float, squares: float, share: float) -> Estimate:
    """Return how many rows there are in all.

    Args:
        rows: How many the sampled units have.
        squares: The sum of the squares of how many each of them has.
        share: The chance with which a unit was drawn.
    """
    if share >= 1:
        return known(rows)
    if rows <= 0:
        # Nothing seen: of 1 to 3 / share rows, all as likely unseen, this is least far from either end.
        high = _poisson_high(0.0) / share
        return Estimate(0.0 if high < 1 else math.sqrt(high), 0.0, high)
    effect = max(1.0, squares / rows)
    shrunk = math.sqrt(1 - share)
    seen = rows / effect
    low = rows - shrunk * (rows - effect * _poisson_low(seen))
    high = rows + shrunk * (effect * _poisson_high(seen) - rows)
    return Estimate(rows / share, max(rows, low / share), high / share)


def classes(seen: Mapping[int, int], share: float) -> Estimate:
    """Return how many different values there are in all.

    Args:
        seen: How many values were seen once, twice, and so on.
        share: The share of all rows that were looked at.
    """
    distinct = float(sum(seen.values()))
    if share >= 1 or not distinct:
        if distinct or share >= 1:
            return known(distinct)
        high = _poisson_high(0.0) / share
        return Estimate(math.sqrt(high), 0.0, high)
    once = float(seen.get(1, 0))
    most = distinct + once * (1 / share - 1)
    if not once:
        return known(distinct) if min(seen) > 3 else Estimate(distinct, distinct, distinct + 1)
    rare = {count: number for count, number in seen.items() if count <= FREQUENT}
    common = distinct - sum(rare.values())
    first, second, variation = _jackknives(rare, share)
    twice = float(seen.get(2, 0))
    chao = distinct + (1 - share) * once * (once - 1) / (2 * (twice + 1))
    point = min(max(common + second, distinct), most)
    guaranteed = distinct - once + once / math.sqrt(share)
    candidates = [min(max(one, distinct), most) for one in (common + first, point, chao, guaranteed)]
    spread = Z * _deviation(once, twice, share)
    low = max(distinct, min(candidates) - spread)
    high = min(most + Z * math.sqrt(once) / share, max(candidates) + spread)
    if variation > UNEQUAL:  # then every estimator may be far too low
        high = max(high, most + Z * math.sqrt(once) / share)
    if once <= FEW:  # so few tell little about those that were not seen: the middle of what is possible
        high = max(high, min(most, distinct - once + _poisson_high(once) / math.sqrt(share)))
    return Estimate(point, min(low, point), max(high, point))


def _jackknives(seen: Mapping[int, int], share: float) -> tuple[float, float, float]:
    """Return the first- and the second-order jackknife's number of classes, and how unequal the classes are.

    The latter is the square of the coefficient of variation of their sizes.
    """
    distinct = float(sum(seen.values()))
    rows = float(sum(count * number for count, number in seen.items()))
    once = float(seen.get(1, 0))
    if not once or not rows:
        return distinct, distinct, 0.0
    left = 1 - (1 - share) * once / rows
    first = distinct / left
    pairs = float(sum(count * (count - 1) * number for count, number in seen.items()))
    variation = max(0.0, first / rows**2 * pairs + first * share / rows - 1)
    second = (distinct - once * (1 - share) * math.log(1 - share) * variation / share) / left
    return first, second, variation


def _deviation(once: float, twice: float, share: float) -> float:
    """Return the standard deviation of a number of classes, after Chao (Biometrics 1987), for a finite population."""
    ratio = once / max(twice, 1.0)
    spread = max(twice, 1.0) * (0.25 * ratio**4 + ratio**3 + 0.5 * ratio**2)
    return (1 - share) * min(math.sqrt(spread), math.sqrt(once) / share)


def _poisson_low(count: float) -> float:
    return 0.0 if count <= 0 else _chi_square(-Z, 2 * count) / 2


def _poisson_high(count: float) -> float:
    return _chi_square(Z, 2 * count + 2) / 2


def _chi_square(z: float, freedom: float) -> float:
    part = 2 / (9 * freedom)
    return float(freedom * max(0.0, 1 - part + z * math.sqrt(part)) ** 3)
