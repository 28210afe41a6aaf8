"""By which queries a query's rows differ from what they were, when the datasets that it reads have changed.

Rows are counted, not only present or absent: each term is a query of the same form, with a sign; taken together, the
rows of the positive terms less those of the negative ones are the new rows less the old ones. For a join of A and B

    new A x new B - old A x old B  =  dA x old B + new A x dB

where dA are the rows inserted into A (positive) and deleted from it (negative). The order of A and B is that in FROM,
so a join of a dataset with itself is no special case.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field

from prefect_narrative.planes.nodes import Node
from prefect_narrative.planes.plane import ChangedRows, Changes, Relation
from prefect_narrative.views import trees


@dataclass(frozen=True)
class Term:
    """One part of a difference."""

    sign: int
    """1: its rows are added, -1: they are taken away."""
    query: Node


@dataclass
class Difference:
    """Makes the terms of queries.

    Args:
        changes: How each dataset has changed, by its name.
    """

    changes: Mapping[str, Changes]
    relations: dict[str, Relation] = field(default_factory=dict, init=False)
    """What the names in the terms stand for."""

    def terms(self, query: Node) -> list[Term]:
        """Return by what the rows of a query differ.

        Args:
            query: Datasets filtered, projected, joined and put together with UNION ALL; nothing else, see `shapes`.
        """
        if query["type"] == "SET_OPERATION_NODE":
            return [*self.terms(query["left"]), *self.terms(query["right"])]
        found = []
        for number, leaf in enumerate(trees.leaves(query["from_table"])):
            for sign, changed in self._changed(leaf):

                def put(other: int, part: Node, at: int = number, instead: Node = changed) -> Node:
                    if other == at:
                        return deepcopy(instead)
                    return self._new(part) if other < at else self._old(part)

                found.append(Term(sign, query | {"from_table": trees.replaced(query["from_table"], put)}))
        return found

    def _changed(self, leaf: Node) -> list[tuple[int, Node]]:
        """Return what has changed in one part of FROM, to stand in its place."""
        if leaf["type"] == "SUBQUERY":
            inner = self.terms(leaf["subquery"]["node"])
            return [(term.sign, leaf | {"subquery": leaf["subquery"] | {"node": term.query}}) for term in inner]
        if not trees.is_dataset(leaf):
            return []
        changes = self.changes[trees.dataset_of(leaf)]
        found = []
        if changes.inserts:
            found.append((1, trees.named(leaf, self._relation(ChangedRows(changes, "inserted")))))
        if changes.deletes:
            found.append((-1, trees.named(leaf, self._relation(ChangedRows(changes, "deleted")))))
        return found

    def _relation(self, rows: ChangedRows) -> str:
        number = sorted(self.changes).index(rows.changes.dataset)
        name = f"_{rows.kind}_{number}"
        self.relations[name] = rows
        return name

    def _old(self, part: Node) -> Node:
        return as_of(part, {name: one.first for name, one in self.changes.items()})

    def _new(self, part: Node) -> Node:
        return as_of(part, {name: one.last for name, one in self.changes.items()})


def as_of(part: Node, versions: Mapping[str, int]) -> Node:
    """Return a query, or a part of FROM, that reads each dataset at a snapshot.

    Args:
        part: A query as `Difference.terms` takes it.
        versions: The snapshot of each dataset.
    """
    if part["type"] == "SET_OPERATION_NODE":
        return part | {"left": as_of(part["left"], versions), "right": as_of(part["right"], versions)}
    if part["type"] == "SELECT_NODE":
        return part | {"from_table": trees.replaced(part["from_table"], lambda _, leaf: as_of(leaf, versions))}
    if part["type"] == "SUBQUERY":
        return part | {"subquery": part["subquery"] | {"node": as_of(part["subquery"]["node"], versions)}}
    if not trees.is_dataset(part):
        return deepcopy(part)
    return trees.at_version(part, versions[trees.dataset_of(part)])
