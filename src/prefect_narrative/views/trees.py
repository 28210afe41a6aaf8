"""A query's syntax tree, as DuckDB itself reads it: looking through it, and putting other tables into it."""

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any

from prefect_narrative.planes.names import DatasetName
from prefect_narrative.planes.nodes import ALL_ROWS, Node, constant


def nodes(value: Any) -> Iterator[Node]:
    """Yield every node below and including a value."""
    if isinstance(value, dict):
        yield value
        for part in value.values():
            yield from nodes(part)
    elif isinstance(value, list):
        for part in value:
            yield from nodes(part)


def expressions(query: Node) -> Iterator[Node]:
    """Yield every node of the expressions of a SELECT, those of its joins and table functions included.

    Subqueries in FROM are left out: they are queries of their own.
    """
    for part in ("select_list", "where_clause", "group_expressions", "having", "qualify", "modifiers"):
        yield from nodes(query[part])
    for reference in references(query["from_table"]):
        if reference["type"] == "JOIN":
            yield from nodes(reference["condition"])
        elif reference["type"] != "SUBQUERY":
            yield from nodes(reference)


def references(table: Node) -> Iterator[Node]:
    """Yield what FROM names: joins, and below them tables, subqueries and the like, from left to right."""
    yield table
    if table["type"] == "JOIN":
        yield from references(table["left"])
        yield from references(table["right"])


def leaves(table: Node) -> list[Node]:
    """Return what is joined in FROM, from left to right."""
    return [reference for reference in references(table) if reference["type"] != "JOIN"]


def is_dataset(reference: Node) -> bool:
    """Return whether a part of FROM is a dataset that is read as of the refresh, and not AT a snapshot of its own."""
    return bool(reference["type"] == "BASE_TABLE" and reference["at_clause"] is None)


def dataset_of(reference: Node) -> str:
    """Return the name of the dataset that a part of FROM reads."""
    return str(DatasetName(reference["schema_name"], reference["table_name"]))


def at_version(reference: Node, version: int) -> Node:
    """Return a reference to a dataset as of a snapshot."""
    kind = "BIGINT" if version >= 2**31 else "INTEGER"
    return reference | {"at_clause": {"unit": "VERSION", "expr": constant(kind, version)}}


def named(reference: Node, relation: str) -> Node:
    """Return a reference to a relation, under the name by which the query knows the dataset in its place."""
    return reference | {
        "schema_name": "",
        "table_name": relation,
        "alias": reference["alias"] or reference["table_name"],
    }


def subquery(query: Node, alias: str, columns: list[str] | None = None) -> Node:
    """Return a query as a part of FROM."""
    return {
        "type": "SUBQUERY",
        "alias": alias,
        "sample": None,
        "subquery": {"node": query, "named_param_map": []},
        "column_name_alias": columns or [],
    }


def all_of(table: Node) -> Node:
    """Return SELECT * FROM a part of FROM."""
    return deepcopy(ALL_ROWS) | {"from_table": table}


def replaced(table: Node, leaf: Callable[[int, Node], Node]) -> Node:
    """Return a part of FROM with each leaf, counted from the left, replaced by what a function returns for it."""
    number = -1

    def walk(part: Node) -> Node:
        nonlocal number
        if part["type"] == "JOIN":
            left = walk(part["left"])
            return part | {"left": left, "right": walk(part["right"])}
        number += 1
        return leaf(number, part)

    return walk(table)


def inlined(query: Node, scope: Mapping[str, Node] | None = None) -> Node:
    """Return a query without WITH: each name that it gives to a subquery is replaced by that subquery.

    Args:
        query: A SELECT or a set operation; changed in place where it has no WITH.
        scope: The subqueries that can be named where the query stands, by name in lower case.
    """
    known = dict(scope or {})
    for entry in query["cte_map"]["map"]:
        inner = inlined(deepcopy(entry["value"]["query"]["node"]), known)
        known[entry["key"].lower()] = subquery(inner, entry["key"], list(entry["value"]["aliases"]))
    query = query | {"cte_map": {"map": []}}
    if query["type"] == "SET_OPERATION_NODE":
        return query | {"left": inlined(query["left"], known), "right": inlined(query["right"], known)}
    if query["type"] != "SELECT_NODE":
        return query

    def put(_: int, part: Node) -> Node:
        if part["type"] == "SUBQUERY":
            inner = inlined(part["subquery"]["node"], known)
            return part | {"subquery": part["subquery"] | {"node": inner}}
        name = part["table_name"].lower() if part["type"] == "BASE_TABLE" and not part["schema_name"] else None
        if name not in known:
            return part
        found = deepcopy(known[name])
        if not part["alias"] and not part["column_name_alias"]:
            return found
        inner = all_of(found) if found["column_name_alias"] else found["subquery"]["node"]
        return subquery(inner, part["alias"] or part["table_name"], list(part["column_name_alias"]))

    return query | {"from_table": replaced(query["from_table"], put)}


def plain(expression: Node) -> Node:
    """Return an expression without the name that it is given, with columns' names in lower case."""

    def walk(value: Any) -> Any:
        if isinstance(value, list):
            return [walk(part) for part in value]
        if not isinstance(value, dict):
            return value
        node = {key: walk(part) for key, part in value.items()}
        if node.get("class") == "COLUMN_REF":
            node["column_names"] = [name.lower() for name in node["column_names"]]
        return node

    return walk(expression) | {"alias": ""}  # type: ignore[no-any-return]
