"""A query taken apart: which datasets it reads where, and by which equal columns their rows belong together.

The tree is the engine's own. What can't be followed (a column of an expression, of a set operation, of rows that are
cut off) has no origin, so nothing is concluded from it.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from prefect_narrative.planes.functions import AGGREGATES
from prefect_narrative.planes.names import DatasetName
from prefect_narrative.planes.nodes import Node

Origin = tuple[int, str]
"""A leaf's number and one of its columns, in small letters."""
EQUAL = frozenset({"COMPARE_EQUAL", "COMPARE_NOT_DISTINCT_FROM"})
_ONE_SIDED = {"LEFT": "right", "RIGHT": "left", "SEMI": "right", "ANTI": "right"}
"""By type of a join the side of which rows may be left out that nothing on the other side asks for."""


class UnknownShapeError(Exception):
    """The query has a part that nothing is known about; its text says which."""


@dataclass(eq=False)
class Leaf:
    """A dataset where a query reads it."""

    number: int
    node: Node
    """Its node in the tree; what stands there is read."""
    dataset: str
    version: int | None
    """The snapshot that the query itself names."""
    block: "Block"

    @property
    def alias(self) -> str:
        """By which name its columns are qualified."""
        return str(self.node["alias"] or self.node["table_name"])


@dataclass(eq=False)
class Source:
    """Something that a block reads in FROM."""

    alias: str
    columns: dict[str, Origin | None]
    leaf: Leaf | None = None
    block: "Block | None" = None
    additive: bool = True
    """False: rows of it may be missing without rows of the result being missing: it is joined from outside."""


@dataclass(eq=False)
class Block:
    """A SELECT, with what it reads."""

    node: Node
    sources: list[Source] = field(default_factory=list)
    outputs: list[tuple[str, Origin | None]] = field(default_factory=list)
    grouped: bool = False
    """Whether it has groups, or yields one row of aggregates."""
    keys: list[Origin | None] = field(default_factory=list)
    """What it is grouped by, or with DISTINCT what it yields."""
    distinct: bool = False
    cut: bool = False
    """Whether it yields some of its rows only."""
    windows: list[set[Origin]] = field(default_factory=list)
    """For each window function the columns by which it is partitioned."""

    @property
    def single(self) -> bool:
        """Whether it yields one row of aggregates over all."""
        return self.grouped and not self.keys and not self.distinct


@dataclass(frozen=True)
class Link:
    """An equality: rows of the second leaf matter only where they equal a row of the first."""

    first: Origin
    second: Origin


class Query:
    """A query's tree with its leaves and links.

    Args:
        node: A query's node; it is changed in place.
        columns: The columns of each dataset, in order.

    Raises:
        UnknownShapeError: it is recursive, or the like.
    """

    def __init__(self, node: Node, columns: Mapping[str, Sequence[str]]) -> None:
        self._columns = columns
        self.node = without_names(node)
        self.leaves: list[Leaf] = []
        self.links: list[Link] = []
        self._parents: dict[Origin, Origin] = {}
        self._unnamed = 0
        self.top = self._query(self.node, [])

    def same(self, origin: Origin) -> set[Origin]:
        """Return all columns that always equal this one in the rows that are joined."""
        root = self._root(origin)
        return {one for one in {*self._parents, origin} if self._root(one) == root}

    def _root(self, origin: Origin) -> Origin:
        while self._parents.get(origin, origin) != origin:
            origin = self._parents[origin]
        return origin

    def _query(self, node: Node, outer: list[Block]) -> Block:
        if node["type"] == "SET_OPERATION_NODE":
            self._query(node["left"], outer)
            self._query(node["right"], outer)
            return Block(node, cut=True)
        if node["type"] != "SELECT_NODE":
            raise UnknownShapeError(f"a {node['type'].removesuffix('_NODE').replace('_', ' ').lower()}")
        block = Block(node)
        scopes = [block, *outer]
        conditions: list[tuple[Node, str | None, set[int]]] = []
        self._from(node["from_table"], block, outer, conditions, additive=True)
        for condition, side, numbers in conditions:
            self._conjuncts(condition, scopes, side, numbers)
        self._conjuncts(node["where_clause"], scopes, None, set())
        self._shape(block, scopes)
        for part in ("where_clause", "select_list", "group_expressions", "having", "qualify", "modifiers"):
            self._expressions(node[part], scopes)
        for condition, _, _ in conditions:
            self._expressions(condition, scopes)
        return block

    def _from(
        self,
        part: Node,
        block: Block,
        outer: list[Block],
        conditions: list[tuple[Node, str | None, set[int]]],
        *,
        additive: bool,
    ) -> None:
        kind = part["type"]
        if part.get("sample") is not None:
            raise UnknownShapeError("a TABLESAMPLE")
        if kind == "JOIN":
            join = part["join_type"]
            if part["ref_type"] not in {"REGULAR", "CROSS", "NATURAL"} or join not in {
                "INNER",
                "OUTER",
                "FULL",
                *_ONE_SIDED,
            }:
                raise UnknownShapeError(f"a join of type {part['ref_type']} {join}")
            full = join in {"OUTER", "FULL"}
            first = len(block.sources)
            self._from(part["left"], block, outer, conditions, additive=additive and not full and join != "RIGHT")
            middle = len(block.sources)
            self._from(
                part["right"],
                block,
                outer,
                conditions,
                additive=additive
                and not full
                and join
                not in {
                    "LEFT",
                    "SEMI",
                    "ANTI",
                },
            )
            side = None if join == "INNER" else "full" if full else _ONE_SIDED[join]
            own = block.sources[middle:] if side == "right" else block.sources[first:middle] if side == "left" else []
            numbers = {origin[0] for source in own for origin in source.columns.values() if origin}
            if part["condition"] is not None:
                conditions.append((part["condition"], side, numbers))
            for name in part["using_columns"]:
                left = next(
                    (s.columns[name.lower()] for s in block.sources[first:middle] if name.lower() in s.columns), None
                )
                right = next(
                    (s.columns[name.lower()] for s in block.sources[middle:] if name.lower() in s.columns), None
                )
                self._link(left, right, side, numbers)
        elif kind == "BASE_TABLE":
            name = str(DatasetName(part["schema_name"], part["table_name"]))
            clause = part["at_clause"]
            leaf = Leaf(
                len(self.leaves), part, name, None if clause is None else int(clause["expr"]["value"]["value"]), block
            )
            self.leaves.append(leaf)
            names = [column.lower() for column in self._columns[name]]
            shown = [alias.lower() for alias in part["column_name_alias"]] + names[len(part["column_name_alias"]) :]
            columns: dict[str, Origin | None] = {
                alias: (leaf.number, column) for alias, column in zip(shown, names, strict=True)
            }
            block.sources.append(Source(leaf.alias.lower(), columns, leaf=leaf, additive=additive))
        elif kind == "SUBQUERY":
            if not part["alias"]:  # it gets a name, as the engine gives it one, so that its columns can be qualified
                self._unnamed += 1
                part["alias"] = "unnamed_subquery" if self._unnamed == 1 else f"unnamed_subquery{self._unnamed}"
            inner = self._query(part["subquery"]["node"], outer)
            names = [name.lower() for name, _ in inner.outputs]
            aliases = [alias.lower() for alias in part["column_name_alias"]]
            names = aliases[: len(names)] + names[len(aliases) :]
            found = dict(zip(names, (origin for _, origin in inner.outputs), strict=True))
            block.sources.append(Source(part["alias"].lower(), found, block=inner, additive=additive))
        elif kind not in {"EMPTY", "EXPRESSION_LIST", "TABLE_FUNCTION"}:
            raise UnknownShapeError(f"a {kind.replace('_', ' ').lower()} in FROM")
        else:
            block.sources.append(Source(str(part.get("alias", "")).lower(), {}, additive=additive))

    def _shape(self, block: Block, scopes: list[Block]) -> None:
        """Find out what a block is grouped by, and what it yields."""
        node = block.node
        items: list[Node] = node["select_list"]
        for modifier in node["modifiers"]:
            if modifier["type"] == "DISTINCT_MODIFIER":
                if modifier["distinct_on_targets"]:
                    items = modifier["distinct_on_targets"]
                block.distinct = True
            elif modifier["type"] != "ORDER_MODIFIER":
                block.cut = True
        block.grouped = is_grouped(node)
        plain: list[tuple[str, Origin | None]] = []
        for item in node["select_list"]:
            plain += self._yielded(item, block, scopes)
        if block.grouped:
            keys = [self._key(one, node["select_list"], scopes) for one in node["group_expressions"]]
            if node["aggregate_handling"] == "FORCE_AGGREGATES":
                keys = [
                    self._origin(one, scopes) for one in node["select_list"] if not any(map(is_aggregate, inside(one)))
                ]
            block.keys = keys
        elif block.distinct:
            block.keys = [origin for item in items for _, origin in self._yielded(item, block, scopes)]
        for one in inside([node["select_list"], node["qualify"], node["modifiers"]]):
            if one.get("class") == "WINDOW":
                origins = (self._origin(part, scopes) for part in one["partitions"])
                block.windows.append({origin for origin in origins if origin})
        kept = set(block.keys)
        free = not block.cut and node["qualify"] is None
        block.outputs = [
            (name, origin if free and (not block.grouped or origin in kept) else None) for name, origin in plain
        ]
        if block.windows:
            common = set.intersection(*block.windows)
            block.outputs = [(name, origin if origin in common else None) for name, origin in block.outputs]

    def _key(self, expression: Node, items: Sequence[Node], scopes: list[Block]) -> Origin | None:
        """Return what a GROUP BY expression is: a column, one of the SELECT list by its place or its name."""
        if expression["class"] == "CONSTANT":
            place = expression["value"]["value"]
            if isinstance(place, int) and 1 <= place <= len(items):
                return self._origin(items[place - 1], scopes)
            return None
        found = self._origin(expression, scopes)
        if found is None and expression["class"] == "COLUMN_REF" and len(expression["column_names"]) == 1:
            name = expression["column_names"][0].lower()
            named = next((item for item in items if item["alias"].lower() == name), None)
            return None if named is None else self._origin(named, scopes)
        return found

    def _yielded(self, item: Node, block: Block, scopes: list[Block]) -> list[tuple[str, Origin | None]]:
        if item["class"] == "STAR":
            out = {str(name).lower() for name in item["exclude_list"]} | {
                str(one.get("key", one)).lower() if isinstance(one, dict) else str(one).lower()
                for one in item["replace_list"]
            }
            return [
                (name, origin)
                for source in block.sources
                if not item["relation_name"] or source.alias == item["relation_name"].lower()
                for name, origin in source.columns.items()
                if name not in out
            ]
        name = item["alias"] or (item["column_names"][-1] if item["class"] == "COLUMN_REF" else "")
        return [(name.lower(), self._origin(item, scopes))]

    def _origin(self, expression: Node | None, scopes: list[Block]) -> Origin | None:
        """Return the column that an expression is; None where it is something else."""
        if expression is None or expression.get("class") != "COLUMN_REF":
            return None
        names = [name.lower() for name in expression["column_names"]]
        for block in scopes:
            found = [
                source.columns[names[-1]]
                for source in block.sources
                if names[-1] in source.columns and (len(names) == 1 or names[-2] == source.alias)
            ]
            if found:
                return found[0]
        return None

    def _conjuncts(self, condition: Node | None, scopes: list[Block], side: str | None, numbers: set[int]) -> None:
        if condition is None:
            return
        if condition["type"] == "CONJUNCTION_AND":
            for part in condition["children"]:
                self._conjuncts(part, scopes, side, numbers)
        elif condition["type"] in EQUAL:
            left, right = (self._origin(condition[one], scopes) for one in ("left", "right"))
            self._link(left, right, side, numbers, scopes)

    def _link(
        self,
        left: Origin | None,
        right: Origin | None,
        side: str | None,
        numbers: set[int],
        scopes: list[Block] | None = None,
    ) -> None:
        """Keep that two columns are equal; `side`: of which side of a join rows may be left out, None: of both."""
        if left is None or right is None or left[0] == right[0] or side == "full":
            return
        own = None
        if scopes is not None and len(scopes) > 1:
            own = {origin[0] for source in scopes[0].sources for origin in source.columns.values() if origin}
        if own is not None and (left[0] in own) != (right[0] in own):
            # A subquery asks for rows that equal those outside: never the other way round.
            self.links.append(Link(left, right) if right[0] in own else Link(right, left))
        elif side is None:
            self.links += [Link(left, right), Link(right, left)]
            one, other = self._root(left), self._root(right)
            self._parents.setdefault(one, one)
            self._parents[other] = one
        elif (left[0] in numbers) != (right[0] in numbers):
            self.links.append(Link(left, right) if right[0] in numbers else Link(right, left))

    def _expressions(self, value: Any, scopes: list[Block]) -> None:
        """Look into the subqueries of expressions."""
        for one in inside(value, subqueries=True):
            if one.get("class") != "SUBQUERY":
                continue
            inner = self._query(one["subquery"]["node"], scopes)
            if one["subquery_type"] == "ANY" and one["comparison_type"] in {"COMPARE_EQUAL", "EQUAL"} and inner.outputs:
                asked = self._origin(one["child"], scopes)
                found = inner.outputs[0][1]
                if asked is not None and found is not None and asked[0] != found[0]:
                    self.links.append(Link(asked, found))


def is_aggregate(node: Node) -> bool:
    """Return whether a node is an aggregate over rows."""
    return node.get("class") == "FUNCTION" and node["function_name"].lower() in AGGREGATES


def is_grouped(node: Node) -> bool:
    """Return whether a SELECT has groups, or aggregates over all."""
    if node["group_expressions"] or node["group_sets"] or node["aggregate_handling"] == "FORCE_AGGREGATES":
        return True
    return any(map(is_aggregate, inside([node["select_list"], node["having"]])))


def inside(value: Any, *, subqueries: bool = False) -> Iterator[Node]:
    """Yield the nodes of expressions; what subqueries have inside is left out, they themselves are yielded if asked."""
    if isinstance(value, list):
        for part in value:
            yield from inside(part, subqueries=subqueries)
    elif isinstance(value, dict):
        if value.get("class") == "SUBQUERY":
            if subqueries:
                yield value
            yield from inside(value.get("child"), subqueries=subqueries)
            return
        yield value
        for key, part in value.items():
            if not (value.get("class") == "WINDOW" and key == "function_name"):
                yield from inside(part, subqueries=subqueries)


def without_names(node: Node, scope: Mapping[str, Node] | None = None) -> Node:
    """Return a query without WITH: each name is replaced by the subquery that it stands for, wherever it stands."""

    def walk(value: Any, known: Mapping[str, Node]) -> Any:
        if isinstance(value, list):
            return [walk(part, known) for part in value]
        if not isinstance(value, dict):
            return value
        if value.get("type") == "RECURSIVE_CTE_NODE":
            raise UnknownShapeError("a recursive query")
        if "cte_map" in value:
            inner = dict(known)
            for entry in value["cte_map"]["map"]:
                query = walk(entry["value"]["query"]["node"], inner)
                inner[entry["key"].lower()] = {
                    "type": "SUBQUERY",
                    "alias": entry["key"],
                    "sample": None,
                    "subquery": {"node": query, "named_param_map": []},
                    "column_name_alias": list(entry["value"]["aliases"]),
                }
            rest = {key: walk(part, inner) for key, part in value.items() if key != "cte_map"}
            return rest | {"cte_map": {"map": []}}
        if value.get("type") == "BASE_TABLE" and not value["schema_name"] and value["table_name"].lower() in known:
            found = deepcopy(known[value["table_name"].lower()])
            names = value["column_name_alias"] or found["column_name_alias"]
            return found | {"alias": value["alias"] or value["table_name"], "column_name_alias": names}
        return {key: walk(part, known) for key, part in value.items()}

    found: Node = walk(node, scope or {})
    return found
