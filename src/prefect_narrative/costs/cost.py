"""From quantities to money: `cost_of`, and costs that are added up.

The one rule of rounding: a line's amount is its quantity times its price, rounded to the nearest whole micro-cent,
halves up. From there on everything is integers: a cost is the sum of its lines, and costs are added by adding lines,
never by multiplying anew. So amounts add up exactly, whichever way they are grouped.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, computed_field, model_validator

from prefect_narrative.costs.items import Item
from prefect_narrative.costs.prices import Prices


class Quantities(BaseModel):
    """How much of each item is taken; None where nothing of it is, or where it is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    scan_bytes: int | None = Field(default=None, ge=0)
    """Bytes read and processed."""
    cpu_seconds: float | None = Field(default=None, ge=0)
    """Seconds of CPU of all threads; counted in whole microseconds."""
    egress_bytes: int | None = Field(default=None, ge=0)
    """Bytes handed to another system."""
    storage_byte_months: float | None = Field(default=None, ge=0)
    """Bytes times the months for which they are kept; counted in whole byte-months."""

    def parts(self) -> dict[Item, int]:
        """Return what is known, counted in parts of the items' units."""
        known = {
            Item.SCAN: self.scan_bytes,
            Item.COMPUTE: None if self.cpu_seconds is None else round(self.cpu_seconds * Item.COMPUTE.parts),
            Item.EGRESS: self.egress_bytes,
            Item.STORAGE: None if self.storage_byte_months is None else round(self.storage_byte_months),
        }
        return {item: count for item, count in known.items() if count is not None}


class Line(BaseModel):
    """A line of a bill."""

    model_config = ConfigDict(frozen=True)

    item: Item
    """What is charged for."""
    parts: int
    """How much of it, in bytes, microseconds or byte-months."""
    price_micro_cents_usd: int
    """Price of one unit."""
    amount_micro_cents_usd: int
    """What is charged: quantity times price, rounded; of lines that were added up, the sum of what each came to."""

    @classmethod
    def of_parts(cls, item: Item, parts: int, price: int, amount: int | None = None) -> Self:
        """Return the line of so many parts of an item's unit.

        Args:
            item: The item.
            parts: Bytes, microseconds or byte-months.
            price: Micro-cents for one unit.
            amount: Micro-cents that it came to, where that is known already. None: by the rule of rounding.
        """
        if amount is None:
            amount = (2 * parts * price + item.parts) // (2 * item.parts)
        return cls(item=item, parts=parts, price_micro_cents_usd=price, amount_micro_cents_usd=amount)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def quantity(self) -> float:
        """How much of it, in units."""
        return self.parts / self.item.parts

    @computed_field  # type: ignore[prop-decorator]
    @property
    def unit(self) -> str:
        """What the price is for: `GiB`, `CPU second` or `GiB month`."""
        return self.item.unit


class Cost(BaseModel):
    """What something costs, and of what that is made up."""

    model_config = ConfigDict(frozen=True)

    cost_micro_cents_usd: int
    """The sum of the lines' amounts, in 1/100,000,000 of a US dollar."""
    breakdown: tuple[Line, ...]
    """Scan, compute, egress, storage, in this order: each at most once for each price."""

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        total = sum(line.amount_micro_cents_usd for line in self.breakdown)
        if total != self.cost_micro_cents_usd:
            raise ValueError(f"the lines come to {total} micro-cents, not to {self.cost_micro_cents_usd}")
        return self

    @classmethod
    def of(cls, lines: Iterable[Line]) -> Self:
        """Return the cost of lines; those of the same item at the same price become one."""
        parts: dict[tuple[Item, int], int] = defaultdict(int)
        amounts: dict[tuple[Item, int], int] = defaultdict(int)
        for line in lines:
            key = line.item, line.price_micro_cents_usd
            parts[key] += line.parts
            amounts[key] += line.amount_micro_cents_usd
        order = list(Item)
        merged = tuple(
            Line.of_parts(item, parts[item, price], price, amounts[item, price])
            for item, price in sorted(parts, key=lambda key: (order.index(key[0]), key[1]))
        )
        return cls(cost_micro_cents_usd=sum(line.amount_micro_cents_usd for line in merged), breakdown=merged)

    def __add__(self, other: "Cost") -> "Cost":
        """Return both together."""
        return Cost.of((*self.breakdown, *other.breakdown))


def cost_of(quantities: Quantities, prices: Prices) -> Cost:
    """Return what quantities cost at these prices: one line for each that is known."""
    return Cost.of(Line.of_parts(item, parts, prices.of(item)) for item, parts in quantities.parts().items())
