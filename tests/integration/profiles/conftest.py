"""One plane for the tests of profiles: each replaces what it reads."""

from collections.abc import Iterator

import pytest
from profile_samples import settings_in

from prefect_narrative.planes import open_plane
from prefect_narrative.planes.ducklake import DuckLakePlane


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckLakePlane]:
    settings = settings_in(tmp_path_factory.mktemp("profiles") / "home")
    with open_plane("default", settings.plane_directory("default"), settings) as opened:
        assert isinstance(opened, DuckLakePlane)
        yield opened
