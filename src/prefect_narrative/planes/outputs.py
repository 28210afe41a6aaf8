"""What is known of the columns that a part of a query yields: which of them derive from sensitive ones."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

Named = tuple[str, bool]
"""A column's name, and whether its values are, or may be, sensitive."""


@dataclass(frozen=True)
class Outputs:
    """The columns of a query, or of a part of FROM."""

    columns: tuple[Named, ...] | None = None
    """In order; None where their order, or some of their names, can't be told."""
    named: frozenset[str] = frozenset()
    """Names of sensitive columns, in small letters."""
    every: bool = False
    """Whether each column counts as sensitive, whatever its name."""
    rows: bool = False
    """Whether sensitive values decide which rows there are, how many, or in which order: then `every` holds, too."""

    @classmethod
    def of(cls, columns: Sequence[Named]) -> "Outputs":
        """Return columns that are known by order and name."""
        return cls(tuple(columns), frozenset(name.casefold() for name, sensitive in columns if sensitive))

    @classmethod
    def unknown(cls, *, sensitive: bool) -> "Outputs":
        """Return columns of which nothing is known."""
        return cls(every=sensitive, rows=sensitive)

    @property
    def any(self) -> bool:
        """Whether there is a sensitive column among them."""
        return self.every or bool(self.named)

    def has(self, name: str) -> bool:
        """Return whether a column of this name is sensitive."""
        return self.every or name.casefold() in self.named

    def decided(self, rows: bool) -> "Outputs":
        """Return the same columns where sensitive values may decide which rows there are."""
        return replace(self, rows=True, every=True) if rows else self

    def as_source(self, names: Sequence[str] = ()) -> "Outputs":
        """Return them as a part of FROM, the first of them under other names.

        Of columns with one name all but one get another name from the engine, so none of them is told by its name.
        """
        if self.columns is None:
            return replace(self, every=True) if self.any else self
        count = Counter(name.casefold() for name, _ in self.columns)
        every = self.every or any(count[name] > 1 for name in self.named)
        columns = [
            (names[place] if place < len(names) else name, sensitive or every)
            for place, (name, sensitive) in enumerate(self.columns)
        ]
        return replace(Outputs.of(columns), every=every, rows=self.rows)


@dataclass(frozen=True)
class Scope:
    """The names by which an expression can mean columns, and those of the query around it."""

    leaves: Mapping[str, Outputs] = field(default_factory=dict)
    """What FROM names, by alias in small letters."""
    aliases: frozenset[str] = frozenset()
    """Sensitive columns of the query itself, which its other expressions may name."""
    outer: "Scope | None" = None

    @property
    def any(self) -> bool:
        """Whether FROM has a sensitive column."""
        return any(leaf.any for leaf in self.leaves.values())

    def means(self, parts: Sequence[str]) -> bool:
        """Return whether a column's name, in its parts, means a sensitive one or may mean one."""
        first = parts[0].casefold()
        if len(parts) == 1:
            if first in self.aliases or any(leaf.has(first) for leaf in self.leaves.values()):
                return True
            if first in self.leaves:
                return self.leaves[first].any  # a whole row
        else:
            names = [part.casefold() for part in parts]
            if len(parts) == 2 and first in self.leaves and first not in self.aliases and not self._has(first):
                return self.leaves[first].has(names[1])
            if any(name in self.aliases or self._has(name) for name in names):
                return True
        if self._knows(first):
            return False
        return self.outer is not None and self.outer.means(parts)

    def _has(self, name: str) -> bool:
        return any(leaf.has(name) for leaf in self.leaves.values())

    def _knows(self, name: str) -> bool:
        """Return whether FROM is sure to have a column of this name, which hides those of the query around it."""
        return any(name == column.casefold() for leaf in self.leaves.values() for column, _ in leaf.columns or ())


def joined(left: Outputs, right: Outputs, same: Sequence[str], *, only_left: bool) -> Outputs:
    """Return the columns of a join.

    Args:
        left: Those of its left side.
        right: Those of its right side.
        same: Names of columns that both sides have and the join has once.
        only_left: Whether it yields those of its left side alone.
    """
    if only_left:
        return left
    named, every = left.named | right.named, left.every or right.every
    if left.columns is None or right.columns is None:
        return Outputs(None, named, every)
    once = {name.casefold() for name in same}
    columns = [(name, sensitive or (name.casefold() in once and right.has(name))) for name, sensitive in left.columns]
    columns += [one for one in right.columns if one[0].casefold() not in once]
    return replace(Outputs.of(columns), every=every)
