"""`DELTA(TABLE x)`, in the place of a dataset: the rows of x that came or changed since a view's last refresh.

It is the platform's form, and none of the engine's: DuckDB takes TABLE x as an argument in parentheses only. So these
are put around it where the engine's own lexer sees the form; in every text that DuckDB reads without them it is not
there, since TABLE is a reserved word. From there on the query's tree is checked and written as any other.
"""

import re

from prefect_narrative.planes.errors import QueryRefusedError
from prefect_narrative.planes.names import DatasetName
from prefect_narrative.planes.nodes import ALL_ROWS, Node

FUNCTION = "delta"
FORM = "DELTA takes one dataset, in FROM and as it is: DELTA(TABLE orders)."
PURPOSE = (
    "DELTA(TABLE x) yields what has changed in x since the last refresh of the view whose query it stands in: "
    "it is for views with write_mode=append."
)
REMEDY = "Read the dataset itself, or make a view with write_mode=append."

_WORD = re.compile(rb"[A-Za-z0-9_$\x80-\xff]+|.", re.DOTALL)
_LONGEST_NAME = 3
"""Tokens of a dataset's name: schema, dot, table."""


def parenthesised(text: str) -> str:
    """Return a query with each `DELTA(TABLE x)` as `DELTA((TABLE x))`, which the engine can read."""
    if FUNCTION not in text.lower():
        return text
    import duckdb  # noqa: PLC0415  (the engine is loaded by those who open a plane only)

    written = text.encode()
    starts = [int(start) for start, _ in duckdb.tokenize(text)]  # bytes; up to where the text can't be read
    words = [found[0].lower() for start in starts if (found := _WORD.match(written, start))]
    marks: dict[int, bytes] = {}
    for first in range(len(words) - 4):
        if words[first : first + 3] == [FUNCTION.encode(), b"(", b"table"]:
            name = first + 3
            for end in range(name + 1, min(name + _LONGEST_NAME, len(words) - 1) + 1):
                if words[end] == b")":
                    marks |= {starts[first + 2]: b"(", starts[end]: b")"}
                    break
    for start in sorted(marks, reverse=True):
        written = written[:start] + marks[start] + written[start:]
    return written.decode()


def table_in(node: Node) -> Node:
    """Return the reference to a dataset in a call of DELTA in FROM.

    Args:
        node: A table function's node.

    Raises:
        QueryRefusedError: the call is of another form.
    """
    call = node["function"]
    argument: Node = call["children"][0] if len(call["children"]) == 1 else {"class": None}
    plain = (call["schema"], call["catalog"], call["filter"], call["order_bys"]["orders"], call["distinct"])
    if plain != ("", "", None, [], False) or argument["class"] != "SUBQUERY" or argument["alias"]:
        raise QueryRefusedError(FORM, remedy=PURPOSE)
    rows = argument["subquery"]["node"]
    table: Node = rows.get("from_table") or {}
    if argument["subquery_type"] != "SCALAR" or {**rows, "from_table": None} != ALL_ROWS:
        raise QueryRefusedError(FORM, remedy=PURPOSE)
    if table["type"] != "BASE_TABLE" or table["alias"] or table["column_name_alias"] or table["sample"] is not None:
        raise QueryRefusedError(FORM, remedy=PURPOSE)
    if table["at_clause"] is not None or node["with_ordinality"] != "WITHOUT_ORDINALITY":
        raise QueryRefusedError(FORM, remedy="Leave AT and ORDINALITY out: it reads what the refresh reads.")
    return table


def read_instead(node: Node, name: DatasetName, rows: Node | None) -> None:
    """Let a subquery stand, in place, where DELTA is called; it goes by the dataset's name where it has no alias.

    Args:
        node: The call.
        name: Its dataset.
        rows: A query's tree for what has changed; None: all rows of the dataset.
    """
    replaced = {
        "type": "SUBQUERY",
        "alias": node["alias"] or name.table,
        "sample": node["sample"],
        "subquery": rows or node["function"]["children"][0]["subquery"],
        "column_name_alias": node["column_name_alias"],
    }
    node.clear()
    node |= replaced
