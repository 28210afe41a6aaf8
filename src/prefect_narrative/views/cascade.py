"""The dependants of a view, in the order in which a cascade refreshes them, and what each of them is to read."""

from collections.abc import Mapping, Sequence
from graphlib import TopologicalSorter

from prefect_narrative.views.lineage import Lineage


def sorter(lineage: Lineage, view: str) -> "TopologicalSorter[str]":
    """Return what hands out a view's dependants, each once all of those that it reads are done.

    Args:
        lineage: Which views read what.
        view: The view; it is no part of what is handed out.
    """
    members = set(lineage.dependants(view))
    found = TopologicalSorter({one: members.intersection(lineage.sources(one)) for one in sorted(members)})
    found.prepare()
    return found


def pins(sources: Sequence[str], base: int, refreshed: Mapping[str, int]) -> dict[str, int]:
    """Return the snapshot at which a view of a cascade is to read each of its sources.

    Args:
        sources: What the view reads.
        base: The snapshot at which the cascade reads everything that it does not refresh.
        refreshed: Of each view that the cascade has refreshed, the snapshot in which its new rows are.
    """
    return {source: refreshed.get(source, base) for source in sources}
