"""Jobs that outlive their worker: nobody reads their output any more, and that must not end them."""

import os
import sys
from contextlib import suppress

from rich.console import Console


def outlive_readers() -> None:
    """Let what this process writes go nowhere, rather than end it, where the pipe that it goes into is broken.

    A killed worker takes the reading end with it. Rich, through which Prefect writes its log, would then raise
    SystemExit in whichever thread logs: in the middle of a job's work, or in the thread that looks after it.
    """
    Console.on_broken_pipe = _go_quiet  # type: ignore[method-assign, assignment]


def _go_quiet(console: Console) -> None:
    console.quiet = True
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
