"""The cells, by what they are about; to import this is to register them all."""

from fault_suite.cells import cancelling, ordinary  # noqa: F401
