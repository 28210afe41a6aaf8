"""Whether a query may run: exactly one SELECT over existing datasets, with functions that only compute."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from prefect_narrative.planes.deltas import PURPOSE, REMEDY
from prefect_narrative.planes.errors import DatasetNotFoundError, QueryRefusedError, shortened
from prefect_narrative.planes.names import MAIN_SCHEMA, DatasetName, dataset_name
from prefect_narrative.planes.nodes import Node
from prefect_narrative.planes.plane import CheckedQuery
from prefect_narrative.planes.syntax import SYSTEM_TABLES, Findings, Parser, examine, pin, unpin

MAX_QUERY_LENGTH = 100_000
"""Characters."""

FORBIDDEN = (
    exp.Alter,
    exp.Attach,
    exp.Command,
    exp.Copy,
    exp.DDL,
    exp.DML,
    exp.Detach,
    exp.Drop,
    exp.Into,
    exp.Parameter,
    exp.Placeholder,
    exp.Pragma,
    exp.Set,
    exp.Use,
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
TOO_DEEP = "The query is nested too deeply."
TOO_DEEP_REMEDY = "Split it: name its parts in WITH, or make views of them."


@dataclass(frozen=True)
class Runnable:
    """A query as it runs."""

    sql: str
    versions: Sequence[tuple[str, int]]
    """Datasets that it reads AT a snapshot that it names itself, with that snapshot."""
    uses: Mapping[str, int]
    """How often it reads each of its relations."""


class QueryCheck:
    """Checks queries, and writes them for a run. Not for several threads at once."""

    def __init__(self) -> None:
        self._parser = Parser()
        self._checked: tuple[CheckedQuery, list[tuple[str, int]]] | None = None

    def close(self) -> None:
        """Release the parser."""
        self._parser.close()

    def check(
        self, text: str, known: Collection[str], *, deltas: bool = False, relations: Collection[str] | None = None
    ) -> CheckedQuery:
        """Return a query that may run.

        Args:
            text: What somebody wrote.
            known: The names of the datasets that exist.
            deltas: Whether it may read what has changed since a refresh: `DELTA(TABLE x)`.
            relations: Names that a query of ours may read as well, each with an underscore first, as no dataset has;
                None: it is a user's query.

        Raises:
            QueryRefusedError: with what was seen, the rule and what to do.
            DatasetNotFoundError: it reads a dataset that does not exist.
        """
        _short_enough(text)
        tree, findings = self._examined(text, relations or ())
        sources = {str(name) for name, _ in findings.tables}
        _refuse_shadowing(findings, known)
        if findings.deltas and not deltas:
            raise QueryRefusedError(PURPOSE, remedy=REMEDY)
        for name in sorted(sources):
            if name not in known:
                if name.startswith(SYSTEM_TABLES):
                    raise QueryRefusedError(
                        f"{name!r} is a table of the engine's catalog: a query reads datasets only."
                    )
                raise DatasetNotFoundError.named(name, known)
        sql = text
        if relations is None:  # one of ours is written anew when it runs, and nobody looks into its lineage
            sql = self._written(tree)
            _agree(sql, sources)
        checked = CheckedQuery(
            text=text,
            sql=sql,
            sources=tuple(sorted(sources)),
            volatile=tuple(sorted(findings.volatile)),
            random=tuple(sorted(findings.random)),
            deltas=tuple(sorted({str(name) for name, _ in findings.deltas})),
            relations=tuple(sorted(findings.relations)),
        )
        self._checked = (checked, sorted(findings.versions))
        return checked

    def versions(self, query: CheckedQuery) -> list[tuple[str, int]]:
        """Return the datasets that the query reads AT a snapshot that it names itself, with that snapshot."""
        if self._checked is not None and self._checked[0] is query:
            return self._checked[1]
        return sorted(self._examined(query.sql, query.relations)[1].versions)

    def pinned(
        self,
        query: CheckedQuery,
        at: int,
        catalog: str,
        changes: Mapping[str, str | None] | None = None,
        pins: Mapping[str, int] | None = None,
    ) -> str:
        """Return the SQL that runs, see `runnable`."""
        return self.runnable(query, at, catalog, changes, pins).sql

    def runnable(
        self,
        query: CheckedQuery,
        at: int,
        catalog: str,
        changes: Mapping[str, str | None] | None = None,
        pins: Mapping[str, int] | None = None,
    ) -> Runnable:
        """Return the SQL that runs: the query checked once more, every dataset in it as of one snapshot.

        Args:
            query: A checked query. Its SQL is not trusted: only what passes again is written.
            at: The snapshot; AT in the query itself goes before it.
            catalog: The name under which the lake is attached.
            changes: For each dataset that DELTA names a query of ours for what has changed; None: all its rows.
            pins: Datasets that are read at snapshots of their own.

        Raises:
            QueryRefusedError: DELTA names a dataset that is not among them.
        """
        tree, findings = self._examined(query.sql, query.relations)
        if {str(name) for name, _ in findings.tables} != set(query.sources):
            raise QueryRefusedError("The checked query's SQL reads other datasets than its sources.")
        given = changes or {}
        if not {str(name) for name, _ in findings.deltas} <= set(given):
            raise QueryRefusedError(PURPOSE, remedy=REMEDY)
        trees = {name: None if rows is None else self._parser.tree(rows) for name, rows in given.items()}
        versions = sorted(findings.versions)
        pin(findings, at, catalog, trees, pins or {})
        return Runnable(self._written(tree), versions, dict(findings.relations))

    def unpinned(
        self, query: CheckedQuery, catalog: str
    ) -> tuple[str, dict[DatasetName, tuple[DatasetName, int | None]]]:
        """Return the query over plain tables, and for each of these the dataset and the snapshot that it stands for.

        Args:
            query: A checked query. Its SQL is not trusted: only what passes again is written.
            catalog: The name under which the tables' catalog is attached.
        """
        tree, findings = self._examined(query.sql)
        tables = unpin(findings, catalog)
        return self._written(tree), tables

    def _examined(self, text: str, relations: Collection[str] = ()) -> tuple[Node, Findings]:
        _readable(text)
        try:
            tree = self._parser.tree(text)
            return tree, examine(tree, self._parser.expression, relations)
        except RecursionError:
            raise QueryRefusedError(TOO_DEEP, remedy=TOO_DEEP_REMEDY) from None

    def _written(self, tree: Node) -> str:
        try:
            return self._parser.sql(tree)
        except RecursionError:
            raise QueryRefusedError(TOO_DEEP, remedy=TOO_DEEP_REMEDY) from None


def _short_enough(text: str) -> None:
    """Raise for a text that is too long; what is written from its tree may be longer."""
    if isinstance(text, str) and len(text) > MAX_QUERY_LENGTH:
        raise QueryRefusedError(f"The query has {len(text)} characters: at most {MAX_QUERY_LENGTH} are read.")


def _readable(text: str) -> None:
    if not isinstance(text, str) or not text.strip():
        raise QueryRefusedError("The query is empty.")
    if "\0" in text:
        raise QueryRefusedError("The query has a NUL character.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise QueryRefusedError("The query is not valid Unicode.") from error


def _refuse_shadowing(findings: Findings, known: Collection[str]) -> None:
    for name in sorted(findings.cte_names):
        if name in known:
            raise QueryRefusedError(
                f"WITH names a subquery {name!r}, as a dataset is called: nobody could tell which of them is read.",
                remedy="Give the subquery another name.",
            )


def _agree(sql: str, sources: set[str]) -> None:
    """Raise unless sqlglot sees one query over the same datasets: lineage and transpiling rest on its reading."""
    try:
        statements = sqlglot.parse(sql, read="duckdb")
        statement = statements[0]
        if len(statements) != 1 or not isinstance(statement, exp.Query):
            raise QueryRefusedError("The query is not exactly one SELECT.")
        forbidden = statement.find(*FORBIDDEN)
        if forbidden is not None:
            raise QueryRefusedError(f"The query has a {forbidden.key.upper()}: exactly one SELECT may be run.")
        named = {cte.alias.lower() for cte in statement.find_all(exp.CTE)}
        seen = set()
        for table in statement.find_all(exp.Table):
            if isinstance(table.this, exp.Identifier):
                schema, name = table.db.lower() or MAIN_SCHEMA, table.name.lower()
                if table.db or name not in named:
                    seen.add(str(dataset_name(f"{schema}.{name}")))
    except RecursionError:
        raise QueryRefusedError(TOO_DEEP, remedy=TOO_DEEP_REMEDY) from None
    except (SqlglotError, ValueError) as error:
        if isinstance(error, QueryRefusedError):
            raise
        plain = _COLOUR.sub("", str(error))
        raise QueryRefusedError(f"The query can't be analysed: {shortened(plain, 200)}") from error
    if seen != sources:
        raise QueryRefusedError(
            f"The query can be read in two ways: over {', '.join(sorted(sources)) or 'no dataset'}, or over "
            f"{', '.join(sorted(seen)) or 'no dataset'}.",
            remedy="Write it more plainly.",
        )
