"""What form a view's query has: one whose changes follow from the changes of its sources, or why it has not.

Three forms do: rows (datasets filtered, projected, joined, put together), distinct rows, and rows grouped into counts,
sums, averages and bounds. The latter two are one: distinct rows are groups of which only the keys are shown.

The query's own words are kept: only what stands in FROM is replaced, so no expression is read in another way. What
can't be shown to come out equal is not tried.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from prefect_narrative.planes.errors import QueryRefusedError
from prefect_narrative.planes.names import quoted
from prefect_narrative.planes.nodes import Node
from prefect_narrative.planes.plane import CheckedQuery, Column
from prefect_narrative.planes.syntax import Parser
from prefect_narrative.views import grouping, trees
from prefect_narrative.views.grouping import GROUPS, PREFIX, Groups, key_name
from prefect_narrative.views.reasons import NotIncrementalError
from prefect_narrative.views.results import Results, results_of

Describe = Callable[[str], Sequence[Column]]
"""Returns the columns that a query yields, without running it."""

MOST_JOINED = 16
JOINS = frozenset({"REGULAR", "NATURAL", "CROSS"})
PARTS_OF_FROM = frozenset({"BASE_TABLE", "SUBQUERY", "JOIN", "TABLE_FUNCTION", "EXPRESSION_LIST", "EMPTY"})
_HIDDEN = "The query reads what only stored rows have (ids or files), or uses names beyond where they are given."


@dataclass(frozen=True)
class Shape:
    """A query whose rows can be changed instead of computed anew."""

    rows: Node
    """The query; where there are groups: the one whose rows are grouped. It has no WITH."""
    columns: tuple[Column, ...]
    """What the view's query yields."""
    results: Results | None = None
    """How its rows are grouped and what is kept of the groups; None: the rows are the view's."""


def shape_of(
    query: CheckedQuery, parser: Parser, describe: Describe, datasets: Mapping[str, Sequence[Column]]
) -> Shape:
    """Return the form of a view's query.

    Args:
        query: The view's.
        parser: Reads and writes syntax trees.
        describe: Tells a query's columns.
        datasets: The columns of each dataset that it reads.

    Raises:
        NotIncrementalError: it has no such form, with the reason.
    """
    if query.volatile:
        raise NotIncrementalError(f"The query depends on the time ({', '.join(query.volatile)}).")
    if query.random or query.deltas:
        raise NotIncrementalError("The query does not yield the same rows from the same data.")
    return _Analysis(parser, describe, datasets).shape(query)


class _Analysis:
    def __init__(self, parser: Parser, describe: Describe, datasets: Mapping[str, Sequence[Column]]) -> None:
        self.parser = parser
        self.describe = describe
        self.datasets = datasets
        self.known: dict[str, tuple[Column, ...]] = {}

    def shape(self, query: CheckedQuery) -> Shape:
        node = trees.inlined(self.parser.tree(query.sql)["node"])
        self.check_names(node)
        distinct = _is_distinct(node)
        node = _with_doubles(node) if distinct else node | {"modifiers": []}
        columns = self.described(query.sql)
        if node["type"] == "SELECT_NODE" and grouping.is_grouped(node):
            if distinct:
                raise NotIncrementalError("The query has DISTINCT over groups.")
            _check_expressions(node)
            groups = grouping.groups_of(
                node, [column.name for column in self.columns(trees.all_of(node["from_table"]))]
            )
            rows = self.rows(grouping.rows_of(node, groups))
            return Shape(rows, columns, results_of(groups, self.columns(rows), columns))
        rows = self.rows(node)
        if not distinct:
            return Shape(rows, columns)
        groups, rows = _all_keys(rows, columns)
        return Shape(rows, columns, results_of(groups, self.columns(rows), columns))

    def described(self, sql: str) -> tuple[Column, ...]:
        """Return what a query yields, asked once."""
        if sql not in self.known:
            self.known[sql] = tuple(self.describe(sql))
        return self.known[sql]

    def columns(self, node: Node) -> tuple[Column, ...]:
        """Return what a query yields."""
        return self.described(self.parser.sql({"node": node, "named_param_map": []}))

    def rows(self, query: Node) -> Node:
        """Return a query, once it is checked, with what its parts yield said in words."""
        self.check(query)
        try:
            same = self.columns(self.of_plain_rows(query)) == self.columns(query)
        except QueryRefusedError as error:
            raise NotIncrementalError(_HIDDEN) from error
        if not same:
            raise NotIncrementalError(_HIDDEN)
        return self.typed(query)

    def check_names(self, query: Node) -> None:
        """Raise where a name in the query, or in what it reads, is like one of ours."""
        names = [
            name
            for node in trees.nodes(query)
            for name in (node.get("alias"), *node.get("column_names", ()), *node.get("column_name_alias", ()))
        ]
        names += [column.name for columns in self.datasets.values() for column in columns]
        for name in names:
            if isinstance(name, str) and name.lower().startswith(PREFIX):
                raise NotIncrementalError(f"Names that begin with {PREFIX} are ours, and there is {name!r}.")

    def check(self, query: Node) -> None:
        """Raise unless a query's rows are those of datasets, filtered, projected, joined and put together."""
        if query["type"] == "SET_OPERATION_NODE":
            if query["setop_type"] != "UNION" or not query["setop_all"]:
                raise NotIncrementalError(f"The query has {_set_operation(query)} within it.")
            _check_modifiers(query)
            self.check(query["left"])
            self.check(query["right"])
            return
        if query["type"] != "SELECT_NODE":
            raise NotIncrementalError("The query is recursive.")
        _check_modifiers(query)
        _check_expressions(query)
        if grouping.is_grouped(query):
            raise NotIncrementalError("The query has groups within it: make that part a view of its own.")
        joined = len(trees.leaves(query["from_table"]))
        if joined > MOST_JOINED:
            raise NotIncrementalError(f"The query joins {joined} datasets: at most {MOST_JOINED} are looked at.")
        for part in trees.references(query["from_table"]):
            _check_reference(part)
            if part["type"] == "SUBQUERY":
                self.check(part["subquery"]["node"])
                try:
                    self.columns(part["subquery"]["node"])
                except QueryRefusedError as error:
                    raise NotIncrementalError("A subquery in FROM depends on the rows beside it.") from error

    def of_plain_rows(self, query: Node) -> Node:
        """Return a query over nothing but the columns of its datasets."""
        if query["type"] == "SET_OPERATION_NODE":
            return query | {"left": self.of_plain_rows(query["left"]), "right": self.of_plain_rows(query["right"])}

        def put(_: int, leaf: Node) -> Node:
            if leaf["type"] == "SUBQUERY":
                return leaf | {"subquery": leaf["subquery"] | {"node": self.of_plain_rows(leaf["subquery"]["node"])}}
            if not trees.is_dataset(leaf):
                return leaf
            names = [quoted(column.name) for column in self.datasets[trees.dataset_of(leaf)]]
            rows = self.select(names, leaf | {"alias": "", "column_name_alias": []})
            return trees.subquery(rows, leaf["alias"] or leaf["table_name"], leaf["column_name_alias"])

        return query | {"from_table": trees.replaced(query["from_table"], put)}

    def select(self, expressions: Sequence[str], table: Node) -> Node:
        """Return a SELECT of expressions that are given as SQL."""
        node: Node = self.parser.tree(f"SELECT {', '.join(expressions)} FROM anything")["node"]  # noqa: S608  (quoted)
        return node | {"from_table": table}

    def typed(self, query: Node) -> Node:
        """Return a query in which each part of a UNION ALL yields the types and names of the whole."""
        if query["type"] == "SELECT_NODE":

            def put(_: int, leaf: Node) -> Node:
                if leaf["type"] != "SUBQUERY":
                    return leaf
                return leaf | {"subquery": leaf["subquery"] | {"node": self.typed(leaf["subquery"]["node"])}}

            return query | {"from_table": trees.replaced(query["from_table"], put)}
        columns = self.columns(query)
        names = [f"{PREFIX}c{number}" for number in range(len(columns))]
        casts = [
            f"CAST({name} AS {column.type}) AS {quoted(column.name)}"
            for name, column in zip(names, columns, strict=True)
        ]

        def wrapped(part: Node) -> Node:
            if part["type"] == "SET_OPERATION_NODE":
                return part | {"left": wrapped(part["left"]), "right": wrapped(part["right"])}
            return self.select(casts, trees.subquery(self.typed(part), f"{PREFIX}part", names))

        try:
            return wrapped(query)
        except QueryRefusedError as error:
            raise NotIncrementalError("A column of the query's UNION ALL has a type that has no name.") from error


def _is_distinct(query: Node) -> bool:
    """Return whether a whole query yields each row once; raise where it yields some of them only."""
    distinct = query["type"] == "SET_OPERATION_NODE" and query["setop_type"] == "UNION" and not query["setop_all"]
    for modifier in query["modifiers"]:
        if modifier["type"] == "DISTINCT_MODIFIER":
            if modifier["distinct_on_targets"]:
                raise NotIncrementalError("The query has DISTINCT ON.")
            distinct = True
        elif modifier["type"] != "ORDER_MODIFIER":  # the order of a view's rows is nobody's to rely on
            raise NotIncrementalError("The query has LIMIT.")
    return distinct


def _with_doubles(query: Node) -> Node:
    """Return a query that may yield a row more than once, where it was to yield each once."""
    if query["type"] == "SELECT_NODE":
        kept = [one for one in query["modifiers"] if one["type"] not in {"ORDER_MODIFIER", "DISTINCT_MODIFIER"}]
        return query | {"modifiers": kept}
    if query["type"] != "SET_OPERATION_NODE" or query["setop_type"] != "UNION":
        return query
    left, right = (
        part if any(one.get("distinct_on_targets") for one in part["modifiers"]) else _with_doubles(part)
        for part in (query["left"], query["right"])
    )
    return query | {"setop_all": True, "left": left, "right": right, "modifiers": []}


def _all_keys(rows: Node, columns: Sequence[Column]) -> tuple[Groups, Node]:
    """Return distinct rows as groups whose keys are all their columns, and the rows that are grouped."""
    names = [f"{PREFIX}c{number}" for number in range(len(columns))]
    keys = [
        {"class": "COLUMN_REF", "type": "COLUMN_REF", "alias": key_name(number), "column_names": [name]}
        for number, name in enumerate(names)
    ]
    shown = tuple(
        {"class": "COLUMN_REF", "type": "COLUMN_REF", "alias": column.name, "column_names": [GROUPS, key_name(number)]}
        for number, column in enumerate(columns)
    )
    table = trees.subquery(rows, f"{PREFIX}part", names)
    return Groups(tuple(keys), (), shown, None), trees.all_of(table) | {"select_list": keys}


def _check_modifiers(query: Node) -> None:
    for modifier in query["modifiers"]:
        if modifier["type"] == "DISTINCT_MODIFIER":
            raise NotIncrementalError("The query has DISTINCT within it: make that part a view of its own.")
        if modifier["type"] != "ORDER_MODIFIER":
            raise NotIncrementalError("The query has LIMIT within it.")


def _check_expressions(query: Node) -> None:
    if query["qualify"] is not None:
        raise NotIncrementalError("The query has QUALIFY.")
    for node in trees.expressions(query):
        if node.get("class") == "WINDOW":
            raise NotIncrementalError(f"The query has the window function {node['function_name']}().")
        if node.get("class") == "SUBQUERY":
            raise NotIncrementalError("The query has a subquery in an expression: join what it reads instead.")


def _check_reference(part: Node) -> None:
    if part["type"] not in PARTS_OF_FROM:
        raise NotIncrementalError(f"The query has {part['type'].replace('_', ' ')} in FROM.")
    if part["type"] == "JOIN":
        if part["join_type"] != "INNER":
            raise NotIncrementalError(f"The query has a {part['join_type']} join: only inner joins are looked at.")
        if part["ref_type"] not in JOINS:
            raise NotIncrementalError(f"The query has a {part['ref_type']} join.")


def _set_operation(query: Node) -> str:
    name = query["setop_type"].replace("_", " ")
    return f"{name} ALL" if query["setop_all"] else str(name)
