"""What the processes of test_plane_processes do: run as `python plane_process.py <what> <home> <arguments>`."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn
from uuid import UUID, uuid4

from plane_samples import make_dataset, settings_for

from prefect_narrative.planes import Plane, Write, open_plane, publishing


def opened(home: Path) -> Plane:
    settings = settings_for(home, memory_limit="256MB", threads=1, publish_lock_timeout=120)
    return open_plane("default", settings.plane_directory("default"), settings)


def publish_many(home: Path, worker: str, count: str) -> None:
    """Publish to a dataset of one's own and to one that all share, in turn."""
    with opened(home) as plane:
        make_dataset(plane, f"own_{worker}", "SELECT -1 AS n")
        for number in range(int(count)):
            make_dataset(plane, f"own_{worker}", f"SELECT {number} AS n", mode="append")
            make_dataset(plane, "shared", f"SELECT '{worker}' AS worker, {number} AS n", mode="append")


def replace_forever(home: Path) -> NoReturn:
    """Replace two datasets with the same number, in one publication each time, until killed."""
    with opened(home) as plane:
        number = 0
        while True:
            number += 1
            job = uuid4()
            plane.claim(job, 1)
            at = plane.snapshot()
            query = plane.check(f"SELECT {number} AS n, i FROM range(2000) AS source(i)")
            writes = [
                Write(name, "replace", plane.stage_query(job, 1, name, query, at=at))
                for name in ("left_one", "right_one")
            ]
            plane.publish(job, 1, writes, {"n": number})
            print(number, flush=True)


def die_after_commit(home: Path, job_id: str) -> None:
    """Die of SIGKILL after the commit was done, before anybody hears of it."""
    real = publishing.commit

    def commit(connection: object) -> None:
        real(connection)  # type: ignore[arg-type]
        os.kill(os.getpid(), signal.SIGKILL)

    publishing.commit = commit
    with opened(home) as plane:
        make_dataset(
            plane, "appended", "SELECT 1 AS a", mode="append", job_id=UUID(job_id), result={"by": "the killed one"}
        )


def publish_when_told(home: Path, job_id: str, token: str) -> None:
    """Stage, say so, wait for a line, and publish with a token; say how it ended."""
    with opened(home) as plane:
        job = UUID(job_id)
        plane.claim(job, int(token))
        stage = plane.stage_query(
            job, int(token), "fenced", plane.check(f"SELECT {token} AS token"), at=plane.snapshot()
        )
        print("staged", flush=True)
        sys.stdin.readline()
        try:
            plane.publish(job, int(token), [Write("fenced", "replace", stage)], {"token": int(token)})
        except Exception as error:  # its name is the answer
            print(type(error).__name__, flush=True)
        else:
            print("published", flush=True)


def open_at(home: Path, moment: str) -> None:
    """Open a plane at a moment that all processes were given."""
    time.sleep(max(0.0, float(moment) - time.time()))
    with opened(home) as plane:
        print(plane.snapshot(), flush=True)


WHAT: dict[str, Callable[..., None]] = {
    "publish_many": publish_many,
    "replace_forever": replace_forever,
    "die_after_commit": die_after_commit,
    "publish_when_told": publish_when_told,
    "open_at": open_at,
}

if __name__ == "__main__":
    WHAT[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
