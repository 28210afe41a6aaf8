"""Ending an attempt from within, without a word to Prefect: its run is another attempt's by now, or has ended."""

import logging
import os
import signal

from prefect._internal.control_listener import _set_intent
from prefect.utilities.engine import can_ack_control_intent

logger = logging.getLogger(__name__)


def leave(why: str) -> bool:
    """Make the flow that runs in this process's main thread end as if its machine had been taken away.

    Prefect's engine raises its termination signal in the flow, so that queries are interrupted and everything is
    released; told that whoever supervises it gives the run up, it proposes no state. Where no such engine is in charge
    of the process, nothing happens: the process is somebody else's.

    Args:
        why: The reason, for the log.

    Returns:
        Whether the flow was told to end.
    """
    if not can_ack_control_intent():
        logger.warning("The flow can't be ended from within its process, which no flow engine is in charge of: %s", why)
        return False
    _set_intent("relinquish")
    os.kill(os.getpid(), signal.SIGTERM)
    return True
