"""What an operation to come is likely to cost: what others before it took, or what is known of its sources' sizes."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from prefect_narrative.costs.cost import Cost, Quantities, cost_of
from prefect_narrative.costs.items import Item
from prefect_narrative.costs.prices import Prices


class Method(StrEnum):
    """By what an operation is estimated: the first of these for which there is anything."""

    SAME_INPUT = "same_input"
    """By jobs of the same type with the same input."""
    SAME_SUBJECT = "same_subject"
    """By jobs of the same type on the same dataset, view or query."""
    SAME_TYPE = "same_type"
    """By jobs of the same type; what is scanned by the sources' sizes, where they are known."""
    SOURCE_SIZES = "source_sizes"
    """By the sources' sizes alone: nothing is known of the CPU time."""
    NOTHING = "nothing"
    """There is nothing to estimate it by."""


@dataclass(frozen=True)
class History:
    """What jobs took that have completed, the newest first."""

    same_input: Sequence[Quantities] = ()
    same_subject: Sequence[Quantities] = ()
    same_type: Sequence[Quantities] = ()


@dataclass(frozen=True)
class Estimate:
    """What an operation is likely to cost."""

    method: Method
    jobs: int
    """How many jobs it is estimated by."""
    cost: Cost | None
    """None: there is nothing to estimate it by."""
    lowest: int | None
    """The cheapest of those jobs at these prices, in micro-cents; None without jobs."""
    highest: int | None
    """The dearest."""
    unknown: tuple[Item, ...]
    """Items that it will use and of which nothing is known: they come on top."""


def estimate(history: History, source_bytes: int | None, prices: Prices) -> Estimate:
    """Return what an operation is likely to cost at these prices.

    By jobs, it is the cost of the one in the middle when they are put in order of their costs: of one job that there
    has been, so that its lines belong together.

    Args:
        history: What jobs before it took.
        source_bytes: Bytes of its sources; None where they are not known.
        prices: The prices.
    """
    seen: Sequence[Quantities]
    for method, seen in (
        (Method.SAME_INPUT, history.same_input),
        (Method.SAME_SUBJECT, history.same_subject),
        (Method.SAME_TYPE, [_scanning(one, source_bytes) for one in history.same_type]),
    ):
        if seen:
            costs = sorted((cost_of(one, prices) for one in seen), key=lambda cost: cost.cost_micro_cents_usd)
            middle = costs[(len(costs) - 1) // 2]
            totals = costs[0].cost_micro_cents_usd, costs[-1].cost_micro_cents_usd
            return Estimate(method, len(costs), middle, *totals, unknown=())
    if source_bytes is not None:
        cost = cost_of(Quantities(scan_bytes=source_bytes), prices)
        return Estimate(Method.SOURCE_SIZES, 0, cost, None, None, unknown=(Item.COMPUTE,))
    return Estimate(Method.NOTHING, 0, None, None, None, unknown=(Item.SCAN, Item.COMPUTE))


def _scanning(one: Quantities, source_bytes: int | None) -> Quantities:
    return one if source_bytes is None else one.model_copy(update={"scan_bytes": source_bytes})
