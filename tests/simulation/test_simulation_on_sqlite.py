"""The simulated worlds again, with the job table in SQLite as operators have it."""

import shutil
from itertools import count
from pathlib import Path

import pytest

from prefect_narrative.jobs.schema import bring_up_to_date
from prefect_narrative.jobs.sql import SqlJobStore
from prefect_narrative.jobs.store import JobStore
from tests.simulation.clocks import Clocks
from tests.simulation.coverage import Coverage
from tests.simulation.machine import Simulation, simulate, worlds


@pytest.mark.timeout(36_000)
def test_every_world_comes_to_rest_at_the_truth(tmp_path: Path) -> None:
    """As with the job table in memory; fewer of them, since each takes longer."""
    empty, number = tmp_path / "empty.sqlite", count()
    with SqlJobStore(f"sqlite:///{empty}") as store:
        bring_up_to_date(store.database)

    def in_sqlite(clocks: Clocks) -> JobStore:
        file = shutil.copy(empty, tmp_path / f"{next(number)}.sqlite")
        return SqlJobStore(f"sqlite:///{file}", clock=clocks.machine)

    class InSqlite(Simulation):
        make_table = staticmethod(in_sqlite)
        coverage = Coverage()

    simulate(InSqlite, worlds(30))
    assert InSqlite.coverage.depths["third attempt"]
