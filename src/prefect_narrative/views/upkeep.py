"""The SQL by which groups are brought up to date from what is kept of them and what has changed.

Insertions and deletions change counts and sums by adding. A bound follows from what was inserted, unless a deleted
value reaches it: then the group is computed from its rows again. So it is where sum and count do not tell an average.
"""

# ruff: noqa: S608  (names are made here and quoted, expressions are written from checked trees)

from collections.abc import Mapping, Sequence

from prefect_narrative.planes.names import literal, quoted
from prefect_narrative.planes.plane import ROW_ID
from prefect_narrative.views.averages import Average, Division, with_averages
from prefect_narrative.views.grouping import PREFIX, ROWS, Result, result_name
from prefect_narrative.views.results import Kept, Results

AGAIN = f"{PREFIX}again"
"""The column that marks a group that has to be computed from its rows again."""
OLD = f"{PREFIX}old_"
"""Before the name of a column: what it was."""
OUT_OF_STEP = "narrative: the rows that are kept of a view are not those of its sources"
"""What a query fails with where a refresh would go on from wrong rows."""


class Upkeep:
    """Writes what brings groups up to date.

    Args:
        results: What is kept.
        divisions: How the engine divides for each average, by the type of its values.
    """

    def __init__(self, results: Results, divisions: Mapping[str, Division]) -> None:
        self.results = results
        self.keys = [quoted(key.name) for key in results.keys]
        self.values = results.names[len(self.keys) :]
        self.divisions = divisions

    def computed(self, rows: str, *, averages: bool = True) -> str:
        """Return a query for the state from the rows that are grouped."""
        columns = [*self.keys, f"count(*) AS {quoted(ROWS)}"]
        for one in self.results.kept:
            value = "*" if one.value is None else quoted(one.value)
            columns.append(f"count({value}){one.filtered} AS {one.name('count')}")
            if one.keeps("sum"):
                zero = f"CAST(0 AS {one.sum_type})"
                columns.append(f"coalesce(sum({value}){one.filtered}, {zero}) AS {one.name('sum')}")
            if one.keeps("avg") and averages:
                columns.append(f"avg({value}){one.filtered} AS {one.name('avg')}")
            columns += [f"{bound}({value}){one.filtered} AS {one.name(bound)}" for bound in one.bounds]
        return f"SELECT {', '.join(columns)} FROM ({rows}) AS narrative_rows{self._grouped()}"

    def difference(self, terms: Sequence[tuple[int, str]]) -> str:
        """Return a query for how counts and sums differ, and the bounds of what was inserted and deleted.

        Args:
            terms: The rows that were inserted (1) and deleted (-1); at least one of them.
        """
        parts = [self._part(sign, rows) for sign, rows in terms]
        if len(parts) == 1:
            return parts[0]
        columns = [*self.keys, *(f"sum({quoted(name)}) AS {quoted(name)}" for name in self._added())]
        for one in self.results.kept:
            for bound in one.bounds:
                columns += [f"{bound}({name}) AS {name}" for name in (_inserted(one, bound), _deleted(one, bound))]
        return f"SELECT {', '.join(columns)} FROM ({' UNION ALL '.join(parts)}) AS narrative_parts{self._grouped()}"

    def _part(self, sign: int, rows: str) -> str:
        minus = "-" if sign < 0 else ""
        columns = [*self.keys, *(f"{minus}{quoted(name)} AS {quoted(name)}" for name in self._added())]
        for one in self.results.kept:
            for bound in one.bounds:
                found, none = one.name(bound), f"CAST(NULL AS {one.type})"
                inserted, deleted = (found, none) if sign > 0 else (none, found)
                columns += [f"{inserted} AS {_inserted(one, bound)}", f"{deleted} AS {_deleted(one, bound)}"]
        return f"SELECT {', '.join(columns)} FROM ({self.computed(rows, averages=False)}) AS narrative_part"

    def work(self, difference: str, state: str) -> str:
        """Return a query for the groups that change: their rows' ids, what was kept, what is to be kept now.

        Args:
            difference: The relation with what `difference` yields.
            state: The relation with the state.
        """
        same = " AND ".join(f"s.{key} IS NOT DISTINCT FROM d.{key}" for key in self.keys) or "true"
        columns = [f"s.{quoted(ROW_ID)}", *(f"d.{key}" for key in self.keys)]
        columns += [f"s.{quoted(name)} AS {quoted(OLD + name)}" for name in self.values]
        columns.append(_sum(ROWS, "BIGINT"))
        doubts = []
        for one in self.results.kept:
            columns.append(_sum(result_name(one.number, "count"), "BIGINT"))
            if one.keeps("sum"):
                columns.append(_sum(result_name(one.number, "sum"), one.sum_type))
            for bound in one.bounds:
                value, doubt = _bound(one, bound)
                doubts.append(quoted(f"{result_name(one.number, bound)}_doubt"))
                columns += [f"{value} AS {one.name(bound)}", f"{doubt} AS {doubts[-1]}"]
        # Else the engine would put all groups into the table that the few that change look into.
        kept = f"SELECT s.* FROM {quoted(state)} AS s SEMI JOIN {quoted(difference)} AS d ON {same}"
        rows = f"SELECT {', '.join(columns)} FROM {quoted(difference)} AS d LEFT JOIN ({kept}) AS s ON {same}"
        averages = [self._average(one) for one in self.results.averaged]
        doubts += [quoted(f"{one.name}_unknown") for one in averages]
        again = " OR ".join(f"coalesce({doubt}, false)" for doubt in doubts) or "false"
        differs = " OR ".join(f"{quoted(OLD + name)} IS DISTINCT FROM {quoted(name)}" for name in self.values)
        named = ", ".join(map(quoted, [ROW_ID, *self.results.names, *(OLD + name for name in self.values)]))
        return (
            f"SELECT {named}, {again} AS {quoted(AGAIN)} FROM ({with_averages(rows, averages)}) AS narrative_work "
            f"WHERE {again} OR {differs}"
        )

    def added(self, work: str, rows: str | None) -> str:
        """Return a query for the rows to add to the state.

        Args:
            work: The relation with the groups that change.
            rows: The rows that are grouped, as of now, where groups have to be computed again; None: none has.
        """
        names = ", ".join(map(quoted, self.results.names))
        count = quoted(ROWS)
        left = f"CASE WHEN {count} < 0 THEN error({literal(OUT_OF_STEP)}) ELSE {count} > 0 END" if self.keys else "true"
        told = f"SELECT {names} FROM {quoted(work)} WHERE NOT {quoted(AGAIN)} AND {left}"
        if rows is None:
            return told
        if self.keys:
            same = " AND ".join(f"w.{key} IS NOT DISTINCT FROM r.{key}" for key in self.keys)
            marked = f"SELECT {', '.join(self.keys)} FROM {quoted(work)} WHERE {quoted(AGAIN)}"
            rows = f"SELECT r.* FROM ({rows}) AS r SEMI JOIN ({marked}) AS w ON {same}"
        return f"{told} UNION ALL SELECT {names} FROM ({self.computed(rows)}) AS narrative_again"

    @staticmethod
    def removed(work: str) -> str:
        """Return a query for the ids of the rows to delete from the state."""
        return f"SELECT {quoted(ROW_ID)} FROM {quoted(work)} WHERE {quoted(ROW_ID)} IS NOT NULL"

    def before(self, work: str) -> str:
        """Return a query for the state's rows as they were, of the groups that change."""
        names = [*self.keys, *(f"{quoted(OLD + name)} AS {quoted(name)}" for name in self.values)]
        return f"SELECT {', '.join(names)} FROM {quoted(work)} WHERE {quoted(ROW_ID)} IS NOT NULL"

    def results_in(self, state: str) -> str:
        """Return a query for what the view's columns are made from, in the types that the engine gives them."""
        columns = [f"CAST({quoted(key.name)} AS {key.type}) AS {quoted(key.name)}" for key in self.results.keys]
        columns.append(f"CAST({quoted(ROWS)} AS BIGINT) AS {quoted(ROWS)}")
        for one in self.results.kept:
            count = one.name("count")
            columns.append(f"CAST({count} AS BIGINT) AS {count}")
            if "sum" in one.results:
                total = f"CASE WHEN {count} > 0 THEN CAST({one.name('sum')} AS {one.sum_type}) END"
                columns.append(f"{total} AS {one.name('sum')}")
            columns += [one.name("avg")] if one.keeps("avg") else []
            columns += [f"CAST({one.name(bound)} AS {one.type}) AS {one.name(bound)}" for bound in one.bounds]
        return f"SELECT {', '.join(columns)} FROM ({state}) AS narrative_state"

    def _grouped(self) -> str:
        return f" GROUP BY {', '.join(self.keys)}" if self.keys else ""

    def _added(self) -> list[str]:
        """The columns that change by adding."""
        parts: tuple[Result, Result] = ("count", "sum")
        return [
            ROWS,
            *(result_name(one.number, part) for one in self.results.kept for part in parts if one.keeps(part)),
        ]

    def _average(self, one: Kept) -> Average:
        return Average(
            name=result_name(one.number, "avg"),
            sum=result_name(one.number, "sum"),
            count=result_name(one.number, "count"),
            scale=one.scale,
            division=self.divisions[one.type],
        )


def _inserted(one: Kept, bound: Result) -> str:
    return quoted(f"{result_name(one.number, bound)}_in")


def _deleted(one: Kept, bound: Result) -> str:
    return quoted(f"{result_name(one.number, bound)}_out")


def _sum(name: str, kind: str) -> str:
    column = quoted(name)
    before = f"coalesce(CAST(s.{column} AS {kind}), CAST(0 AS {kind}))"
    return f"CAST({before} + CAST(d.{column} AS {kind}) AS {kind}) AS {column}"


def _bound(one: Kept, bound: Result) -> tuple[str, str]:
    """Return the new bound, and whether it can't be told because a deleted value reaches it."""
    before, inserted, deleted = f"s.{one.name(bound)}", f"d.{_inserted(one, bound)}", f"d.{_deleted(one, bound)}"
    less = "<" if bound == "min" else ">"
    nearer = (
        f"CASE WHEN {before} IS NULL OR {inserted} {less} {before} THEN coalesce({inserted}, {before}) "
        f"ELSE {before} END"
    )
    left = f"coalesce(s.{one.name('count')}, 0) + d.{one.name('count')} > 0"
    doubt = f"{left} AND {deleted} IS NOT NULL AND ({nearer} IS NULL OR {deleted} {less}= {nearer})"
    return f"CASE WHEN {left} THEN {nearer} END", doubt
