"""Which columns of a query derive from sensitive ones, told from its syntax tree alone.

A column is clean only where that can be shown: its expression names no sensitive column, and no sensitive column
decides which rows there are, how many, or in which order. So a sensitive column in WHERE, ON, USING, GROUP BY, HAVING,
QUALIFY, ORDER BY, LIMIT or in an argument of FROM makes every column of that SELECT sensitive, and so does one among
the columns of DISTINCT, UNION, EXCEPT and INTERSECT, which compare rows: `SELECT guess FROM guesses JOIN people ON
guess = salary` shows salaries. Names are taken in the widest sense; what is not understood counts as sensitive.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from prefect_narrative.planes import deltas, functions
from prefect_narrative.planes.names import DatasetName
from prefect_narrative.planes.nodes import Node
from prefect_narrative.planes.outputs import Named, Outputs, Scope, joined

ColumnsOf = Callable[[str, int | None], Sequence[Named]]
"""Returns the columns of a dataset, in order, as of a snapshot that the query names (None: the one that it reads)."""

_CONDITIONS = ("where_clause", "group_expressions", "having", "qualify")
_JOINS = frozenset({"REGULAR", "NATURAL", "CROSS", "POSITIONAL", "ASOF"})


def derive(query: Node, columns_of: ColumnsOf) -> Outputs:
    """Return what a query yields.

    Args:
        query: Its tree, as DuckDB reads a checked query's SQL.
        columns_of: Tells the columns of datasets.
    """
    return _Walk(columns_of).query(query, None, {})


class _Walk:
    def __init__(self, columns_of: ColumnsOf) -> None:
        self.columns_of = columns_of

    def query(self, node: Node, outer: Scope | None, known: Mapping[str, Outputs]) -> Outputs:
        named = dict(known)
        for entry in node["cte_map"]["map"]:
            found = self.query(entry["value"]["query"]["node"], outer, named)
            named[entry["key"].lower()] = found.as_source(entry["value"]["aliases"])
        if node["type"] == "SELECT_NODE":
            return self.select(node, outer, named)
        if node["type"] == "SET_OPERATION_NODE":
            return self.set_operation(node, outer, named)
        return self.coarse(node, outer, named)

    def select(self, node: Node, outer: Scope | None, named: Mapping[str, Outputs]) -> Outputs:
        leaves, source, rows = self.source(node["from_table"], outer, named)
        scope = Scope(leaves, outer=outer)
        items: list[Node] = node["select_list"]
        while True:  # an expression may name other columns of the list
            sensitive = [self.mentions(item, scope, named) for item in items]
            aliases = frozenset(item["alias"].casefold() for item, hit in zip(items, sensitive, strict=True) if hit)
            if aliases - {""} == scope.aliases:
                break
            scope = replace(scope, aliases=aliases - {""})
        yielded = self.listed(items, sensitive, source, scope, named)
        rows = rows or any(hit and _unnests(item) for item, hit in zip(items, sensitive, strict=True))
        rows = rows or any(
            self.position(one, items, sensitive, scope, named) for part in _CONDITIONS for one in _listed(node[part])
        )
        if node["aggregate_handling"] == "FORCE_AGGREGATES":  # GROUP BY ALL
            keys = [hit for item, hit in zip(items, sensitive, strict=True) if not _aggregates(item)]
            rows = rows or any(keys)
        return yielded.decided(rows or self.modified(node, items, sensitive, yielded, scope, named))

    def listed(
        self,
        items: Sequence[Node],
        sensitive: Sequence[bool],
        source: Outputs,
        scope: Scope,
        named: Mapping[str, Outputs],
    ) -> Outputs:
        """Return the columns of a SELECT list."""
        columns: list[Named] = []
        loose = Outputs()
        is_ordered = True
        for item, hit in zip(items, sensitive, strict=True):
            if item["class"] == "STAR" and not item["columns"]:
                relation = item["relation_name"].casefold()
                of = scope.leaves.get(relation) if relation else source
                if of is None:  # the fields of a value
                    of = Outputs(every=scope.means([relation]))
                found = self.starred(item, of, scope, named)
                if found.columns is None:
                    is_ordered = False
                    loose = replace(loose, named=loose.named | found.named, every=loose.every or found.every)
                else:
                    columns += found.columns
                    loose = replace(loose, every=loose.every or found.every)
            elif item["class"] == "COLUMN_REF" or (item["alias"] and not _expands(item)):
                columns.append((item["alias"] or item["column_names"][-1], hit))
            else:  # one whose names follow from the data's: COLUMNS(...), #1, unnest of a STRUCT
                is_ordered = False
                loose = replace(loose, every=loose.every or hit)
        found = Outputs.of(columns)
        return Outputs(found.columns if is_ordered else None, found.named | loose.named, loose.every)

    def starred(self, item: Node, of: Outputs, scope: Scope, named: Mapping[str, Outputs]) -> Outputs:
        """Return the columns that a star stands for."""
        replaced = {one["key"].casefold(): self.mentions(one["value"], scope, named) for one in item["replace_list"]}
        renamed = {one["key"]["column"].casefold(): one["value"] for one in item["rename_list"]}
        more = {name for name, hit in replaced.items() if hit}
        more |= {new.casefold() for old, new in renamed.items() if of.has(old)}
        if of.columns is None or item["qualified_exclude_list"]:
            return Outputs(None, of.named | more, of.every)
        left_out = {name.casefold() for name in item["exclude_list"]}
        columns = [
            (renamed.get(name.casefold(), name), replaced.get(name.casefold(), hit))
            for name, hit in of.columns
            if name.casefold() not in left_out
        ]
        return replace(Outputs.of(columns), every=of.every)

    def modified(
        self,
        node: Node,
        items: Sequence[Node],
        sensitive: Sequence[bool],
        yielded: Outputs,
        scope: Scope,
        named: Mapping[str, Outputs],
    ) -> bool:
        """Return whether ORDER BY, LIMIT or DISTINCT decide by sensitive values which rows there are."""
        for modifier in node["modifiers"]:
            if modifier["type"] == "DISTINCT_MODIFIER" and not modifier["distinct_on_targets"] and yielded.any:
                return True
            for expression in _expressions(modifier):
                if self.position(expression, items, sensitive, scope, named):
                    return True
        return False

    def position(
        self,
        expression: Node,
        items: Sequence[Node],
        sensitive: Sequence[bool],
        scope: Scope,
        named: Mapping[str, Outputs],
    ) -> bool:
        """Return whether an expression is sensitive, also where it is the number of a column of the list."""
        if expression["class"] == "CONSTANT" and type(number := expression["value"].get("value")) is int:
            stars = any(item["class"] == "STAR" or _unnests(item) for item in items[:number])
            if stars or not 0 < number <= len(items):
                return any(sensitive)
            return sensitive[number - 1]
        return self.mentions(expression, scope, named)

    def set_operation(self, node: Node, outer: Scope | None, named: Mapping[str, Outputs]) -> Outputs:
        left, right = (self.query(node[side], outer, named) for side in ("left", "right"))
        sensitive = left.any or right.any
        rows = left.rows or right.rows
        rows = rows or (sensitive and not (node["setop_type"].startswith("UNION") and node["setop_all"]))
        if node["setop_type"] == "UNION_BY_NAME":
            both = Outputs(None, left.named | right.named, left.every or right.every)
        elif left.columns is None or right.columns is None or len(left.columns) != len(right.columns):
            both = Outputs(every=sensitive)
        else:
            pairs = zip(left.columns, right.columns, strict=True)
            columns = [(name, hit or other) for (name, hit), (_, other) in pairs]
            both = replace(Outputs.of(columns), every=left.every or right.every)
        ordered = [hit for _, hit in both.columns] if both.columns is not None else [both.any]
        scope = Scope({"": both}, outer=outer)
        items: list[Node] = [{"class": "COLUMN_REF"}] * len(ordered)
        return both.decided(rows or self.modified(node, items, ordered, both, scope, named))

    def source(
        self, table: Node, outer: Scope | None, named: Mapping[str, Outputs]
    ) -> tuple[dict[str, Outputs], Outputs, bool]:
        """Return what FROM names by alias, its columns in order, and whether sensitive values decide about its rows."""
        if table["type"] == "JOIN" and table["ref_type"] in _JOINS:
            return self.join(table, outer, named)
        found = self.leaf(table, outer, named)
        name = table.get("alias") or table.get("table_name") or table.get("function", {}).get("function_name") or ""
        return {name.casefold(): found}, found, found.rows

    def join(
        self, table: Node, outer: Scope | None, named: Mapping[str, Outputs]
    ) -> tuple[dict[str, Outputs], Outputs, bool]:
        leaves, left, rows = self.source(table["left"], outer, named)
        others, right, more = self.source(table["right"], Scope(leaves, outer=outer), named)
        both = dict(leaves)
        for name, found in others.items():
            both[name] = Outputs(None, found.named | both[name].named, True) if name in both else found
        rows = rows or more
        same = list(table["using_columns"])
        if table["ref_type"] == "NATURAL":
            if left.columns is None or right.columns is None:
                rows = rows or left.any or right.any
            else:
                there = {name.casefold() for name, _ in right.columns}
                same = [name for name, _ in left.columns if name.casefold() in there]
        rows = rows or any(left.has(name) or right.has(name) for name in same)
        if table["condition"] is not None:
            rows = rows or self.mentions(table["condition"], Scope(both, outer=outer), named)
        only_left = table["join_type"] in {"SEMI", "ANTI"}
        whole = joined(left, right, same, only_left=only_left)
        if table.get("alias"):
            both[table["alias"].casefold()] = whole
        return (leaves if only_left else both), whole, rows

    def leaf(self, table: Node, outer: Scope | None, named: Mapping[str, Outputs]) -> Outputs:  # noqa: PLR0911
        kind = table["type"]
        aliases: Sequence[str] = table.get("column_name_alias") or ()
        if kind == "EMPTY":
            return Outputs(())
        if kind == "BASE_TABLE":
            if not table["schema_name"] and table["table_name"].lower() in named:
                return named[table["table_name"].lower()].as_source(aliases)
            return self.dataset(table).as_source(aliases)
        if kind == "SUBQUERY":
            return self.query(table["subquery"]["node"], outer, named).as_source(aliases)
        if kind == "TABLE_FUNCTION" and table["function"]["function_name"].lower() == deltas.FUNCTION:
            return self.dataset(deltas.table_in(table)).as_source(aliases)
        if kind in {"TABLE_FUNCTION", "EXPRESSION_LIST"}:
            hit = self.mentions(table.get("function") or table["values"], outer or Scope(), named)
            return Outputs.unknown(sensitive=hit)
        return self.coarse(table, outer, named)

    def dataset(self, table: Node) -> Outputs:
        clause = table["at_clause"]
        version = None if clause is None else int(clause["expr"]["value"]["value"])
        name = str(DatasetName(table["schema_name"], table["table_name"]))
        return Outputs.of(self.columns_of(name, version))

    def coarse(self, node: Node, outer: Scope | None, named: Mapping[str, Outputs]) -> Outputs:
        """Return what is said of a part that is not looked into: sensitive where anything that it reads is."""
        for one in _nodes(node):
            if one.get("type") == "BASE_TABLE" and one["schema_name"]:
                sensitive = self.dataset(one).any
            elif one.get("type") == "BASE_TABLE":
                sensitive = one["table_name"].lower() in named and named[one["table_name"].lower()].any
            else:
                sensitive = one.get("class") == "COLUMN_REF" and outer is not None and outer.means(one["column_names"])
            if sensitive:
                return Outputs.unknown(sensitive=True)
        return Outputs()

    def mentions(self, value: Any, scope: Scope, named: Mapping[str, Outputs]) -> bool:  # noqa: PLR0911
        """Return whether an expression names a sensitive column, or may."""
        if isinstance(value, list):
            return any(self.mentions(part, scope, named) for part in value)
        if not isinstance(value, dict):
            return False
        kind = value.get("class")
        if kind == "COLUMN_REF":
            return scope.means(value["column_names"])
        if kind in {"STAR", "POSITIONAL_REFERENCE"} and scope.any:
            return True
        if kind == "SUBQUERY":
            found = self.query(value["subquery"]["node"], scope, named)
            if found.any or found.rows:
                return True
            return self.mentions(value.get("child"), scope, named)
        if kind in {"FUNCTION", "WINDOW"}:  # x.length() has its argument in the place of the schema
            places = [value.get(place) for place in ("catalog", "schema") if value.get(place) not in {None, "", "main"}]
            if places and scope.means([str(place) for place in places]):
                return True
        return any(self.mentions(part, scope, named) for part in value.values())


def _nodes(value: Any) -> Iterator[Node]:
    if isinstance(value, dict):
        yield value
        for part in value.values():
            yield from _nodes(part)
    elif isinstance(value, list):
        for part in value:
            yield from _nodes(part)


def _listed(value: Any) -> list[Node]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _expressions(modifier: Node) -> list[Node]:
    """Return the expressions of ORDER BY, LIMIT and DISTINCT ON."""
    ordered = [order["expression"] for order in modifier.get("orders", ())]
    limits = [[one] for name in ("limit", "offset") if (one := modifier.get(name)) and one["class"] != "CONSTANT"]
    return [*ordered, *modifier.get("distinct_on_targets", ()), *(one for limit in limits for one in limit)]


def _expands(item: Node) -> bool:
    """Return whether an expression may stand for several columns, whatever it is called."""
    return _unnests(item) or any(one.get("class") == "STAR" for one in _nodes(item))


def _unnests(item: Node) -> bool:
    return any(str(one.get("function_name")).lower() == "unnest" for one in _nodes(item))


def _aggregates(item: Node) -> bool:
    """Return whether an expression is an aggregate, which GROUP BY ALL does not group by."""
    if isinstance(item, list):
        return any(map(_aggregates, item))
    if not isinstance(item, dict) or item.get("class") == "SUBQUERY":
        return False
    if item.get("class") == "FUNCTION" and item["function_name"].lower() in functions.AGGREGATES:
        return True
    return any(map(_aggregates, item.values()))
