"""A process that takes a sample and kills itself at its publication: `python sample_process.py HOME JOB TOKEN HOW`.

HOW is `before` or `after` the commit, or `live` for not at all; then it says what was published.
"""

import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from prefect_narrative.planes import open_plane, publishing
from prefect_narrative.samples.taking import Request, take
from prefect_narrative.settings import Settings


def main(home: str, job: str, token: str, how: str) -> None:
    commit = publishing.commit

    def die(connection: object) -> None:
        if how == "after":
            commit(connection)  # type: ignore[arg-type]
        os.kill(os.getpid(), signal.SIGKILL)

    if how != "live":
        publishing.commit = die
    settings = Settings(home=Path(home), threads=2)
    with open_plane("default", settings.plane_directory("default"), settings) as plane:
        sample = take(plane, UUID(job), Request(dataset="numbers", rows=5), datetime.now(UTC))
        done = plane.publish(UUID(job), int(token), [], {"seed": sample.head.seed}, keep=[sample.as_kept()])
        sys.stdout.write(f"{done.found} {done.result['seed']}")


if __name__ == "__main__":
    main(*sys.argv[1:])
