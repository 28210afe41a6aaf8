"""Hears what the code under test logs as an error: what it survives must not hide a defect."""

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from typing_extensions import override

from prefect_narrative.planes.errors import PublishLockTimeoutError

EXPECTED = (PublishLockTimeoutError, PermissionError)
"""What the world does to the code: a lake that is locked, and processes of somebody else."""


class Ears(logging.Handler):
    """Keeps the errors that nobody expects."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.heard: list[str] = []

    @override
    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, EXPECTED):
            self.heard.append("".join(traceback.format_exception(error)))


EARS = Ears()


@contextmanager
def listening() -> Iterator[None]:
    """Hear what is logged as an error, and let nothing be printed."""
    logger = logging.getLogger("prefect_narrative")
    before = logger.level, logger.propagate
    logger.addHandler(EARS)
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(EARS)
        logger.setLevel(before[0])
        logger.propagate = before[1]


def heard() -> list[str]:
    """Return what was heard since this was asked last."""
    found, EARS.heard = EARS.heard, []
    return found
