import os
import signal
from uuid import UUID

from tests.e2e.conftest import Platform


def test_a_job_whose_process_is_killed_is_tried_again(platform: Platform) -> None:
    """The same job, with its first failure kept; who waits for it sees how it ends."""
    query = "SELECT count(*) AS n FROM range(30000) AS x(a) JOIN range(15000) AS y(b) ON a + b > 0"
    asked = platform.json("submit", "create-materialized-view", "name=survivor", f"query={query}")
    job = platform.wait_until(asked["job_id"], lambda job: job["executor"] is not None)
    os.kill(job["executor"]["pid"], signal.SIGKILL)
    ended = platform.json("jobs", "wait", asked["job_id"])
    assert (ended["state"], ended["attempt"]) == ("completed", 2)
    assert UUID(ended["job_id"]) == UUID(asked["job_id"])
    assert [(one["attempt"], one["kind"], one["retryable"]) for one in ended["failures"]] == [
        (1, "infrastructure", True)
    ]
    assert platform.json("query", "SELECT n FROM survivor")["rows"] == [[30000 * 15000 - 1]]
