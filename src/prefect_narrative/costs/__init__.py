"""What work costs: prices, quantities, and the one rule by which they become money. It knows nobody else."""

from prefect_narrative.costs.cost import Cost, Line, Quantities, cost_of
from prefect_narrative.costs.items import MICRO_CENTS_PER_USD, Item
from prefect_narrative.costs.prices import Prices

__all__ = ["MICRO_CENTS_PER_USD", "Cost", "Item", "Line", "Prices", "Quantities", "cost_of"]
