"""How many rows a query would return, estimated without running it: by its form, part by part."""

# ruff: noqa: S608  (a template of our own, whose parts are put in as trees)

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from math import inf, log, prod

from prefect_narrative.forecasts.counting import (
    Counted,
    Reader,
    count_all,
    count_groups,
    count_units,
    fixed_bytes,
    put_samples,
)
from prefect_narrative.forecasts.crossing import crossed
from prefect_narrative.forecasts.estimators import Estimate, classes, known, total
from prefect_narrative.forecasts.plans import FEW_ROWS, Candidate, candidates, keys_of, plan, unit_columns
from prefect_narrative.forecasts.queries import EQUAL, Leaf, Query, UnknownShapeError, inside
from prefect_narrative.forecasts.stored import Kept, Samples, Spec
from prefect_narrative.planes.nodes import Node
from prefect_narrative.planes.plane import Column, Scanned

MOST_READ = 2_000_000
"""Rows of datasets that nothing ties to a sample, up to which they are read whole."""
MOST_PAIRS = 20_000_000
"""Pairs of rows of datasets that nothing ties together, up to which they are compared."""
SURE = 1.5
"""An interval whose upper end is at most so many times its lower one is good enough."""
MANY_VALUES = 1_000
"""Different values in a sample above which rows are drawn together by them."""
MOST_ROOTS = 2
"""Datasets that are tried as the one whose rows are drawn."""


@dataclass(frozen=True)
class Returned:
    """What a query would return."""

    rows: Estimate
    bytes_a_row: float | None
    """None: not known."""
    method: str


@dataclass
class Estimating:
    """Estimates of one query's parts.

    Args:
        reader: Runs queries of ours.
        samples: The samples, taken where they are missing.
        datasets: What the query reads.
        columns: What the query yields.
    """

    reader: Reader
    samples: Samples
    datasets: Mapping[str, Scanned]
    columns: Sequence[Column]
    limits: list[str] = field(default_factory=list)
    """What the estimate does not know, for people."""

    def returned(self, node: Node) -> Returned:
        """Return how many rows a query returns.

        Raises:
            UnknownShapeError: it has a form of which that can't be told, with its reason.
        """
        limit, offset, percent = _limits(node)
        found = self._uncut(node)
        rows = found.rows
        if percent is not None:
            rows = Estimate(*(value * percent for value in (rows.rows, rows.low, rows.high)))
        return Returned(rows.clipped(limit, offset), found.bytes_a_row, found.method)

    def _uncut(self, node: Node) -> Returned:  # noqa: PLR0911  (one for each form)
        if node["type"] == "SET_OPERATION_NODE":
            return self._set_operation(node)
        query = self._query(node)
        if query.top.single:
            having = node["having"] is not None
            fixed = self._bytes(Counted(), 0)
            return Returned(Estimate(1, 0, 1) if having else known(1), fixed, "an aggregate over all rows is one row")
        if not query.leaves:
            return self._counted(query.node)
        if len(node["group_sets"]) > 1:
            return self._grouping_sets(query.node)
        names = {name: {column.name.lower() for column in one.columns} for name, one in self.datasets.items()}
        parts = crossed(query.node, names) if not query.top.grouped and not query.top.distinct else []
        if len(parts) > 1:
            return self._crossed(parts)
        if self._is_dataset(query):
            rows = self.datasets[query.leaves[0].dataset].of_rows
            return Returned(known(rows), None, "all rows of a dataset, as the catalog has them")
        if self._is_small(query):
            return self._counted(query.node)
        return self._sampled(node, query)

    def _query(self, node: Node) -> Query:
        names = {name: [column.name for column in one.columns] for name, one in self.datasets.items()}
        return Query(deepcopy(node), names)

    def _size(self, leaf: Leaf) -> int:
        return self.datasets[leaf.dataset].of_rows

    def _is_dataset(self, query: Query) -> bool:
        node = query.node
        only = len(query.leaves) == 1 and query.top.sources[0].leaf is not None and len(query.top.sources) == 1
        plain = node["where_clause"] is None and node["qualify"] is None
        unnests = "unnest" in str(node["select_list"]).lower()
        return (
            only
            and plain
            and not unnests
            and not (query.top.grouped or query.top.distinct)
            and (query.leaves[0].version is None)
        )

    def _is_small(self, query: Query) -> bool:
        rows = sum(map(self._size, query.leaves))
        return rows <= FEW_ROWS and self._pairs(query, query.leaves, set()) <= MOST_PAIRS

    def _pairs(self, query: Query, leaves: Sequence[Leaf], sampled: set[int]) -> float:
        """Return how many rows are compared where nothing ties datasets together: the product of the biggest ones."""
        groups: list[set[int]] = []
        for leaf in leaves:
            tied = {leaf.number, *(link.second[0] for link in query.links if link.first[0] == leaf.number)}
            tied |= {link.first[0] for link in query.links if link.second[0] == leaf.number}
            touching = [group for group in groups if group & tied]
            groups = [group for group in groups if not group & tied] + [tied.union(*touching)]
        numbers = {leaf.number: float(self._size(leaf)) for leaf in leaves}
        if sampled:
            numbers |= {number: min(numbers.get(number, 1.0), 40_000.0) for number in sampled}
        return prod(max((numbers.get(one, 1.0) for one in group), default=1.0) for group in groups)

    def _counted(self, node: Node) -> Returned:
        node = node | {"modifiers": [one for one in node["modifiers"] if one["type"] == "DISTINCT_MODIFIER"]}
        found = count_all(self.reader, node, self.columns)
        return Returned(known(found.rows), self._bytes(found, found.rows), "counted: its datasets are small")

    def _bytes(self, found: Counted, rows: float) -> float | None:
        """Return the bytes of a row of the result."""
        fixed = sum(fixed_bytes(column.type) or 0 for column in self.columns)
        if all(fixed_bytes(column.type) is not None for column in self.columns):
            return float(fixed)
        return fixed + found.text_bytes / rows if rows else None

    def _sampled(self, node: Node, query: Query) -> Returned:
        top = query.top
        found = sorted(candidates(top), key=lambda one: -self._size(query.leaves[one.leaf]))
        found = [one for one in found if query.leaves[one.leaf].version is None]
        if not found:
            raise UnknownShapeError("rows are cut off, or put together, within it")
        grouped = top.grouped or top.distinct
        tried: list[Returned] = []
        if grouped:
            for one in found[:MOST_ROOTS]:
                spec = self._spec(query, one, [])
                if spec is not None:
                    tried.append(self._attempt(node, one.leaf, spec, whole=False))
                    break
            if tried and _is_sure(tried[0].rows):
                return tried[0]
        keys = [keys_of(top)] if grouped else []
        attempts = 0
        for one in found:
            if attempts >= MOST_ROOTS:
                break
            spec = self._spec(query, one, keys)
            if spec is None or (attempts and self._size(query.leaves[one.leaf]) <= 1000):
                continue
            attempts += 1
            try:
                tried.append(self._attempt(node, one.leaf, spec, whole=True))
            except UnknownShapeError:
                if attempts == len(found) and not tried:
                    raise
                continue
            if _is_sure(tried[-1].rows) or (tried[-1].rows.low > 0 and not grouped):
                break
        if not tried:
            raise UnknownShapeError("no sample of rows tells how many groups of them pass")
        return min(tried, key=lambda one: _width(one.rows))

    def _spec(self, query: Query, candidate: Candidate, keys: Sequence[frozenset[tuple[int, str]]]) -> Spec | None:
        """Return by what a candidate's rows are drawn; None where that would part what belongs together."""
        leaf = query.leaves[candidate.leaf]
        rows = Spec(leaf.dataset, self.samples.seed)
        if not candidate.needs and not keys:
            return rows
        columns = unit_columns(query, candidate, keys)
        hidden = self.samples.hidden.get(leaf.dataset, frozenset())
        columns = [column for column in columns if column not in hidden]
        if not columns:
            return None
        kept = self.samples.ensure([rows])[rows]
        if any(kept.unique(column) for column in columns):
            return rows
        # One column that has many values is enough, and its sample serves other queries, too.
        ordered = sorted(columns, key=lambda column: (-kept.distinct.get(column, 0), column))
        if kept.distinct.get(ordered[0], 0) >= MANY_VALUES:
            return Spec(leaf.dataset, self.samples.seed, (ordered[0],))
        if prod(max(1, kept.distinct.get(column, 1)) for column in columns) >= MANY_VALUES and not candidate.needs:
            return Spec(leaf.dataset, self.samples.seed, tuple(sorted(columns)))
        return None

    def _attempt(self, node: Node, number: int, spec: Spec, *, whole: bool) -> Returned:
        """Return an estimate on one sample; `whole`: each of its units has all rows of the groups that it is in."""
        query = self._query(node)
        root = query.leaves[number]
        chosen = plan(query, root, spec, self.datasets)
        found = self.samples.ensure(list(dict.fromkeys(chosen.specs.values())))
        kept = {leaf: found[one] for leaf, one in chosen.specs.items()}
        self._check_rest(query, kept)
        share = min(one.share for one in kept.values() if not one.whole)
        relations = put_samples(query, chosen, kept, self.samples, share, unit=whole)
        base = kept[number]
        # The rows of a sample of rows, against those that there are: truer than the chance by which they were drawn.
        actual = base.rows / max(1, base.of_rows) if share == base.share and not spec.key else share
        grown = self._size(root) / max(1, base.of_rows)
        told = f"a sample of {base.rows:,} of {base.of_rows:,} rows of {spec.told}"
        if share < base.share:
            told = f"a sample of {share / base.share * base.rows:,.0f} of {base.of_rows:,} rows of {spec.told}"
        columns = _distinct_on(query.node) or self.columns
        if whole:
            counted = count_units(self.reader, query, root, columns, relations)
            estimate = total(counted.rows, counted.squares, actual)
            if not counted.rows and _asks_for_extreme(query.node):
                estimate = Estimate(1, 0, estimate.high)
            text = "rows of the units that were drawn, over the chance to be drawn (Horvitz-Thompson)"
            rows = counted.rows
        else:
            counted = count_groups(self.reader, query, columns, relations, actual)
            estimate = classes(counted.seen, actual)
            text = "groups seen once, twice and more often (second-order jackknife of Haas and Stokes)"
            rows = counted.rows
            if query.node["having"] is not None:
                estimate = _loosened(estimate, counted)
        if grown != 1 and whole:
            estimate = Estimate(estimate.rows * grown, estimate.low * min(1, grown), estimate.high * max(1, grown))
        width = self._bytes(counted, rows) if columns is self.columns else None
        return Returned(estimate, width, f"{told}: {text}")

    def _check_rest(self, query: Query, kept: Mapping[int, Kept]) -> None:
        """Raise where what is read beside the samples is too much."""
        rest = [leaf for leaf in query.leaves if leaf.number not in kept or kept[leaf.number].whole]
        # Of what is left out by predicates nothing is read.
        rows = sum(
            min(sum(map(self._size, ones)), self.datasets[name].rows)
            for name in sorted({leaf.dataset for leaf in rest})
            for ones in [[leaf for leaf in rest if leaf.dataset == name]]
        )
        if rows > MOST_READ:
            raise UnknownShapeError(f"it reads {rows:,} rows that nothing ties to a sample's")
        tops = [source.leaf for source in query.top.sources if source.leaf is not None]
        if self._pairs(query, tops, set(kept)) > MOST_PAIRS:
            raise UnknownShapeError("it compares too many pairs of rows that no equality ties together")

    def _crossed(self, parts: Sequence[Node]) -> Returned:
        estimate = known(1)
        columns, self.columns = self.columns, [Column("one", "INTEGER")]
        try:
            for part in parts:
                estimate *= self._uncut(part).rows
        finally:
            self.columns = columns
        return Returned(estimate, None, "the product of parts that nothing ties together")

    def _grouping_sets(self, node: Node) -> Returned:
        """Return the sum over the sets: each is as a DISTINCT of its expressions."""
        estimate = known(0)
        columns, self.columns = self.columns, []
        try:
            for one in node["group_sets"]:
                if not one:
                    estimate += known(1)
                    continue
                keys = [_positional(node["group_expressions"][place], node["select_list"]) for place in one]
                self.columns = [Column(f"k{number}", "INTEGER") for number in range(len(keys))]
                part = deepcopy(node) | {
                    "group_expressions": deepcopy(keys),
                    "group_sets": [list(range(len(keys)))],
                    "select_list": deepcopy(keys),
                    "modifiers": [],
                }
                estimate += self._uncut(part).rows
        finally:
            self.columns = columns
        return Returned(estimate, None, "the sum over the grouping sets")

    def _set_operation(self, node: Node) -> Returned:
        left, right = node["left"], node["right"]
        if node["setop_type"] == "UNION" and node["setop_all"]:
            found = [self.returned(left), self.returned(right)]
            weights = [one.rows.rows for one in found]
            known_bytes = [one.bytes_a_row for one in found]
            mean = None
            if all(one is not None for one in known_bytes) and sum(weights) > 0:
                mean = sum((one or 0) * weight for one, weight in zip(known_bytes, weights, strict=True)) / sum(weights)
            return Returned(found[0].rows + found[1].rows, mean, "the sum of the parts of a UNION ALL")
        if node["setop_type"] not in {"UNION", "EXCEPT", "INTERSECT"}:
            raise UnknownShapeError(f"a {node['setop_type']}")
        if node["setop_type"] == "UNION":
            one = self._uncut(self._matched(left, None, "true"))
            other = self._uncut(self._matched(right, left, "NOT"))
            return Returned(one.rows + other.rows, one.bytes_a_row, "a UNION: one part, and what the other adds to it")
        found_rows = self._uncut(self._matched(left, right, "NOT" if node["setop_type"] == "EXCEPT" else ""))
        if node["setop_all"]:
            most = self.returned(left).rows.high
            self.limits.append(f"{node['setop_type']} ALL counts rows that come several times: only bounds are known.")
            return Returned(Estimate(found_rows.rows.rows, 0, most), found_rows.bytes_a_row, found_rows.method)
        return Returned(found_rows.rows, found_rows.bytes_a_row, f"the rows of one part, of an {node['setop_type']}")

    def _matched(self, left: Node, right: Node | None, how: str) -> Node:
        """Return the different rows of one query that are, or are not, rows of another, as a query."""
        count = len(self.columns)
        names = ", ".join(f"c{number}" for number in range(count))
        others = ", ".join(f"d{number}" for number in range(count))
        same = " AND ".join(f"r.d{number} IS NOT DISTINCT FROM l.c{number}" for number in range(count))
        where = f"WHERE {how} EXISTS (SELECT 1 FROM (SELECT 2) AS r({others}) WHERE {same})" if right else ""
        text = f"SELECT DISTINCT {names} FROM (SELECT 1) AS l({names}) {where}"
        node: Node = self.reader.parser.tree(text)["node"]
        node["from_table"]["subquery"]["node"] = deepcopy(left)
        if right is not None:
            condition = node["where_clause"]
            while condition["class"] != "SUBQUERY":
                condition = condition["children"][0]
            condition["subquery"]["node"]["from_table"]["subquery"]["node"] = deepcopy(right)
        return node


def bounds(datasets: Mapping[str, Scanned], node: Node) -> Estimate:
    """Return what is certain of a query of any form: no rows, up to each row with each of all the others."""
    limit, offset, _ = _limits(node)
    most = 1.0
    for one in datasets.values():
        most *= max(1, one.of_rows)
    return Estimate(most, 0, most).clipped(limit, offset)


def _loosened(estimate: Estimate, counted: Counted) -> Estimate:
    """Return an estimate of groups of which HAVING was told by some of their rows only."""
    rows = sum(count * number for count, number in counted.seen.items())
    each = rows / counted.rows if counted.rows else 0.0
    part = min(0.9, 2 / max(each, 1) ** 0.5)
    return Estimate(estimate.rows, estimate.low * (1 - part), estimate.high * (1 + part) + 3)


def _distinct_on(node: Node) -> list[Column]:
    """Return columns for what stands in DISTINCT ON; it is counted in the place of what is yielded."""
    targets = [one for part in node["modifiers"] for one in part.get("distinct_on_targets", ())]
    return [Column(f"c{number}", "INTEGER") for number in range(len(targets))]


def _positional(expression: Node, items: Sequence[Node]) -> Node:
    if expression["class"] == "CONSTANT" and isinstance(expression["value"]["value"], int):
        return items[expression["value"]["value"] - 1] | {"alias": ""}
    return expression | {"alias": ""}


def _asks_for_extreme(node: Node) -> bool:
    """Return whether a query asks for the rows with the largest or smallest value: there is one, if not more."""
    for one in inside(node["where_clause"]):
        for side in ("left", "right"):
            asked = one[side] if one.get("class") == "COMPARISON" and one["type"] in EQUAL else None
            if asked and asked.get("class") == "SUBQUERY" and asked["subquery_type"] == "SCALAR":
                listed = asked["subquery"]["node"].get("select_list", [])
                return len(listed) == 1 and str(listed[0].get("function_name")).lower() in {"max", "min"}
    return False


def _is_sure(rows: Estimate) -> bool:
    return rows.low > 0 and rows.high <= SURE * rows.low


def _width(rows: Estimate) -> float:
    return inf if rows.low <= 0 else log(rows.high / rows.low)


def _limits(node: Node) -> tuple[float | None, float, float | None]:
    """Return a query's LIMIT, OFFSET and share; a LIMIT that is no number is none."""
    limit, offset, percent = None, 0.0, None
    for modifier in node["modifiers"]:
        if modifier["type"] in {"LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER"}:
            value, skipped = _number(modifier["limit"]), _number(modifier["offset"])
            offset = skipped or 0.0
            if modifier["type"] == "LIMIT_MODIFIER":
                limit = value
            elif value is not None:
                percent = value / 100
    return limit, offset, percent


def _number(expression: Node | None) -> float | None:
    if expression is None:
        return None
    if expression["class"] == "CAST":
        return _number(expression["child"])
    if expression["class"] != "CONSTANT":
        return None
    value = expression["value"]["value"]
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
