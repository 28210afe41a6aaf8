"""Planes to test on: a new one a test, and one with sample datasets for tests that only read."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from plane_samples import OPENERS, SAMPLES, make_dataset, settings_for

from prefect_narrative.planes import Plane, open_plane
from prefect_narrative.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path / "home")


@pytest.fixture(params=sorted(OPENERS))
def plane(request: pytest.FixtureRequest, settings: Settings) -> Iterator[Plane]:
    with OPENERS[request.param]("default", settings.plane_directory("default"), settings) as opened:
        yield opened


@pytest.fixture(scope="module", params=sorted(OPENERS))
def shared_plane(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """One plane for many tests: each replaces what it reads, and counts on nothing else being there or not."""
    settings = settings_for(tmp_path_factory.mktemp("shared") / "home")
    with OPENERS[request.param]("default", settings.plane_directory("default"), settings) as opened:
        yield opened


@pytest.fixture(scope="module")
def sample_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A plane with the sample datasets. Tests must not change it."""
    settings = settings_for(tmp_path_factory.mktemp("sample") / "home")
    with open_plane("default", settings.plane_directory("default"), settings) as opened:
        for name, query in SAMPLES.items():
            make_dataset(opened, name, query)
        yield opened
