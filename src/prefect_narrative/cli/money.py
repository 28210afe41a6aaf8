"""Money for people."""

from decimal import Decimal

DECIMALS = 8
"""Of a dollar that is counted in micro-cents."""


def usd(micro_cents: int) -> Decimal:
    """Return an amount in US dollars with all of its decimals, so that what is shown adds up."""
    return Decimal(micro_cents).scaleb(-DECIMALS)
