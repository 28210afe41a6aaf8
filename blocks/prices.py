"""The block in which an operator sets prices."""

from typing import Self

from prefect.blocks.core import Block
from pydantic import Field, model_validator

from prefect_narrative.costs import Item, Prices
from prefect_narrative.costs.prices import DEFAULTS_USD, PRICE_LIST_TYPE


def _usd(item: Item, title: str, description: str) -> float:
    """Return a field that a form fills with the default, and that is missing where somebody has emptied it."""
    price: float = Field(
        title=title,
        description=f"US dollars for {description}; 0 to 10,000, at most eight decimals.",
        json_schema_extra={"default": DEFAULTS_USD[item], "minimum": 0, "maximum": 10_000},
    )
    return price


class PriceList(Block):
    """What one unit of each thing costs that jobs use. The block called `default` counts.

    Jobs read it while they run; what has ended keeps the cost that it has. A price that is missing is not free: jobs
    then have no cost.

    Example:
        Look up the prices that an operator has set:
        ```python
        from prefect_narrative.blocks import PriceList

        prices = PriceList.load("BLOCK_NAME")
        print(prices.scan_usd_per_gib)
        ```
    """

    _block_type_name = "Narrative Prices"
    _block_type_slug = PRICE_LIST_TYPE
    # Prefect takes only an http(s) address here; this one is the icon that its own file system blocks show.
    _logo_url = "https://raw.githubusercontent.com/PrefectHQ/prefect/420d0d6a78bb6df1fc18bcf188fdad43c1d22ea9/assets/block-logos/filesystem.png"  # type: ignore[assignment]
    _documentation_url = "https://docs.prefect.io/v3/concepts/blocks"  # type: ignore[assignment]
    _description = "What the platform's jobs cost: prices of scanned bytes, CPU time, egress and storage."

    scan_usd_per_gib: float = _usd(Item.SCAN, "Scan", "one GiB that a job reads and processes")
    compute_usd_per_cpu_second: float = _usd(Item.COMPUTE, "Compute", "one second of one CPU")
    egress_usd_per_gib: float = _usd(Item.EGRESS, "Egress", "one GiB that is handed to another system")
    storage_usd_per_gib_month: float = _usd(Item.STORAGE, "Storage", "one GiB that is kept for a month")

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        self.prices()
        return self

    @classmethod
    def with_defaults(cls) -> Self:
        """Return the prices that hold where nobody set any."""
        return cls(**{item.price_field: price for item, price in DEFAULTS_USD.items()})

    def prices(self) -> Prices:
        """Return the prices as they are reckoned with.

        Raises:
            InvalidPriceError: one is below 0, above 10,000, no number, or finer than a micro-cent.
        """
        return Prices.from_usd({item.price_field: getattr(self, item.price_field) for item in Item})
