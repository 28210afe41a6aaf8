"""A view refreshed by what has changed is the view that its query would yield: same rows, as often, same columns."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import duckdb
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from view_cases import FORMS, Change, Table, View, World, changes, worlds

from prefect_narrative.planes import Plane, open_plane
from prefect_narrative.planes.columns import casts
from prefect_narrative.planes.connection import Place, open_writer
from prefect_narrative.planes.names import dataset_name
from prefect_narrative.planes.staging import described
from prefect_narrative.settings import Settings
from prefect_narrative.views.defining import DefinitionPlan, Draft, plan_definition
from prefect_narrative.views.definition import ViewDefinition
from prefect_narrative.views.filling import fill_view
from prefect_narrative.views.reasons import NotIncrementalError
from prefect_narrative.views.refreshing import RefreshPlan, carried_out, plan_refresh, stage_refresh, view_write
from prefect_narrative.views.updating import Mode

WORLDS = int(os.environ.get("NARRATIVE_SIMULATIONS", "100")) // 10
"""How many worlds are played: each is some views, refreshed again and again. Long runs play more."""
WORLDS_A_LAKE = 25
"""A lake in which much has happened is slow to tell its own history."""


@dataclass
class Lake:
    """Planes, one after the other, with a connection that does to them what other programs do."""

    home: Path
    plane: Plane = field(init=False)
    connection: duckdb.DuckDBPyConnection = field(init=False)
    worlds: int = 0
    tampered: set[str] = field(default_factory=set)
    """Views whose rows somebody has deleted since their last refresh."""
    actions: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often views of a form were refreshed how."""

    def begin(self) -> None:
        """Begin a world, in an empty lake where the present one has seen many."""
        if self.worlds % WORLDS_A_LAKE == 0:
            self.end()
            settings = Settings(home=self.home / str(self.worlds), threads=1, memory_limit="512MB")
            place = settings.plane_directory("default")
            self.plane = open_plane("default", place, settings)
            self.connection = open_writer(Place(place), settings, settings.home / "spill")
            if self.worlds // WORLDS_A_LAKE % 2 == 0:  # few rows lie in the catalog, as in other programs' lakes
                self.run("CALL lake.set_option('data_inlining_row_limit', 10)")
        self.worlds += 1
        self.tampered = set()
        for dataset in self.plane.descriptions():
            self.connection.execute(f"DROP TABLE {dataset_name(dataset.name).sql}")

    def end(self) -> None:
        """Close what is open."""
        if self.worlds:
            self.connection.close()
            self.plane.close()

    def run(self, sql: str) -> None:
        """Do something to the lake."""
        self.connection.execute(sql).fetchall()

    # Datasets

    def make(self, table: Table, rows: tuple[str, ...]) -> None:
        """Make a dataset anew."""
        name = dataset_name(table.name)
        columns = ", ".join(f"{column} {kind}" for column, kind in table.columns.items())
        self.run(f'CREATE SCHEMA IF NOT EXISTS lake."{name.schema}"')
        self.run(f"CREATE OR REPLACE TABLE {name.sql} ({columns})")
        self.add(table, rows)

    def add(self, table: Table, rows: tuple[str, ...]) -> None:
        """Add rows."""
        if rows:
            columns = ", ".join(table.columns)
            self.run(f"INSERT INTO {dataset_name(table.name).sql} ({columns}) VALUES {', '.join(rows)}")

    def change(self, world: World, change: Change, number: int) -> None:
        """Let something happen to a dataset."""
        table = world.tables[change.table]
        sql, where = dataset_name(table.name).sql, change.where
        match change.kind:
            case "insert":
                self.add(table, change.rows)
            case "load":  # more rows than the lake keeps in its catalog
                self.add(table, change.rows * 5)
            case "delete":
                self.run(f"DELETE FROM {sql} WHERE {where}")
            case "update":
                self.run(f"UPDATE {sql} SET v0 = (SELECT max(v0) FROM {sql}) WHERE {where}")
            case "update key":
                self.run(f"UPDATE {sql} SET k = (k + 1) % 4, g = NULL WHERE {where}")
            case "insert and delete":
                self.add(table, change.rows * 3)
                self.run(f"DELETE FROM {sql} WHERE {where}")
            case "replace":
                self.make(table, change.rows)
            case "compact":
                self.add(table, change.rows * 3)
                self.run("CALL ducklake_merge_adjacent_files('lake')")
            case "flush":
                self.run("CALL ducklake_flush_inlined_data('lake')")
            case "rewrite":
                self.run(f"DELETE FROM {sql} WHERE {where}")
                self.run("CALL ducklake_flush_inlined_data('lake')")
                self.run("CALL ducklake_rewrite_data_files('lake', delete_threshold => 0)")
            case "add column":
                self.run(f"ALTER TABLE {sql} ADD COLUMN more_{number} INTEGER DEFAULT 7")
            case "rename back and forth":
                self.run(f"ALTER TABLE {sql} RENAME COLUMN v0 TO other")
                self.run(f"ALTER TABLE {sql} RENAME COLUMN other TO v0")
            case "widen":
                self.run(f"ALTER TABLE {sql} ALTER COLUMN k TYPE BIGINT")
            case "expire":
                newest = self.plane.snapshot()
                self.run(f"CALL ducklake_expire_snapshots('lake', versions => range(1, {newest}))")
                self.run("CALL ducklake_cleanup_old_files('lake', cleanup_all => true)")
            case "tamper":
                view = world.views[0].name
                if self.plane.dataset(view).rows:
                    self.run(f"DELETE FROM lake.{view} WHERE rowid = (SELECT min(rowid) FROM lake.{view})")
                    self.tampered.add(view)

    # Views

    def define(self, view: View) -> None:
        """Create a view and fill it."""
        definition = ViewDefinition(query=view.query, columns=(), sources=())
        plan = plan_definition(self.plane, Draft(view.name, definition), datetime.now(UTC))
        assert isinstance(plan, DefinitionPlan)
        job = uuid4()
        filled = fill_view(self.plane, job, 1, view.name, plan.query, plan.at, plan.definition)
        write = view_write(view.name, filled.definition, plan.versions, filled.stage, state=filled.state)
        self.plane.publish(job, 1, [write], {})
        self.compare(view, "create")

    def refresh(self, view: View) -> None:
        """Refresh a view by what has changed where it can be, and see that it is what its query yields."""
        try:
            action = self.refreshed(view.name, "incremental")
        except NotIncrementalError:
            action = self.refreshed(view.name, "auto")
            assert action == "full"
        self.actions[view.form, action] += 1
        if view.name in self.tampered:  # nothing but a change of its sources makes anybody look
            assert action != "incremental"
            self.tampered -= set() if action == "no_data" else {view.name}
        if view.name not in self.tampered:
            self.compare(view, action)

    def refreshed(self, view: str, mode: Mode) -> str:
        """Do what a job does that refreshes a view; return how."""
        job = uuid4()

        def do(plan: RefreshPlan) -> str:
            if plan.action != "no_data":
                outcome = stage_refresh(self.plane, job, 1, plan)
                self.plane.publish(job, 1, [outcome.write], {})
                assert self.plane.dataset(view).rows == outcome.rows
            return plan.action

        return carried_out(lambda how, instead: plan_refresh(self.plane, view, mode=how, instead=instead), do, mode)

    def compare(self, view: View, action: str) -> None:
        """See that a view has the rows and the columns that its query yields."""
        connection = self.connection
        connection.execute("USE lake")
        columns, wanted = casts(described(connection, view.query), connection)
        there = self.plane.dataset(view.name).columns
        if action == "create" or "*" not in view.query:
            assert there == tuple(columns)
        names = ", ".join(f'"{column.name}"' for column in there)
        shown = [f'CAST("{one.name}" AS VARCHAR)' for one in there if one.type == "DOUBLE" and view.form in EXACT_FORMS]
        named = ", ".join([names, *shown])
        query = f"SELECT {named} FROM (SELECT {wanted} FROM ({view.query}) AS q) AS wanted"
        rows = f"SELECT {named} FROM {view.name}"
        [(missing, surplus)] = connection.execute(
            f"SELECT (SELECT count(*) FROM ({query} EXCEPT ALL {rows})), "
            f"(SELECT count(*) FROM ({rows} EXCEPT ALL {query}))"
        ).fetchall()
        assert (missing, surplus) == (0, 0), f"{view.name} after {action}: {view.query}"


EXACT_FORMS = {"rows", "star", "union", "named"}
"""Forms of queries that do not choose one of several equal values, such as 0.0 and -0.0."""


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """A lake for all worlds."""
    found = Lake(tmp_path_factory.mktemp("lake"))
    yield found
    found.end()


@pytest.mark.timeout(36_000)
def test_every_view_is_what_its_query_yields_whatever_has_changed(lake: Lake) -> None:
    """And views of each form that can be are refreshed by what has changed, so that nobody tries nothing."""

    @settings(
        max_examples=WORLDS,
        deadline=None,
        database=None,
        derandomize=True,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(st.data())
    def play(data: st.DataObject) -> None:
        world = data.draw(worlds(), "world")
        lake.begin()
        for table, rows in zip(world.tables, world.rows, strict=True):
            lake.make(table, rows)
        for view in world.views:
            lake.define(view)
        for number in range(data.draw(st.integers(2, 5), "changes")):
            change = data.draw(changes(world), f"change {number}")
            lake.change(world, change, number)
            for place in sorted(change.refreshed):
                lake.refresh(world.views[place])
        for view in world.views:
            lake.refresh(view)

    play()
    for form in FORMS:
        ways = {action for name, action in lake.actions if name == form}
        assert ("incremental" in ways) == (form != "other"), f"{form} was only refreshed so: {ways}"
