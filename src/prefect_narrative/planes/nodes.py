"""Nodes of DuckDB's syntax tree that are made here and not read from a text."""

from typing import Any

Node = dict[str, Any]

ALL_ROWS: Node = {
    "type": "SELECT_NODE",
    "modifiers": [],
    "cte_map": {"map": []},
    "select_list": [
        {
            "class": "STAR",
            "type": "STAR",
            "alias": "",
            "relation_name": "",
            "exclude_list": [],
            "replace_list": [],
            "columns": False,
            "expr": None,
            "qualified_exclude_list": [],
            "rename_list": [],
        }
    ],
    "from_table": None,
    "where_clause": None,
    "group_expressions": [],
    "group_sets": [],
    "aggregate_handling": "STANDARD_HANDLING",
    "having": None,
    "sample": None,
    "qualify": None,
}
"""SELECT * FROM ..., and nothing else."""

NOTHING: Node = {"type": "EMPTY", "alias": "", "sample": None}
"""What a SELECT without FROM reads."""


def constant(kind: str, value: Any) -> Node:
    """Return a value that stands in the query."""
    return {
        "class": "CONSTANT",
        "type": "VALUE_CONSTANT",
        "alias": "",
        "value": {"type": {"id": kind, "type_info": None}, "is_null": False, "value": value},
    }


def cast(child: Node, kind: str) -> Node:
    """Return CAST(child AS kind)."""
    return {
        "class": "CAST",
        "type": "OPERATOR_CAST",
        "alias": "",
        "child": child,
        "cast_type": {"id": kind, "type_info": None},
        "try_cast": False,
    }


def true() -> Node:
    """Return a value that is true: the engine writes TRUE in a way that it reads as something else."""
    return cast(constant("VARCHAR", "t"), "BOOLEAN")
