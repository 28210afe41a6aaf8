"""Which sample a query is counted on: the units that are drawn, and what of the other datasets belongs to them.

A query may be counted on a sample where its result is a sum over the units. So it is over the rows of a dataset that is
joined by equal columns; and over all rows with the same key, where that key is among the columns by which the result is
grouped: then each group is there as a whole, with HAVING and all.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from prefect_narrative.forecasts.queries import Block, Leaf, Origin, Query
from prefect_narrative.forecasts.stored import Spec
from prefect_narrative.planes.plane import Scanned

SMALL_ROWS = 10_000
"""Rows of a dataset that is read whole where it belongs to a sample."""
FEW_ROWS = 50_000
"""Rows of all datasets of a query that is counted as it is."""


@dataclass(frozen=True)
class Candidate:
    """A dataset whose rows may be the units, under conditions."""

    leaf: int
    needs: tuple[frozenset[Origin], ...]
    """For each of these sets one of its columns must tell the units apart; none: any row may be a unit."""


@dataclass(frozen=True)
class Plan:
    """How a query is counted."""

    root: int
    """The leaf whose units are drawn."""
    specs: Mapping[int, Spec]
    """The sample that is read at a leaf. Leaves that are not among them are read whole."""


def candidates(block: Block, *, top: bool = True) -> list[Candidate]:
    """Return which datasets' rows a block's rows are a sum over, without the top's own grouping."""
    if not top and (block.cut or block.single):
        return []
    found: list[Candidate] = []
    for source in block.sources:
        if not source.additive:
            continue
        if source.leaf is not None:
            found.append(Candidate(source.leaf.number, ()))
        elif source.block is not None:
            found += candidates(source.block, top=False)
    needs = [frozenset(one) for one in block.windows] if not top or block.node["qualify"] is not None else []
    if not top and (block.grouped or block.distinct):
        needs.append(keys_of(block))
    return [Candidate(one.leaf, (*one.needs, *needs)) for one in found]


def keys_of(block: Block) -> frozenset[Origin]:
    """Return the columns by which a block is grouped."""
    return frozenset(key for key in block.keys if key is not None)


def unit_columns(query: Query, candidate: Candidate, more: Collection[frozenset[Origin]] = ()) -> list[str]:
    """Return the columns of a candidate by which its rows may be drawn together."""
    needs = [*candidate.needs, *more]
    columns = sorted(
        {column for need in needs for one in need for leaf, column in query.same(one) if leaf == candidate.leaf}
    )
    return [
        column
        for column in columns
        if all(query.same((candidate.leaf, column)) & need or (candidate.leaf, column) in need for need in needs)
    ]


def plan(query: Query, root: Leaf, spec: Spec, datasets: Mapping[str, Scanned]) -> Plan:
    """Return a plan: from the root along equal columns to each dataset that is too big to be read whole."""
    specs = {root.number: spec}
    while True:
        edges = []
        for depth, (number, parent) in enumerate(specs.items()):
            for leaf in query.leaves:
                size = datasets[leaf.dataset].of_rows
                if leaf.number in specs or leaf.version is not None or size <= SMALL_ROWS:
                    continue
                pairs = {
                    (link.first[1], link.second[1])
                    for link in query.links
                    if link.first[0] == number and link.second[0] == leaf.number
                }
                if pairs:
                    edges.append((depth, -len(pairs), size, leaf.number, parent, tuple(sorted(pairs))))
        if not edges:
            return Plan(root.number, specs)
        _, _, _, number, parent, pairs_of = min(edges, key=lambda edge: edge[:4])
        specs[number] = Spec(query.leaves[number].dataset, spec.seed, (), parent, pairs_of)
