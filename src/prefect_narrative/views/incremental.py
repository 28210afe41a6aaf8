"""Refreshing a view by what has changed: the rows to delete, the rows to add, and the same for what is kept of groups.

All of it is staged outside any lock and published together. What was read is compared under the lock, so that a refresh
which another writer has overtaken changes nothing.
"""

# ruff: noqa: S608  (names are made here and quoted, expressions are written from checked trees)

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from prefect_narrative.planes.nodes import Node
from prefect_narrative.planes.plane import Changes, Column, Dataset, Plane, Relation, Stage, StateWrite, StoredRows
from prefect_narrative.planes.syntax import Parser
from prefect_narrative.views import applying
from prefect_narrative.views.averages import Division, division_of, probe
from prefect_narrative.views.grouping import GROUPS, ROWS
from prefect_narrative.views.reasons import NotIncrementalError
from prefect_narrative.views.results import Results
from prefect_narrative.views.shapes import Shape
from prefect_narrative.views.terms import Difference, as_of
from prefect_narrative.views.upkeep import AGAIN, Upkeep

VIEW, STATE, DIFFERENCE, WORK = "_view", "_state", "_difference", "_work"
ADDED, WEIGHTED, KEPT = "_added", "_weighted", "_kept"
"""Names of relations in our queries."""


@dataclass(frozen=True)
class ViewChanges:
    """What was staged for a view: the rows to add and delete, and the same for its state."""

    added: Stage | None = None
    deleted: Stage | None = None
    state: StateWrite | None = None

    @property
    def inserted_rows(self) -> int:
        """Rows to add."""
        return self.added.rows if self.added else 0

    @property
    def deleted_rows(self) -> int:
        """Rows to delete."""
        return self.deleted.rows if self.deleted else 0


@dataclass
class Workshop:
    """Runs queries of ours for one attempt of a job.

    Args:
        plane: Where the view lives.
        job_id: For whom.
        token: The attempt's fencing token.
        view: The view's name.
        at: The snapshot in which the view and its state are read.
        parser: Reads and writes syntax trees.
        relations: What names in the queries stand for.
    """

    plane: Plane
    job_id: UUID
    token: int
    view: str
    at: int
    parser: Parser
    relations: dict[str, Relation] = field(default_factory=dict)

    def staged(
        self,
        sql: str,
        name: str | None = None,
        *,
        columns: Sequence[str] | None = None,
        partitioned_by: Sequence[str] = (),
    ) -> Stage:
        """Return a query's rows, staged; under a name they can be read by the next queries."""
        query = self.plane.check(sql, relations=self.relations)
        stage = self.plane.stage_query(
            self.job_id,
            self.token,
            self.view,
            query,
            at=self.at,
            relations=self.relations,
            columns=columns,
            partitioned_by=partitioned_by,
        )
        if name is not None:
            self.relations[name] = stage
        return stage

    def found(self, sql: str) -> object:
        """Return the one value that a query yields."""
        query = self.plane.check(sql, relations=self.relations)
        return self.plane.read(query, limit=1, at=self.at, relations=self.relations).rows[0][0]

    def sql(self, node: Node) -> str:
        """Return a query's tree as SQL."""
        return self.parser.sql({"node": node, "named_param_map": []})

    def upkeep(self, results: Results) -> Upkeep:
        """Return what brings groups up to date.

        Raises:
            NotIncrementalError: averages are divided in a way that is not known.
        """
        divisions: dict[str, Division] = {}
        for one in results.averaged:
            if one.type not in divisions:
                division = division_of(float(str(self.found(probe(one.type)))))
                if division is None:
                    raise NotIncrementalError(f"How averages of {one.type} are computed here is not known.")
                divisions[one.type] = division
        return Upkeep(results, divisions)

    def shown(self, results: Results, upkeep: Upkeep, state: str) -> str:
        """Return a query for the view's rows, made from a query for the state's."""
        template = self.parser.tree(f"SELECT 1 FROM _results AS {GROUPS}")["node"]
        items = [item | {"alias": column.name} for item, column in zip(results.shown, results.columns, strict=True)]
        rows = self.sql(template | {"select_list": items, "where_clause": results.having})
        there = f" WHERE {ROWS} > 0" if results.keys else ""
        return f"WITH _results AS (SELECT * FROM ({upkeep.results_in(state)}) AS narrative_kept{there}) {rows}"


def stage_groups(
    workshop: Workshop,
    shape: Shape,
    versions: Mapping[str, int],
    columns: Sequence[str],
    partitioned_by: Sequence[str],
) -> tuple[Stage, StateWrite]:
    """Return a view with groups as a whole: its rows, made from what is kept of the groups, and that.

    Args:
        workshop: Runs the queries.
        shape: The view's query, which has groups.
        versions: The snapshot at which each source is read.
        columns: The view's columns, of those that its query yields.
        partitioned_by: By what the view's files are kept apart.
    """
    results = shape.results
    if results is None:
        raise ValueError("the query has no groups")
    upkeep = workshop.upkeep(results)
    state = workshop.staged(upkeep.computed(workshop.sql(as_of(shape.rows, versions))), KEPT)
    shown = workshop.shown(results, upkeep, f"SELECT * FROM {KEPT}")
    return workshop.staged(shown, columns=columns, partitioned_by=partitioned_by), StateWrite("replace", state)


def stage_changes(
    workshop: Workshop, shape: Shape, changes: Mapping[str, Changes], dataset: Dataset, partitioned_by: Sequence[str]
) -> ViewChanges:
    """Return by what a view changes.

    Args:
        workshop: Runs the queries.
        shape: The view's query.
        changes: How each of its sources has changed.
        dataset: The view, as it was read.
        partitioned_by: By what the view's files are kept apart.

    Raises:
        NotIncrementalError: what it takes is not known on this machine.
        QueryFailedError: an expression fails, or the view's rows are not those that its last refresh made.
    """
    difference = Difference(changes)
    terms = [(term.sign, workshop.sql(term.query)) for term in difference.terms(shape.rows)]
    if not terms:
        return ViewChanges()
    workshop.relations |= difference.relations
    if shape.results is not None:
        rows = workshop.sql(as_of(shape.rows, {name: one.last for name, one in changes.items()}))
        return _change_groups(workshop, shape.results, terms, rows, dataset, partitioned_by)
    if all(sign > 0 for sign, _ in terms):
        return ViewChanges(workshop.staged(applying.together(terms, dataset.columns), partitioned_by=partitioned_by))
    return _change_rows(workshop, applying.weighted(terms, dataset.columns), dataset, dataset.columns, partitioned_by)


def _change_groups(
    workshop: Workshop,
    results: Results,
    terms: Sequence[tuple[int, str]],
    rows: str,
    dataset: Dataset,
    partitioned_by: Sequence[str],
) -> ViewChanges:
    upkeep = workshop.upkeep(results)
    workshop.relations[STATE] = StoredRows(dataset.name, workshop.at, state=True)
    workshop.staged(upkeep.difference(terms), DIFFERENCE)
    workshop.staged(upkeep.work(DIFFERENCE, STATE), WORK)
    again = (results.averaged or results.bounded) and workshop.found(f"SELECT count(*) FROM {WORK} WHERE {AGAIN}")
    added = workshop.staged(upkeep.added(WORK, rows if again else None), ADDED)
    state = StateWrite("change", added, workshop.staged(upkeep.removed(WORK)))
    before = workshop.shown(results, upkeep, upkeep.before(WORK))
    after = workshop.shown(results, upkeep, f"SELECT * FROM {ADDED}")
    told_by = [column for column in dataset.columns if column.name in results.told_by] or dataset.columns
    weighted = applying.weighted([(-1, before), (1, after)], dataset.columns)
    return replace(_change_rows(workshop, weighted, dataset, told_by, partitioned_by), state=state)


def _change_rows(
    workshop: Workshop, weighted: str, dataset: Dataset, told_by: Sequence[Column], partitioned_by: Sequence[str]
) -> ViewChanges:
    """Return the rows to add and delete for a query that yields rows with their weights."""
    workshop.relations[VIEW] = StoredRows(dataset.name, workshop.at)
    if not workshop.staged(weighted, WEIGHTED).rows:
        return ViewChanges()
    added = workshop.staged(applying.additions(WEIGHTED, dataset.columns), partitioned_by=partitioned_by)
    return ViewChanges(added, workshop.staged(applying.removals(WEIGHTED, VIEW, told_by)))
