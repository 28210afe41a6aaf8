"""What a job's use of the platform counts as, and so what the job costs.

| used | counts as |
|---|---|
| `read_bytes` | scan |
| `cpu_seconds` | compute |
| `written_bytes` of jobs that hand data to another system | egress |

What was not measured is not charged. Rows and memory cost nothing by themselves, and neither do bytes that are written
to datasets: storage is the datasets' and lasts as long as they do, so no job is charged for it.
"""

from collections.abc import Iterable

from prefect_narrative.costs import Cost, Item, Line, Quantities
from prefect_narrative.jobs.record import Usage, Value

DELIVERING_TYPES = frozenset({"deliver-data"})
"""Job types that write to other systems than the data plane."""


class Charge(Value):
    """A line of what an attempt costs, as the job table keeps it: whole numbers, which databases add up exactly."""

    token: int
    """The token that the attempt's process held."""
    item: Item
    parts: int
    """The quantity, in bytes or microseconds; see `Item.parts`."""
    price: int
    """Micro-cents for one unit."""
    amount: int
    """Micro-cents that it came to."""

    def line(self) -> Line:
        """Return it as a line of a bill."""
        return Line.of_parts(self.item, self.parts, self.price, self.amount)


def quantities_of(type: str, usage: Usage) -> Quantities:
    """Return what is charged for where a job of a type has used this."""
    return Quantities(
        scan_bytes=usage.read_bytes,
        cpu_seconds=usage.cpu_seconds,
        egress_bytes=usage.written_bytes if type in DELIVERING_TYPES else None,
    )


def charges_of(token: int, cost: Cost) -> list[Charge]:
    """Return what an attempt costs, as the job table keeps it."""
    return [
        Charge(
            token=token,
            item=line.item,
            parts=line.parts,
            price=line.price_micro_cents_usd,
            amount=line.amount_micro_cents_usd,
        )
        for line in cost.breakdown
    ]


def cost_of_charges(charges: Iterable[Charge]) -> Cost:
    """Return what attempts cost together."""
    return Cost.of(charge.line() for charge in charges)
