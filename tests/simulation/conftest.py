"""What all simulations need."""

from collections.abc import Iterator

import pytest

from tests.simulation.ears import listening


@pytest.fixture(autouse=True)
def hear_errors() -> Iterator[None]:
    """The core logs each of the thousands of faults that are played; what it should not log fails the test."""
    with listening():
        yield
