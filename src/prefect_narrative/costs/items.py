"""What is charged for, and in which units."""

from enum import StrEnum
from typing import NamedTuple

MICRO_CENTS_PER_USD = 100_000_000
GIB = 2**30


class _Measure(NamedTuple):
    unit: str
    parts: int
    field: str


class Item(StrEnum):
    """What is charged for. Quantities are counted in whole parts of the unit that has the price."""

    SCAN = "scan"
    """Bytes that are read and processed; priced by GiB."""
    COMPUTE = "compute"
    """CPU time of all threads, in microseconds; priced by the second."""
    EGRESS = "egress"
    """Bytes handed to another system; priced by GiB."""
    STORAGE = "storage"
    """Bytes kept for a month (of 730 hours); priced by GiB and month."""

    @property
    def unit(self) -> str:
        """What one price is for."""
        return _MEASURES[self].unit

    @property
    def parts(self) -> int:
        """How many parts, in which quantities are counted, make one unit."""
        return _MEASURES[self].parts

    @property
    def price_field(self) -> str:
        """The name of its price in a price list."""
        return _MEASURES[self].field


_MEASURES = {
    Item.SCAN: _Measure("GiB", GIB, "scan_usd_per_gib"),
    Item.COMPUTE: _Measure("CPU second", 1_000_000, "compute_usd_per_cpu_second"),
    Item.EGRESS: _Measure("GiB", GIB, "egress_usd_per_gib"),
    Item.STORAGE: _Measure("GiB month", GIB, "storage_usd_per_gib_month"),
}
