"""A sample is the old one or the new one, whole, wherever its job is killed; and it is published once."""

import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from plane_samples import make_dataset, settings_for

from prefect_narrative.planes import Plane, open_plane
from prefect_narrative.planes.errors import FencedError
from prefect_narrative.samples.showing import kept_sample
from prefect_narrative.samples.taking import Request, SampleSizeError, SampleSourceError, take

SCRIPT = Path(__file__).with_name("sample_process.py")


def attempt(home: Path, job: UUID, token: int, how: str) -> tuple[int, str]:
    command = [sys.executable, str(SCRIPT), str(home), str(job), str(token), how]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout


def test_killed_at_its_publication_it_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "home")
    old, job = uuid4(), uuid4()
    with open_plane("default", settings.plane_directory("default"), settings) as plane:
        make_dataset(plane, "numbers", "SELECT i AS n FROM range(100) t(i)")
        sample = take(plane, old, Request(dataset="numbers", rows=3), datetime.now(UTC))
        plane.publish(old, 1, [], {}, keep=[sample.as_kept()])
        before = kept_sample(plane, "numbers")
        assert before == sample

    assert attempt(settings.home, job, 1, "before") == (-signal.SIGKILL, "")
    with open_plane("default", settings.plane_directory("default"), settings) as plane:
        assert kept_sample(plane, "numbers") == before
        assert plane.published(job) is None

    assert attempt(settings.home, job, 2, "after") == (-signal.SIGKILL, "")
    with open_plane("default", settings.plane_directory("default"), settings) as plane:
        after = kept_sample(plane, "numbers")
        assert (after.head.job_id, len(after.rows), after.head.seed) == (job, 5, job.int % 2**53)

    assert attempt(settings.home, job, 3, "live") == (0, f"True {after.head.seed}")
    with open_plane("default", settings.plane_directory("default"), settings) as plane:
        assert kept_sample(plane, "numbers") == after, "what was published is found, not published twice"
        make_dataset(plane, "numbers", "SELECT -1 AS n")
        assert kept_sample(plane, "numbers").rows == after.rows, "rows stay as they were"


def test_an_attempt_that_was_fenced_out_keeps_nothing(shared_plane: Plane) -> None:
    make_dataset(shared_plane, "fenced", "SELECT 1 AS n")
    job = uuid4()
    sample = take(shared_plane, job, Request(dataset="fenced"), datetime.now(UTC))
    shared_plane.fence(job, 5)
    with pytest.raises(FencedError):
        shared_plane.publish(job, 4, [], {}, keep=[sample.as_kept()])
    assert "fenced" not in {one.name for one in shared_plane.samples()}


@pytest.mark.parametrize(
    ("wanted", "error", "told"),
    [
        (Request(), SampleSourceError, "given was neither of them"),
        (Request(dataset="x", query="SELECT 1"), SampleSourceError, "given was dataset='x' and a query"),
        (Request(dataset="x", rows=0), SampleSizeError, "A sample has 1 to 1,000 rows, not 0."),
        (Request(dataset="x", rows=1001), SampleSizeError, "A sample has 1 to 1,000 rows, not 1,001."),
    ],
)
def test_what_is_no_request_is_refused(shared_plane: Plane, wanted: Request, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        take(shared_plane, uuid4(), wanted, datetime.now(UTC))
