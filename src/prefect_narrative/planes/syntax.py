"""DuckDB's own syntax tree of a query: read, checked node by node against an allow-list, and written as SQL again.

The tree that is checked and the tree that runs come from the engine's own parser, so no second parser's reading of the
text can differ from what runs. SQL that is written from a tree is read again and must give the same tree.
"""

# ruff: noqa: SIM905  (names by the hundred read better without quotes)

import json
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prefect_narrative.planes import deltas, functions
from prefect_narrative.planes.errors import InvalidNameError, QueryRefusedError, nearest, shortened
from prefect_narrative.planes.names import INTERNAL_SCHEMA, MAIN_SCHEMA, DatasetName, dataset_name
from prefect_narrative.planes.nodes import ALL_ROWS, NOTHING, Node, cast, constant, true

if TYPE_CHECKING:
    import duckdb

QUERY_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE"})
TABLE_REFERENCES = frozenset({"BASE_TABLE", "SUBQUERY", "JOIN", "TABLE_FUNCTION", "EXPRESSION_LIST", "EMPTY", "PIVOT"})
MODIFIERS = frozenset({"ORDER_MODIFIER", "LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER", "DISTINCT_MODIFIER"})
ORDERS = frozenset({"ORDER_DEFAULT", "ASCENDING", "DESCENDING"})
NODES = QUERY_NODES | TABLE_REFERENCES | MODIFIERS | ORDERS
EXPRESSIONS = frozenset(
    """
    BETWEEN CASE CAST COLLATE COLUMN_REF COMPARISON CONJUNCTION CONSTANT FUNCTION LAMBDA OPERATOR POSITIONAL_REFERENCE
    STAR SUBQUERY WINDOW
    """.split()
)
NAMED_BY_THEMSELVES = frozenset({"COLUMN_REF", "POSITIONAL_REFERENCE", "STAR"})
REFUSED_NODES = {
    "SHOW_REF": "DESCRIBE, SHOW and SUMMARIZE are no queries over datasets",
    "PARAMETER": "parameters have no values here: write the value itself",
    "DEFAULT": "DEFAULT has no meaning in a query",
}
WHOLE_NUMBERS = frozenset({"INTEGER", "BIGINT"})
SYSTEM_TABLES = ("sqlite_", "duckdb_", "pg_", "pragma_", "__ducklake")

_UNORDERED = ("exclude_list", "qualified_exclude_list", "replace_list", "rename_list")
_CTE_NAME = re.compile(r"[a-z_][a-z0-9_]*", re.ASCII)
_FILE_NAME = re.compile(r"[./\\:*?]")


@dataclass
class Findings:
    """What a query was seen to use."""

    tables: list[tuple[DatasetName, Node]] = field(default_factory=list)
    """Each reference to a dataset, with its node in the tree."""
    deltas: list[tuple[DatasetName, Node]] = field(default_factory=list)
    """Each DELTA of a dataset, with its node in the tree."""
    versions: set[tuple[str, int]] = field(default_factory=set)
    """Datasets that the query reads AT a snapshot, with that snapshot."""
    volatile: set[str] = field(default_factory=set)
    random: set[str] = field(default_factory=set)
    cte_names: set[str] = field(default_factory=set)
    relations: Counter[str] = field(default_factory=Counter)
    """Names of ours that stand for other rows, with how often they are read."""


_engines: dict[int, "duckdb.DuckDBPyConnection"] = {}
_opening = threading.Lock()


def _parsing() -> "duckdb.DuckDBPyConnection":
    """Return a new connection to this process's engine for parsing: to make one takes 15 ms, to connect nothing.

    It has nothing attached and may not reach anything, and nothing that is done there leaves anything behind.
    """
    import duckdb  # noqa: PLC0415  (the engine is loaded by those who open a plane only)

    with _opening:
        process = os.getpid()  # a forked one must not use its parent's
        if process not in _engines:
            _engines[process] = duckdb.connect(
                ":memory:",
                config={
                    "autoinstall_known_extensions": "false",
                    "autoload_known_extensions": "false",
                    "enable_external_access": "false",
                    "lock_configuration": "true",
                    "threads": "1",
                },
            )
        return _engines[process].cursor()


class Parser:
    """DuckDB's parser. Not for several threads at once."""

    def __init__(self) -> None:
        self._connection = _parsing()

    def close(self) -> None:
        """Release the connection."""
        self._connection.close()

    def tree(self, text: str) -> Node:
        """Return the syntax tree of a text that is exactly one SELECT.

        Raises:
            QueryRefusedError: it is something else.
        """
        answer = self._ask("SELECT json_serialize_sql(?)", deltas.parenthesised(text))
        found = json.loads(answer, parse_constant=_refuse_number, object_hook=_as_read)
        if found["error"]:
            raise QueryRefusedError(_syntax_message(text, found))
        if len(found["statements"]) != 1:
            count = len(found["statements"])
            raise QueryRefusedError(f"The query has {count} statements: exactly one SELECT may be run.")
        statement: Node = found["statements"][0]
        if statement["named_param_map"]:
            raise QueryRefusedError(f"The query has a parameter: {REFUSED_NODES['PARAMETER']}.")
        return statement

    def sql(self, tree: Node) -> str:
        """Return a tree as SQL that DuckDB reads as the same tree.

        Raises:
            QueryRefusedError: DuckDB can't write it without changing it.
        """
        written = self._ask("SELECT json_deserialize_sql(?::JSON)", json.dumps({"error": False, "statements": [tree]}))
        read = self.tree(written)
        if read != tree and read != _canonical(tree):
            raise QueryRefusedError(
                "The query can't be written anew without changing its meaning.",
                remedy="Write it more plainly: one join after the other, subqueries in WITH.",
            )
        return written

    def expression(self, node: Node) -> str:
        """Return an expression as SQL: the name that DuckDB gives to a column that has none."""
        statement = {"node": ALL_ROWS | {"select_list": [node], "from_table": NOTHING}, "named_param_map": []}
        written = self._ask(
            "SELECT json_deserialize_sql(?::JSON)", json.dumps({"error": False, "statements": [statement]})
        )
        return written.removeprefix("SELECT ")

    def _ask(self, statement: str, text: str) -> str:
        import duckdb  # noqa: PLC0415

        try:
            row = self._connection.execute(statement, [text]).fetchone()
        except duckdb.Error as error:
            raise QueryRefusedError(f"The query can't be read: {shortened(str(error), 200)}") from error
        if row is None or not isinstance(row[0], str):
            raise QueryRefusedError("The query can't be read.")
        return row[0]


def examine(tree: Node, expression: Callable[[Node], str], relations: Collection[str] = ()) -> Findings:
    """Check every node of a query's tree; prepare the tree, in place, for being written as SQL.

    Args:
        tree: What the parser read.
        expression: Writes an expression as SQL.
        relations: Names of ours that it may read, too; with an underscore first, as no dataset's name has.

    Raises:
        QueryRefusedError: a node is none of those allowed.
    """
    findings = Findings()
    _Examiner(findings, expression, relations).query(tree["node"], frozenset())
    for name, _ in findings.tables:
        if name.schema == MAIN_SCHEMA and name.table in findings.cte_names:
            raise QueryRefusedError(f"The query reads {name.table!r} outside of the WITH that names it.")
    return findings


def pin(findings: Findings, at: int, catalog: str, changes: Mapping[str, Node | None], pins: Mapping[str, int]) -> None:
    """Let every reference to a dataset read snapshot `at`, in place, where the query names no snapshot itself.

    Args:
        findings: What the query was seen to use.
        at: The snapshot.
        catalog: The name under which the lake is attached.
        changes: For each dataset that DELTA names the tree of a query for what has changed; None: all its rows.
        pins: Datasets that are read at snapshots of their own.
    """
    for name, node in findings.tables:
        node["catalog_name"] = catalog
        if node["at_clause"] is None:
            version = pins.get(str(name), at)
            kind = "BIGINT" if version >= 2**31 else "INTEGER"
            node["at_clause"] = {"unit": "VERSION", "expr": constant(kind, version)}
    for name, node in findings.deltas:
        deltas.read_instead(node, name, changes[str(name)])


def unpin(findings: Findings, catalog: str) -> dict[DatasetName, tuple[DatasetName, int | None]]:
    """Let every reference to a dataset name a plain table, in place; one AT a snapshot gets a table of its own.

    Returns:
        For each table the dataset that it stands for, and the snapshot; None where the query names none.
    """
    tables: dict[DatasetName, tuple[DatasetName, int | None]] = {}
    for name, node in findings.tables:
        node["catalog_name"] = catalog
        clause, node["at_clause"] = node["at_clause"], None
        if clause is None:
            tables[name] = (name, None)
            continue
        version = int(clause["expr"]["value"]["value"])
        node["alias"] = node["alias"] or node["table_name"]
        node["table_name"] = f"{name.table}@{version}"
        tables[DatasetName(name.schema, node["table_name"])] = (name, version)
    for name, node in findings.deltas:
        deltas.read_instead(node, name, None)
    return tables


class _Examiner:
    """Walks a tree. `scope` holds the names that WITH has given to subqueries, in lower case."""

    def __init__(self, findings: Findings, expression: Callable[[Node], str], relations: Collection[str]) -> None:
        if not all(name.startswith("_") for name in relations):
            raise ValueError(f"a relation's name starts with an underscore: {sorted(relations)}")
        self.findings = findings
        self.relations = frozenset(relations)
        self.expression = expression
        self.by_class: Mapping[str, Callable[[Node, frozenset[str]], None]] = {
            "FUNCTION": self.function,
            "WINDOW": self.function,
            "COLUMN_REF": self.column,
            "CONSTANT": self.constant,
        }

    def any(self, value: Any, scope: frozenset[str]) -> None:
        if isinstance(value, list):
            for item in value:
                self.any(item, scope)
        elif isinstance(value, dict):
            self.node(value, scope)

    def children(self, node: Node, scope: frozenset[str], *, but: tuple[str, ...] = ()) -> None:
        for key, value in list(node.items()):
            if key not in but:
                self.any(value, scope)

    def node(self, node: Node, scope: frozenset[str]) -> None:
        kind = node.get("class", node.get("type"))
        if "class" in node:
            if kind not in EXPRESSIONS:
                raise _refused_node(str(kind))
            handle = self.by_class.get(str(kind))
            if handle is not None:
                handle(node, scope)
            else:
                self.children(node, scope)
        elif "type_info" in node:
            self.logical_type(node)
        elif not isinstance(kind, str):
            self.children(node, scope)
        elif kind in QUERY_NODES:
            self.query(node, scope)
        elif kind == "BASE_TABLE":
            self.table(node, scope)
        elif kind == "TABLE_FUNCTION":
            self.table_function(node, scope)
        elif kind in NODES:
            if kind == "JOIN" and node["ref_type"] == "CROSS":
                # Written with a comma, which binds less than JOIN: the joins after it would change their meaning.
                node |= {"ref_type": "REGULAR", "join_type": "INNER", "condition": true()}
            self.sample(node)
            self.children(node, scope)
        else:
            raise _refused_node(kind)

    def query(self, node: Node, scope: frozenset[str]) -> None:
        kind = node["type"]
        if kind not in QUERY_NODES:
            raise _refused_node(kind)
        self.sample(node)
        for item in node.get("select_list", ()):
            if not item["alias"] and item["class"] not in NAMED_BY_THEMSELVES and not _expands(item):
                # Its name is its text, which pinning to a snapshot would change from run to run.
                item["alias"] = self.expression(item)
        for entry in node["cte_map"]["map"]:
            name = entry["key"].lower()
            if not _CTE_NAME.fullmatch(name):
                raise QueryRefusedError(
                    f"WITH names a subquery {shortened(ascii(entry['key']), 80)}: such a name is letters, digits and "
                    "underscores, first no digit."
                )
            self.findings.cte_names.add(name)
            self.any(entry["value"], scope)
            scope |= {name}
        if kind == "RECURSIVE_CTE_NODE":
            self.any(node["left"], scope)
            self.any(node["right"], scope | {node["cte_name"].lower()})
            self.children(node, scope, but=("cte_map", "left", "right"))
        else:
            self.children(node, scope, but=("cte_map",))

    def table(self, node: Node, scope: frozenset[str]) -> None:
        parts = [part for part in (node["catalog_name"], node["schema_name"], node["table_name"]) if part]
        shown = shortened(ascii(".".join(parts)), 80)
        self.sample(node)
        self.children(node, scope, but=("at_clause",))
        if len(parts) == 1 and parts[0].lower() in scope:
            if node["at_clause"] is not None:
                raise QueryRefusedError(f"{shown} is a subquery's name: AT is for datasets.")
            return
        if len(parts) == 1 and parts[0] in self.relations and node["at_clause"] is None:
            self.findings.relations[parts[0]] += 1
            return
        if len(parts) == 3:
            raise QueryRefusedError(f"{shown} has three parts: a dataset is `name` or `schema.name`.")
        if parts[0].lower() == INTERNAL_SCHEMA:
            raise QueryRefusedError(f"{shown} is one of our own tables: a query reads datasets only.")
        if any(_FILE_NAME.search(part) for part in parts):
            raise QueryRefusedError(
                f"{shown} is no dataset's name: a query reads no files.",
                remedy="Import the file with create-dataset and read the dataset.",
            )
        written = ".".join(parts)
        try:
            # The engine does not tell upper from lower case; beyond ASCII nothing is a dataset's name anyway.
            name = dataset_name(written.lower() if written.isascii() else written)
        except InvalidNameError as error:
            raise QueryRefusedError(f"The query reads {shown}. {error}") from error
        node |= {"catalog_name": "", "schema_name": name.schema, "table_name": name.table}
        self.version(node, name, shown)
        self.findings.tables.append((name, node))

    def version(self, node: Node, name: DatasetName, shown: str) -> None:
        clause = node["at_clause"]
        if clause is None:
            return
        expression = clause["expr"]
        written: Node = expression["value"] if expression["class"] == "CONSTANT" else {"type": {"id": None}}
        value = written["value"] if written["type"]["id"] in WHOLE_NUMBERS else None  # a DECIMAL 4.0 is written 40
        if clause["unit"].upper() != "VERSION" or type(value) is not int or value < 0:
            raise QueryRefusedError(f"{shown} is read AT something else than a snapshot's id: AT (VERSION => 3).")
        self.findings.versions.add((str(name), value))

    def table_function(self, node: Node, scope: frozenset[str]) -> None:
        call = node["function"]
        name = call.get("function_name", "").lower()
        if call.get("class") == "FUNCTION" and name == deltas.FUNCTION:
            self.delta(node, scope)
            return
        if call.get("class") != "FUNCTION" or name not in functions.TABLE_FUNCTIONS or call["schema"]:
            allowed = ", ".join(sorted(functions.TABLE_FUNCTIONS))
            raise QueryRefusedError(f"FROM calls {shortened(name, 80)}(): only {allowed} may stand there.")
        self.sample(node)
        self.children(node, scope)

    def delta(self, node: Node, scope: frozenset[str]) -> None:
        table = deltas.table_in(node)
        if not table["schema_name"] and table["table_name"].lower() in scope:
            raise QueryRefusedError(
                f"DELTA(TABLE {shortened(table['table_name'], 80)}) names a subquery: it is for datasets."
            )
        self.sample(node)
        self.table(table, scope)
        self.findings.deltas.append((self.findings.tables[-1][0], node))

    def function(self, node: Node, scope: frozenset[str]) -> None:
        name = node["function_name"].lower()
        if name == deltas.FUNCTION:
            raise QueryRefusedError(deltas.FORM, remedy=deltas.PURPOSE)
        if name not in functions.ALLOWED:
            raise QueryRefusedError(
                f"The function {shortened(name, 80)}() is not among those that a query may use."
                f"{nearest(name, functions.ALLOWED)}"
            )
        # A call by a column's method, x.age(), has its argument in the place of the schema.
        arguments = len(node["children"]) + (node["schema"] not in {"", "main"})
        if name in functions.VOLATILE or (name == "age" and arguments == 1):
            self.findings.volatile.add(name)
        if name in functions.RANDOM:
            self.findings.random.add(name)
        self.named_aggregate(name, node)
        self.children(node, scope)

    def named_aggregate(self, name: str, node: Node) -> None:
        """Check the aggregate that functions such as list_aggregate take by its name."""
        if name not in {"list_aggr", "list_aggregate", "array_aggr", "array_aggregate", "aggregate"}:
            return
        position = 0 if node["schema"] not in {"", "main"} else 1
        arguments = node["children"]
        chosen = arguments[position] if len(arguments) > position else {}
        value = chosen.get("value", {}).get("value") if chosen.get("class") == "CONSTANT" else None
        if not isinstance(value, str) or value.lower() not in functions.AGGREGATES | functions.RANDOM:
            raise QueryRefusedError(f"{name}() takes an aggregate's name as a text that stands in the query.")
        if value.lower() in functions.RANDOM:
            self.findings.random.add(value.lower())

    def column(self, node: Node, _: frozenset[str]) -> None:
        names = node["column_names"]
        if len(names) == 1 and names[0].lower() in functions.VOLATILE_WORDS:
            self.findings.volatile.add(names[0].lower())

    def constant(self, node: Node, _: frozenset[str]) -> None:
        value = node["value"]
        self.logical_type(value["type"])
        kind = value["type"]["id"]
        alias = node["alias"]
        if value["is_null"]:
            return
        if kind == "BOOLEAN":
            replacement = true() if value["value"] else cast(constant("VARCHAR", "f"), "BOOLEAN")
        elif kind in {"DOUBLE", "FLOAT"}:
            # Written as 100000.0, which would be read as a DECIMAL.
            replacement = cast(constant("VARCHAR", repr(value["value"])), kind)
        else:
            return
        node.clear()
        node |= replacement | {"alias": alias}

    def logical_type(self, node: Node) -> None:
        information = node.get("type_info") or {}
        if information.get("catalog") or information.get("schema"):
            raise QueryRefusedError("A CAST names a type in a schema: only DuckDB's own types may be used.")
        for value in information.values():
            self.any(value, frozenset())

    def sample(self, node: Node) -> None:
        if node.get("sample") is not None:
            self.findings.random.add("tablesample")


def _refuse_number(_: str) -> None:
    raise QueryRefusedError("The query has a number that is too big for a DOUBLE.")


def _refused_node(kind: str) -> QueryRefusedError:
    reason = REFUSED_NODES.get(kind, "it is not among the parts of a SELECT that may be used")
    return QueryRefusedError(f"The query has a {kind.lower().replace('_', ' ')}: {reason}.")


def _syntax_message(text: str, found: Mapping[str, Any]) -> str:
    message = shortened(str(found.get("error_message", "")), 300)
    if "Only SELECT" in message:
        word = re.match(r"\s*([A-Za-z]+)", text)
        what = f"a {word[1].upper()} statement" if word else "no SELECT"
        return f"The query is {what}: exactly one SELECT may be run."
    where = f" (at character {found['position']})" if "position" in found else ""
    return f"The query can't be read{where}: {message}."


def _expands(value: Any) -> bool:
    """Return whether an expression may stand for several columns, so that one name for it would change them."""
    if isinstance(value, list):
        return any(_expands(item) for item in value)
    if not isinstance(value, dict) or value.get("class") == "SUBQUERY":
        return False
    if value.get("class") == "STAR" or str(value.get("function_name")).lower() == "unnest":
        return True
    return any(_expands(item) for item in value.values())


def _as_read(node: Node) -> Node:
    """Return a node, whose parts were given already, in the form in which trees are compared."""
    node.pop("query_location", None)
    return _in_one_form(node)


def _in_one_form(node: Node) -> Node:
    """Return a node in one of the forms that mean the same.

    DuckDB writes VALUES as a subquery over nothing but the rows, and what * leaves out or replaces in any order.
    """
    if node.get("class") == "STAR":
        for part in _UNORDERED:
            node[part] = sorted(node[part], key=repr)
    if node.get("type") == "SUBQUERY" and node["alias"] == "valueslist" and not node["column_name_alias"]:
        inner = node["subquery"]["node"]
        rows = inner.get("from_table", {})
        if rows.get("type") == "EXPRESSION_LIST" and {**inner, "from_table": None} == ALL_ROWS:
            return rows | {"sample": node["sample"]} if rows["sample"] is None else node
    return node


def _canonical(value: Any) -> Any:
    """Return a tree that was made here in the form in which trees are compared."""
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    if not isinstance(value, dict):
        return value
    return _in_one_form({key: _canonical(item) for key, item in value.items()})
