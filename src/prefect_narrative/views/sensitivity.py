"""Which columns are sensitive: those that are marked, and those of views and queries that may derive from them.

A mark counts for all snapshots: for those from before it was set, and for those after it was taken away in which it
still stood. A view keeps the marks that followed from its sources when its rows were made, and those that follow from
what its sources say now count as well. What can't be told counts as sensitive.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

from pydantic import ValidationError

from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.planes.derivation import derive
from prefect_narrative.planes.outputs import Named, Outputs
from prefect_narrative.planes.plane import CheckedQuery, Column, Description, Plane
from prefect_narrative.planes.sensitive import marked
from prefect_narrative.planes.syntax import Parser
from prefect_narrative.views.definition import ViewDefinition, source_names

_READS_AT = re.compile(r"\bat\b", re.IGNORECASE)
"""What stands in a query that reads snapshots of its own, and may stand in others."""


class SensitiveRowsError(NarrativeError, PermissionError):
    """Sensitive values decide which rows the query yields."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "sensitive_rows"
    remedy = (
        "Name sensitive columns only in the SELECT list, where they come out redacted: not in WHERE, ON, GROUP BY, "
        "ORDER BY, DISTINCT and the like."
    )


class Sensitivity:
    """The sensitive columns of one plane, as of one snapshot and as things are now.

    Args:
        plane: The plane.
        at: The snapshot that is read; None: the newest.
    """

    def __init__(self, plane: Plane, at: int | None = None) -> None:
        self._plane = plane
        self._newest = plane.snapshot()
        self._at = self._newest if at is None else at
        self._descriptions: dict[int, dict[str, Description | None]] = {}
        self._found: dict[tuple[str, int], frozenset[str]] = {}

    def of_dataset(self, name: str, version: int | None = None) -> frozenset[str]:
        """Return the sensitive columns of a dataset or view, in small letters; `version` None: as of the one read."""
        versions = {self._at if version is None else version, self._newest}
        return frozenset().union(*(self._of(name, one) for one in versions))

    def of_query(self, query: CheckedQuery) -> Outputs:
        """Return what a query yields, and which of it is sensitive.

        Raises:
            SensitiveRowsError: sensitive values decide which rows it yields, how many, or in which order.
        """
        found = self.outputs(query)
        if found.rows:
            raise SensitiveRowsError(
                "The query can't be shown: sensitive values decide which rows it yields, how many, or in which order.",
                detail={"sources": list(query.sources)},
            )
        return found

    def outputs(self, query: CheckedQuery) -> Outputs:
        """Return what a query yields, and which of it is sensitive, though sensitive values decide about its rows."""
        return self._derived(query, self._at)

    def inherited(self, query: CheckedQuery, columns: Sequence[Column]) -> tuple[str, ...]:
        """Return which of the columns of a view with this query are sensitive because of what it reads."""
        found = self._derived(query, self._at)
        return tuple(column.name for column in columns if found.has(column.name))

    def _derived(self, query: CheckedQuery, at: int) -> Outputs:
        if not _READS_AT.search(query.sql) and not self._any_marked(query.sources, {at, self._newest}):
            return Outputs()  # which is quickly seen
        parser = Parser()
        try:
            tree = parser.tree(query.sql)
        finally:
            parser.close()
        return derive(tree["node"], lambda name, version: self._columns(name, at if version is None else version))

    def _columns(self, name: str, version: int) -> list[Named]:
        sensitive = self.of_dataset(name, version)
        columns = self._plane.dataset(name, version).columns
        return [(column.name, column.name.casefold() in sensitive) for column in columns]

    def _any_marked(self, names: Collection[str], versions: Collection[int]) -> bool:
        """Return whether any of these, or of what they are made from, is marked in one of these snapshots."""
        seen: set[str] = set()
        wave = set(names)
        while wave:
            found = [one for version in versions for one in self._described(wave, version).values() if one is not None]
            if any(marked(one.properties) for one in found):
                return True
            seen |= wave
            wave = {source for one in found if one.kind == "view" for source in source_names(one.properties)} - seen
        return False

    def _described(self, names: Collection[str], at: int) -> Mapping[str, Description | None]:
        known = self._descriptions.setdefault(at, {})
        unknown = [name for name in names if name not in known]
        if unknown:
            found = {one.name: one for one in self._plane.descriptions(at, unknown)}
            known |= {name: found.get(name) for name in unknown}
        return {name: known[name] for name in names}

    def _of(self, name: str, at: int) -> frozenset[str]:
        if (name, at) not in self._found:
            self._found[name, at] = frozenset()  # a view that came to read itself would never end
            self._found[name, at] = self._look(name, at)
        return self._found[name, at]

    def _look(self, name: str, at: int) -> frozenset[str]:
        one = self._described([name], at)[name]
        if one is None:
            return frozenset()
        kept = marked(one.properties)
        if one.kind != "view":
            return kept
        sources = {source for source in source_names(one.properties) if self._any_in(source, at)}
        if not sources:
            return kept
        columns = [column.name.casefold() for column in self._plane.dataset(name, at).columns]
        try:
            definition = ViewDefinition.model_validate(one.properties.get("definition"))
            query = self._plane.check(definition.query, at, deltas=definition.write_mode == "append")
            found = self._derived(query, at)
        except (NarrativeError, ValidationError):
            return frozenset(columns)  # it can't be told what derives from what
        return kept | {column for column in columns if found.has(column)}

    def _any_in(self, source: str, at: int) -> bool:
        return bool(self._of(source, at) or self._of(source, self._newest))
