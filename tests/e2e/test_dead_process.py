import os
import signal
import time
from uuid import UUID

from tests.e2e.conftest import Platform


def test_a_job_whose_process_is_killed_is_tried_again(platform: Platform) -> None:
    """The same job, with its first failure kept; who waits for it sees how it ends."""
    query = "SELECT count(*) AS n FROM range(60000) AS x(a) JOIN range(60000) AS y(b) ON a + b > 0"
    asked = platform.json("submit", "create-materialized-view", "name=survivor", f"query={query}")
    until = time.monotonic() + 90
    while (job := platform.json("jobs", "show", asked["job_id"]))["executor"] is None:
        assert time.monotonic() < until
        time.sleep(0.2)
    os.kill(job["executor"]["pid"], signal.SIGKILL)
    ended = platform.json("jobs", "wait", asked["job_id"])
    assert (ended["state"], ended["attempt"]) == ("completed", 2)
    assert UUID(ended["job_id"]) == UUID(asked["job_id"])
    assert [(one["attempt"], one["kind"], one["retryable"]) for one in ended["failures"]] == [
        (1, "infrastructure", True)
    ]
    assert platform.json("query", "SELECT n FROM survivor")["rows"] == [[60000 * 60000 - 1]]
