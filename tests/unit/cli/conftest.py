import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from prefect_narrative.jobs.record import Job, Observation, PrefectState, RequestSource
from prefect_narrative.jobs.sql import open_store
from prefect_narrative.jobs.states import JobState
from prefect_narrative.settings import Settings

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PREFECT_TYPES = {JobState.CANCELLED: "CANCELLED", JobState.FAILED: "FAILED", JobState.PENDING: "SCHEDULED"}


@pytest.fixture(autouse=True)
def own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test has a home of its own, and what it puts into the environment is gone afterwards."""
    before = dict(os.environ)
    for name in list(os.environ):
        if name.startswith(("NARRATIVE_", "PREFECT_")):
            del os.environ[name]
    os.environ["HOME"] = str(tmp_path)
    os.environ["NARRATIVE_HOME"] = str(tmp_path / "narrative")
    yield
    os.environ.clear()
    os.environ.update(before)
    if "prefect.context" in sys.modules:
        sys.modules["prefect.context"].refresh_global_settings_context()


@pytest.fixture
def settings() -> Settings:
    return Settings()


@pytest.fixture
def add_job(settings: Settings) -> Callable[..., Job]:
    """Put a job into the table."""

    def add(number: int = 0, *, state: JobState = JobState.PENDING, **values: Any) -> Job:
        job_id = values.pop("job_id", None) or UUID(int=uuid4().int)
        at = NOON + timedelta(minutes=number)
        seen = Observation(
            job_id=job_id,
            state=state,
            created_at=at,
            ended_at=at if state.terminal else None,
            prefect=PrefectState(state_id=uuid4(), type=PREFECT_TYPES[state], name="Test", timestamp=at),
            **{
                "type": "create-dataset",
                "input": {"name": "orders"},
                "dataset": "orders",
                "request_source": RequestSource(type="cli"),
                **values,
            },
        )
        with open_store(settings) as store:
            return store.apply(seen, cause="hook")

    return add
