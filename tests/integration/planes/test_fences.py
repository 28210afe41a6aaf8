"""Who holds no plane fences attempts by a plane's name, and by none where it is not known."""

from pathlib import Path
from uuid import uuid4

import pytest

from prefect_narrative.planes import Plane, Write, open_plane
from prefect_narrative.planes.errors import FencedError
from prefect_narrative.planes.fences import Fences
from prefect_narrative.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", memory_limit="512MB")


def opened(settings: Settings, name: str) -> Plane:
    return open_plane(name, settings.plane_directory(name), settings)


@pytest.mark.parametrize("named", ["default", None])
def test_an_attempt_is_fenced_out_of_the_plane_that_it_works_on(named: str | None, settings: Settings) -> None:
    job_id = uuid4()
    with opened(settings, "default") as plane, opened(settings, "other"):
        stage = plane.stage_query(job_id, 5, "late", plane.check("SELECT 1 AS n"), at=plane.snapshot())
        Fences(settings).fence(named, job_id, 6)
        with pytest.raises(FencedError):
            plane.publish(job_id, 5, [Write("late", "create", stage)], {})
        assert not plane.exists("late")


def test_another_planes_fence_keeps_nobody_out(settings: Settings) -> None:
    job_id = uuid4()
    with opened(settings, "default") as plane, opened(settings, "other"):
        stage = plane.stage_query(job_id, 5, "made", plane.check("SELECT 1 AS n"), at=plane.snapshot())
        Fences(settings).fence("other", job_id, 6)
        plane.publish(job_id, 5, [Write("made", "create", stage)], {"dataset": "made"})
    for named in ("default", None):
        found = Fences(settings).published(named, job_id)
        assert found is not None
        assert found["dataset"] == "made"
    assert Fences(settings).published("other", job_id) is None
    assert Fences(settings).published(None, uuid4()) is None


@pytest.mark.parametrize("named", ["nowhere", "../default", "..", "", "/etc", "a\0b"])
def test_a_name_that_is_no_plane_here_makes_none(named: str, settings: Settings) -> None:
    fences = Fences(settings)
    fences.fence(named, uuid4(), 6)
    assert fences.published(named, uuid4()) is None
    assert not settings.planes.exists()
