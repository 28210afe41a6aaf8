"""Prices as they are reckoned with: whole micro-cents of a US dollar for one unit."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field

from prefect_narrative.costs.items import MICRO_CENTS_PER_USD, Item
from prefect_narrative.errors import FailureKind, NarrativeError

PRICE_LIST_TYPE = "narrative-prices"
"""The slug of the block type in which an operator sets prices."""
PRICE_LIST = "default"
"""The name of the block that counts."""
HIGHEST_USD = 10_000
"""US dollars for one unit: what is dearer is a slip of the pen."""
DEFAULTS_USD: Mapping[Item, float] = {
    Item.SCAN: 0.65,
    Item.COMPUTE: 0.0000125,
    Item.EGRESS: 1.50,
    Item.STORAGE: 0.023,
}
"""Scan and egress are the platform's own prices; compute is 0.045 USD an hour of one core, storage what clouds' object
stores ask for."""


class PriceMissingError(NarrativeError, LookupError):
    """A price is missing in the price list."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "price_missing"
    remedy = "Give it a value in the block of the type Narrative Prices, 0 where it is free; or delete the block."


class InvalidPriceError(NarrativeError, ValueError):
    """A price is no number of US dollars from 0 to 10,000 with at most eight decimals."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "invalid_price"
    remedy = "Correct it in the block of the type Narrative Prices: US dollars for one unit, such as 0.65."


class Prices(BaseModel):
    """What one unit of each item costs, in micro-cents of a US dollar (1 USD is 100,000,000 of them)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scan: int = Field(ge=0)
    """One GiB read and processed."""
    compute: int = Field(ge=0)
    """One second of one CPU."""
    egress: int = Field(ge=0)
    """One GiB handed to another system."""
    storage: int = Field(ge=0)
    """One GiB kept for a month."""

    def of(self, item: Item) -> int:
        """Return the price of one unit of an item."""
        return int(getattr(self, item.value))

    @classmethod
    def default(cls) -> Self:
        """Return the prices that hold where nobody set any."""
        return cls(**{item.value: _micro_cents(item, price) for item, price in DEFAULTS_USD.items()})

    @classmethod
    def from_usd(cls, given: Mapping[str, Any]) -> Self:
        """Return prices that are given as US dollars by the names of a price list, such as `scan_usd_per_gib`.

        Raises:
            PriceMissingError: one is missing; what is missing is not free.
            InvalidPriceError: one is no number, below 0, above 10,000, or finer than a micro-cent.
        """
        missing = [item.price_field for item in Item if given.get(item.price_field) is None]
        if missing:
            raise PriceMissingError(f"The price list has no {' and no '.join(missing)}.", detail={"missing": missing})
        return cls(**{item.value: _micro_cents(item, given[item.price_field]) for item in Item})


def _micro_cents(item: Item, usd: Any) -> int:
    """Return a price in micro-cents.

    Raises:
        InvalidPriceError: it breaks a rule.
    """
    told = f"{item.price_field} = {str(usd)[:60]}"
    if isinstance(usd, bool) or not isinstance(usd, int | float | Decimal | str):
        raise InvalidPriceError(f"{told}: a price is a number of US dollars.")
    try:
        exact = Decimal(str(usd))
    except InvalidOperation:
        raise InvalidPriceError(f"{told}: a price is a number of US dollars.") from None
    if not exact.is_finite():
        raise InvalidPriceError(f"{told}: a price is a finite number.")
    if not 0 <= exact <= HIGHEST_USD:
        raise InvalidPriceError(f"{told}: a price is 0 to {HIGHEST_USD:,} US dollars for one {item.unit}.")
    micro_cents = exact * MICRO_CENTS_PER_USD
    if micro_cents != int(micro_cents):
        raise InvalidPriceError(f"{told}: a price has at most eight decimals, which are micro-cents.")
    return int(micro_cents)
