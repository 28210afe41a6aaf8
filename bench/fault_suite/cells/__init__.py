"""The cells, by what they are about; to import this is to register them all, in the order in which they are played."""

# isort: off
from fault_suite.cells import ordinary, asking, cancelling, forcing, losing, dying, fencing, clocks  # noqa: F401
