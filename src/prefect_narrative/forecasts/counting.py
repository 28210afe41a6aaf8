"""Counting a query's rows on samples: the query is rewritten over them, and run."""

# ruff: noqa: S608  (queries are checked trees, names are our own)

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from prefect_narrative.forecasts.plans import Plan
from prefect_narrative.forecasts.queries import Block, Leaf, Query, Source, inside, is_aggregate
from prefect_narrative.forecasts.stored import Kept, Samples
from prefect_narrative.planes.nodes import Node
from prefect_narrative.planes.plane import UNIT, Column, Plane, Relation
from prefect_narrative.planes.syntax import Parser

COUNT = "narrative_count"
SCALED = frozenset({"sum", "count", "count_star", "countif", "count_if", "fsum", "sumkahan", "kahan_sum"})
"""Aggregates that grow with the number of rows."""


@dataclass
class Reader:
    """Runs queries of ours over samples."""

    plane: Plane
    parser: Parser
    at: int

    def sql(self, node: Node) -> str:
        """Return a node as SQL."""
        return self.parser.sql({"node": node, "named_param_map": []})

    def rows(self, sql: str, relations: Mapping[str, Relation]) -> Sequence[Sequence[Any]]:
        """Return what a query of ours yields."""
        return self.plane.look(sql, self.at, relations)


@dataclass
class Counted:
    """What was counted."""

    rows: float = 0.0
    squares: float = 0.0
    seen: dict[int, int] = field(default_factory=dict)
    """Of groups: how many were seen once, twice, and so on."""
    text_bytes: float = 0.0
    """Of all rows that were counted."""


def put_samples(
    query: Query, plan: Plan, kept: Mapping[int, Kept], samples: Samples, share: float, *, unit: bool
) -> dict[str, Relation]:
    """Let the query read samples, in place; return what the names stand for."""
    relations: dict[str, Relation] = {}
    for number, one in kept.items():
        if one.whole:
            continue
        name = f"_sample_{number}"
        below = share if share < one.share else None
        relations[name] = samples.relation(one, below, unit=unit and number == plan.root)
        read_instead(query.leaves[number], name)
    return relations


def read_instead(leaf: Leaf, name: str) -> None:
    """Let a relation stand where a dataset is read."""
    alias = leaf.alias
    leaf.node |= {"catalog_name": "", "schema_name": "", "table_name": name, "alias": alias, "at_clause": None}


def count_units(
    reader: Reader, query: Query, root: Leaf, columns: Sequence[Column], relations: Mapping[str, Relation]
) -> Counted:
    """Return how many rows the sampled units have, each group as a whole."""
    top = query.top
    node = top.node
    _drop_order(node, keep_distinct=True)
    _pass_unit(top, root)
    named = _named(len(columns), UNIT)
    inner = (
        f"SELECT count(*) AS c, sum({_text_bytes(columns)}) AS b, count(hash({_all(columns)})) AS h "
        f"FROM ({reader.sql(node)}) AS q({named}) GROUP BY {UNIT}"
    )
    row = reader.rows(f"SELECT sum(c), sum(c * c), sum(b), sum(h) FROM ({inner}) AS u", relations)[0]
    return Counted(float(row[0] or 0), float(row[1] or 0), {}, float(row[2] or 0))


def count_groups(
    reader: Reader, query: Query, columns: Sequence[Column], relations: Mapping[str, Relation], share: float
) -> Counted:
    """Return how many groups were seen once, twice and so on in sampled rows."""
    node = query.top.node
    distinct = query.top.distinct
    _drop_order(node, keep_distinct=False)
    names = _named(len(columns))
    if not query.top.grouped:
        listed = f"SELECT {names}, count(*) AS {COUNT} FROM ({reader.sql(node)}) AS q({names}) GROUP BY ALL"
    else:
        _scale_having(reader, node, share)
        template = reader.parser.tree(f"SELECT count(*) AS {COUNT}")["node"]["select_list"][0]
        node["select_list"] = [*node["select_list"], template]
        listed = f"SELECT * FROM ({reader.sql(node)}) AS q({names}, {COUNT})"
        if distinct:
            listed = f"SELECT {names}, sum({COUNT}) AS {COUNT} FROM ({listed}) AS d GROUP BY {names}"
    sql = (
        f"SELECT CAST({COUNT} AS BIGINT), count(*), sum({_text_bytes(columns)}), count(hash({_all(columns)})) "
        f"FROM ({listed}) AS f GROUP BY 1"
    )
    found = reader.rows(sql, relations)
    seen = {int(row[0]): int(row[1]) for row in found if row[0]}
    return Counted(float(sum(seen.values())), 0.0, seen, float(sum(row[2] or 0 for row in found)))


def count_all(reader: Reader, node: Node, columns: Sequence[Column]) -> Counted:
    """Return how many rows a query has: it is run."""
    names = _named(len(columns))
    figures = f"count(*), sum({_text_bytes(columns)}), count(hash({_all(columns)}))"
    sql = f"SELECT {figures} FROM ({reader.sql(node)}) AS q({names})"
    row = reader.rows(sql, {})[0]
    return Counted(float(row[0]), 0.0, {}, float(row[1] or 0))


def _named(count: int, *more: str) -> str:
    return ", ".join([*(f"c{number}" for number in range(count)), *more])


def _all(columns: Sequence[Column]) -> str:
    return _named(len(columns)) or "1"


def _text_bytes(columns: Sequence[Column]) -> str:
    """Return SQL for the bytes of a row's values whose types do not tell them."""
    parts = [
        f"coalesce(strlen(CAST(c{number} AS VARCHAR)), 0)"
        for number, column in enumerate(columns)
        if fixed_bytes(column.type) is None
    ]
    return " + ".join(parts) or "0"


def fixed_bytes(kind: str) -> int | None:
    """Return how many bytes each value of a type has; None where that depends on the value."""
    sizes = {
        "BOOLEAN": 1, "TINYINT": 1, "UTINYINT": 1, "SMALLINT": 2, "USMALLINT": 2, "INTEGER": 4, "UINTEGER": 4,
        "FLOAT": 4, "DATE": 4, "BIGINT": 8, "UBIGINT": 8, "DOUBLE": 8, "TIME": 8, "TIMESTAMP": 8,
        "TIMESTAMP WITH TIME ZONE": 8, "HUGEINT": 16, "UHUGEINT": 16, "UUID": 16, "INTERVAL": 16,
    }  # fmt: skip
    return 8 if kind.startswith("DECIMAL") else sizes.get(kind)


def _drop_order(node: Node, *, keep_distinct: bool) -> None:
    """Leave out what decides neither about rows nor about groups; LIMIT is taken into account later."""
    kept = []
    for modifier in node["modifiers"]:
        if modifier["type"] != "DISTINCT_MODIFIER":
            continue
        if modifier["distinct_on_targets"]:
            node["select_list"] = deepcopy(modifier["distinct_on_targets"])
        if keep_distinct:
            kept.append(modifier | {"distinct_on_targets": []})
    node["modifiers"] = kept


def _pass_unit(block: Block, root: Leaf) -> str | None:
    """Let a block yield the root's unit as its last column; return the alias of the source that has it."""
    for source in block.sources:
        if not _has(source, root):
            continue
        if source.block is not None:
            _pass_unit(source.block, root)
        node = block.node
        unit: Node = {"class": "COLUMN_REF", "type": "COLUMN_REF", "alias": UNIT, "column_names": [source.alias, UNIT]}
        for item in node["select_list"]:
            if item["class"] == "STAR" and item["relation_name"].lower() in {"", source.alias}:
                item["exclude_list"] = [*item["exclude_list"], UNIT]
        if block.grouped:
            unit = _call("any_value", unit | {"alias": ""}) | {"alias": UNIT}
        node["select_list"] = [*node["select_list"], unit]
        return source.alias
    return None


def _has(source: Source, root: Leaf) -> bool:
    if source.leaf is not None:
        return source.leaf is root
    return source.block is not None and any(_has(one, root) for one in source.block.sources)


def _call(name: str, *arguments: Node) -> Node:
    return {
        "class": "FUNCTION", "type": "FUNCTION", "alias": "", "function_name": name, "schema": "",
        "children": list(arguments), "filter": None, "order_bys": {"type": "ORDER_MODIFIER", "orders": []},
        "distinct": False, "is_operator": False, "export_state": False, "catalog": "",
    }  # fmt: skip


def _scale_having(reader: Reader, node: Node, share: float) -> None:
    """Let sums and counts in HAVING be those of all rows, as far as the sample's tell them."""
    if node["having"] is None:
        return
    for one in list(inside(node["having"])):
        if is_aggregate(one) and one["function_name"].lower() in SCALED and not one["distinct"]:
            product = reader.parser.tree(f"SELECT 1 / CAST('{share!r}' AS DOUBLE)")["node"]["select_list"][0]
            copy = deepcopy(one)
            product["children"][0] = copy
            one.clear()
            one.update(product)
