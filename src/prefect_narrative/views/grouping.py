"""Takes a query with groups apart: the rows that are grouped, their keys, what is counted and summed, what is shown.

Every aggregate that is known here follows from partial results that can be brought up to date: how many rows, how many
values, their sum, the least and the greatest. Any other one makes the view be refreshed in full.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

from prefect_narrative.planes import functions
from prefect_narrative.planes.nodes import Node, constant
from prefect_narrative.views import trees
from prefect_narrative.views.reasons import NotIncrementalError

PREFIX = "narrative_"
"""Before names of ours in queries; a view that uses such a name itself is refreshed in full."""
GROUPS = f"{PREFIX}groups"
"""The name by which what is shown refers to keys and results."""
AGGREGATES = functions.AGGREGATES | functions.RANDOM | frozenset({"count_star"})

Result = Literal["count", "sum", "avg", "min", "max"]
RESULTS: Mapping[str, Result] = {
    "count": "count",
    "sum": "sum",
    "avg": "avg",
    "mean": "avg",
    "min": "min",
    "max": "max",
}


@dataclass(frozen=True)
class Argument:
    """What aggregates look at: the same value under the same condition is kept once."""

    value: Node | None
    """None: the row itself."""
    condition: Node | None
    """FILTER; None: every row."""
    results: frozenset[Result]


@dataclass(frozen=True)
class Groups:
    """A query with groups, in its parts."""

    keys: tuple[Node, ...]
    arguments: tuple[Argument, ...]
    shown: tuple[Node, ...]
    """The select list, over keys and results instead of columns."""
    having: Node | None
    """HAVING, likewise."""


def key_name(number: int) -> str:
    """Return the column of a key."""
    return f"{PREFIX}k{number}"


def result_name(number: int, result: Result) -> str:
    """Return the column of an argument's result."""
    return f"{PREFIX}{result}{number}"


ROWS = f"{PREFIX}n"
"""The column with the number of a group's rows."""


def is_grouped(query: Node) -> bool:
    """Return whether a SELECT has groups, or aggregates over all rows."""
    return bool(
        query["group_expressions"]
        or query["having"] is not None
        or query["aggregate_handling"] != "STANDARD_HANDLING"
        or any(_is_aggregate(node) for item in query["select_list"] for node in trees.nodes(item))
    )


def groups_of(query: Node, visible: Sequence[str]) -> Groups:
    """Return the parts of a SELECT with groups.

    Args:
        query: The SELECT.
        visible: The names of all columns that its FROM yields.

    Raises:
        NotIncrementalError: a part of it is not known here.
    """
    return _Grouping(query, visible).groups()


def _is_aggregate(node: Node) -> bool:
    return node.get("class") == "FUNCTION" and node["function_name"].lower() in AGGREGATES


class _Grouping:
    def __init__(self, query: Node, visible: Sequence[str]) -> None:
        self.query = query
        self.visible = [name.lower() for name in visible]
        self.tables = {
            (leaf["alias"] or leaf.get("table_name", "")).lower() for leaf in trees.leaves(query["from_table"])
        }
        self.items: dict[str, Node] = {}
        for item in query["select_list"]:
            if item["class"] == "STAR":
                raise NotIncrementalError("The query has groups and *: name the columns.")
            self.items.setdefault(item["alias"].lower(), item)
        self.arguments: dict[str, Argument] = {}
        self.keys: list[Node] = []

    def groups(self) -> Groups:
        handling, expressions = self.query["aggregate_handling"], self.query["group_expressions"]
        if handling == "FORCE_AGGREGATES":  # GROUP BY ALL
            expressions = [item for item in self.query["select_list"] if not any(map(_is_aggregate, trees.nodes(item)))]
        elif handling != "STANDARD_HANDLING" or self.query["group_sets"] not in ([], [list(range(len(expressions)))]):
            raise NotIncrementalError("The query has several groupings (GROUPING SETS, ROLLUP or CUBE).")
        for expression in expressions:
            key = self.canonical(self.grouped_by(expression))
            if key not in self.keys:
                self.keys.append(key)
        shown = tuple(self.over_groups(item) | {"alias": item["alias"]} for item in self.query["select_list"])
        having = None
        if self.query["having"] is not None:
            self.check_names(self.query["having"])
            having = self.over_groups(self.query["having"])
        return Groups(tuple(self.keys), tuple(self.arguments.values()), shown, having)

    def grouped_by(self, expression: Node) -> Node:
        """Return what an entry of GROUP BY means: a number and a name given in SELECT stand for a column there."""
        if expression["class"] == "CONSTANT":
            position = expression["value"]["value"]
            items = self.query["select_list"]
            if not isinstance(position, int) or not 1 <= position <= len(items):
                raise NotIncrementalError("The query groups by a constant.")
            return items[position - 1]  # type: ignore[no-any-return]
        if any(map(_is_aggregate, trees.nodes(expression))):
            raise NotIncrementalError("The query groups by an aggregate.")
        return self.named_item(expression) or expression

    def named_item(self, expression: Node) -> Node | None:
        """Return the column of SELECT that a name stands for; None where it names one of FROM, which comes first."""
        if expression["class"] != "COLUMN_REF" or len(expression["column_names"]) != 1:
            return None
        name = expression["column_names"][0].lower()
        return None if name in self.visible else self.items.get(name)

    def check_names(self, having: Node) -> None:
        """Raise for a name in HAVING that means a column both of FROM and of SELECT."""
        for node in trees.nodes(having):
            if node.get("class") == "COLUMN_REF" and len(node["column_names"]) == 1:
                name = node["column_names"][0].lower()
                item = self.items.get(name)
                if item is not None and name in self.visible and self.canonical(item) != self.canonical(node):
                    raise NotIncrementalError(f"In HAVING {name} is the name of two columns.")

    def canonical(self, expression: Node) -> Node:
        """Return an expression in which a column is called the same with and without its table's name."""

        def walk(value: Any) -> Any:
            if isinstance(value, list):
                return [walk(part) for part in value]
            if not isinstance(value, dict):
                return value
            node = {key: walk(part) for key, part in value.items()}
            if node.get("class") == "COLUMN_REF":
                node["column_names"] = self.short(node["column_names"])
            return node

        return walk(trees.plain(expression))  # type: ignore[no-any-return]

    def short(self, names: list[str]) -> list[str]:
        """Return a column's name without its table's, where that makes no difference."""
        table, *rest = names
        by_table = bool(rest) and table in self.tables and table not in self.visible
        return rest if by_table and self.visible.count(rest[0]) == 1 else names

    def over_groups(self, expression: Node, within: frozenset[str] = frozenset()) -> Node:
        """Return an expression over keys and results; `within` are the columns of SELECT that it is part of."""
        key = self.canonical(expression)
        if key in self.keys:
            return _reference(key_name(self.keys.index(key)))
        if _is_aggregate(expression):
            return self.aggregate(expression)
        if expression["class"] == "COLUMN_REF":
            item = self.named_item(expression)
            name = expression["column_names"][0].lower()
            if item is None or name in within:
                raise NotIncrementalError(f"The query shows {'.'.join(expression['column_names'])}, which is no key.")
            return self.over_groups(item, within | {name})
        if expression["class"] == "FUNCTION" and expression["function_name"].lower() in {"unnest", "unlist"}:
            raise NotIncrementalError("The query unfolds lists of its groups (unnest).")

        def walk(value: Any) -> Any:
            if isinstance(value, list):
                return [walk(part) for part in value]
            if isinstance(value, dict):
                if "class" in value:
                    return self.over_groups(value, within) | {"alias": value["alias"]}
                return {key: walk(part) for key, part in value.items()}
            return value

        return {key: walk(part) for key, part in expression.items()}

    def aggregate(self, call: Node) -> Node:
        """Return a reference to an aggregate's result; what it looks at is kept."""
        name = call["function_name"].lower()
        if call["distinct"]:
            raise NotIncrementalError(f"The query has {name}(DISTINCT ...).")
        if call["order_bys"]["orders"] or call["schema"] not in {"", "main"} or call["export_state"]:
            raise NotIncrementalError(f"The query has {name}() with an order or in another form than usual.")
        condition = None if call["filter"] is None else self.canonical(call["filter"])
        if name == "count_star" or (name == "count" and not call["children"]):
            if condition is None:
                return _reference(ROWS)
            return self.result(None, condition, "count")
        if name not in RESULTS or len(call["children"]) != 1:
            raise NotIncrementalError(
                f"The query has {name}(): only count, sum, avg, min and max can be brought up to date."
            )
        return self.result(self.canonical(call["children"][0]), condition, RESULTS[name])

    def result(self, value: Node | None, condition: Node | None, result: Result) -> Node:
        nested = [node for part in (value, condition) for node in trees.nodes(part)]
        if any(map(_is_aggregate, nested)):
            raise NotIncrementalError("The query has an aggregate of an aggregate.")
        wanted = repr((value, condition))
        known = self.arguments.get(wanted, Argument(value, condition, frozenset()))
        self.arguments[wanted] = Argument(value, condition, known.results | {result})
        return _reference(result_name(list(self.arguments).index(wanted), result))


def rows_of(query: Node, groups: Groups) -> Node:
    """Return the query for the rows that are grouped: their keys, and what aggregates look at."""
    items = [deepcopy(key) | {"alias": key_name(number)} for number, key in enumerate(groups.keys)]
    for number, argument in enumerate(groups.arguments):
        if argument.value is not None:
            items.append(deepcopy(argument.value) | {"alias": f"{PREFIX}a{number}"})
        if argument.condition is not None:
            items.append(deepcopy(argument.condition) | {"alias": f"{PREFIX}f{number}"})
    return query | {
        "select_list": items or [constant("INTEGER", 1) | {"alias": f"{PREFIX}one"}],
        "group_expressions": [],
        "group_sets": [],
        "aggregate_handling": "STANDARD_HANDLING",
        "having": None,
    }


def _reference(name: str) -> Node:
    return {"class": "COLUMN_REF", "type": "COLUMN_REF", "alias": "", "column_names": [GROUPS, name]}
