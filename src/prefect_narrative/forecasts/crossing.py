"""Parts of a query that nothing ties together: its rows are all pairs of theirs."""

from collections.abc import Collection, Mapping
from copy import deepcopy
from typing import Any

from prefect_narrative.forecasts.queries import inside
from prefect_narrative.planes.names import DatasetName
from prefect_narrative.planes.nodes import Node, constant, true


def crossed(  # noqa: PLR0912  (one branch for each form that can't be parted)
    node: Node, columns: Mapping[str, Collection[str]]
) -> list[Node]:
    """Return the parts of a SELECT without groups, as queries of their own; one or none: it can't be parted.

    A part is what is read in FROM with the conditions on it alone. Only plain and inner joins are looked at.

    Args:
        node: The query.
        columns: The columns of each dataset, in small letters.
    """
    if node["type"] != "SELECT_NODE" or node["qualify"] is not None or "unnest" in str(node["select_list"]).lower():
        return []
    sources: list[Node] = []
    conditions: list[Node] = []
    if not _flatten(node["from_table"], sources, conditions):
        return []
    _conjuncts(node["where_clause"], conditions)
    aliases = [str(one["alias"] or one.get("table_name", "")).lower() for one in sources]
    if len(sources) < 2 or len(set(aliases)) != len(aliases):
        return []
    owners: dict[str, int | None] = {}
    for number, one in enumerate(sources):
        names = columns.get(str(DatasetName(one["schema_name"], one["table_name"])), ()) if "table_name" in one else ()
        for name in names:
            owners[name] = None if name in owners else number
    derived = any("table_name" not in one for one in sources)
    group = list(range(len(sources)))
    placed: list[tuple[int, Node]] = []
    for condition in conditions:
        touched = _touched(condition, aliases, {} if derived else owners)
        if touched is None:
            return []
        if not touched:
            if condition["class"] == "CAST":
                continue  # ON true
            return []
        first = group[min(touched)]
        merged = {group[one] for one in touched}
        group = [first if one in merged else one for one in group]
        placed.append((min(touched), condition))
    parts = []
    for number in dict.fromkeys(group):
        mine = [deepcopy(source) for source, one in zip(sources, group, strict=True) if one == number]
        own = [deepcopy(condition) for place, condition in placed if group[place] == number]
        table = mine[0]
        for other in mine[1:]:
            table = {
                "type": "JOIN", "alias": "", "sample": None, "left": table, "right": other,
                "condition": true(), "join_type": "INNER", "ref_type": "REGULAR", "using_columns": [],
                "delim_flipped": False, "duplicate_eliminated_columns": [],
            }  # fmt: skip
        where = None
        if own:
            where = own[0]
            if len(own) > 1:
                where = {"class": "CONJUNCTION", "type": "CONJUNCTION_AND", "alias": "", "children": own}
        listed = [constant("INTEGER", 1)]
        parts.append(node | {"from_table": table, "where_clause": where, "modifiers": [], "select_list": listed})
    return parts


def _flatten(part: Node, sources: list[Node], conditions: list[Node]) -> bool:
    if part["type"] == "JOIN":
        if part["join_type"] != "INNER" or part["ref_type"] not in {"REGULAR", "CROSS"} or part["using_columns"]:
            return False
        if part["condition"] is not None:
            _conjuncts(part["condition"], conditions)
        return _flatten(part["left"], sources, conditions) and _flatten(part["right"], sources, conditions)
    if part["type"] not in {"BASE_TABLE", "SUBQUERY"}:
        return False
    sources.append(part)
    return True


def _conjuncts(condition: Node | None, conditions: list[Node]) -> None:
    if condition is None:
        return
    if condition["type"] == "CONJUNCTION_AND":
        for part in condition["children"]:
            _conjuncts(part, conditions)
    else:
        conditions.append(condition)


def _touched(condition: Any, aliases: list[str], owners: Mapping[str, int | None]) -> set[int] | None:
    """Return which sources a condition is about; None where that can't be told."""
    found = set()
    for one in inside(condition, subqueries=True):
        if one.get("class") == "SUBQUERY":
            return None
        if one.get("class") == "COLUMN_REF":
            names = one["column_names"]
            if len(names) > 1 and names[-2].lower() in aliases:
                found.add(aliases.index(names[-2].lower()))
                continue
            owner = owners.get(names[-1].lower()) if len(names) == 1 else None
            if owner is None:
                return None
            found.add(owner)
    return found
