"""A process that does jobs on views until it is killed: `python view_process.py <home>`.

It reads one job a line, as JSON, and answers each with one line. A job may say after how many calls of functions, in
whatever thread, the process is to die of SIGKILL; that falls between two steps of anything that is written in Python.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path
from uuid import UUID

from view_world import cascade, create, opened, refresh

from prefect_narrative.planes import Plane


class Calls:
    """Counts calls of functions in all threads that start later, and dies when there were enough of them."""

    def __init__(self) -> None:
        self.count = 0
        self.last: int | None = None

    def __call__(self, frame: object, event: str, argument: object) -> None:
        if event in {"call", "c_call"}:
            self.count += 1
            if self.count == self.last:
                os.kill(os.getpid(), signal.SIGKILL)


def do(plane: Plane, job: UUID, token: int, what: str, view: str, how: str | None) -> object:
    """Do a job."""
    if what == "create":
        return create(plane, job, token, view, query=how)
    if what == "cascade":
        return cascade(plane, job, token, view, how or "auto")
    return refresh(plane, job, token, view, how or "auto")


def main() -> None:
    """Do one job a line."""
    calls = Calls()
    threading.setprofile(calls)
    with opened(Path(sys.argv[1])) as plane:
        plane.snapshot()
        sys.setprofile(calls)
        print("ready", flush=True)
        for line in sys.stdin:
            given = json.loads(line)
            calls.count, calls.last = 0, given["die_after"]
            result = do(plane, UUID(given["job"]), given["token"], given["what"], given["view"], given["how"])
            calls.last = None
            print(json.dumps({"calls": calls.count, "result": result}), flush=True)


if __name__ == "__main__":
    main()
