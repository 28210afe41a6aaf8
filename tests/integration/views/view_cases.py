"""Random datasets, views and changes, for comparing refreshes by what has changed with queries run anew."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hypothesis import strategies as st

TYPES = {
    "BIGINT": ("0", "1", "-7", "9000000000", "4611686018427387904"),
    "INTEGER": ("0", "1", "2", "-3", "2147483647"),
    "SMALLINT": ("0", "1", "-5", "32767"),
    "TINYINT": ("1", "-1", "100"),
    "UINTEGER": ("0", "3", "4294967295"),
    "DECIMAL(4,1)": ("0.0", "1.5", "-99.9"),
    "DECIMAL(10,2)": ("0.01", "-2.50", "12345678.91"),
    "DECIMAL(18,4)": ("0.3333", "-7.0001", "99999999999999.9999"),
    "DECIMAL(30,3)": ("1.001", "-123456789012345678901234.567"),
    "DOUBLE": ("0.0", "-0.0", "1.5", "'nan'", "'infinity'"),
    "BOOLEAN": ("true", "false"),
    "VARCHAR": ("''", "'a'", "'A'", "'it''s'"),
    "DATE": ("'2024-01-31'", "'1970-01-01'"),
    "TIMESTAMP": ("'2024-01-31 12:00:00.000001'", "'1969-12-31 23:59:59'"),
    "TIMESTAMP WITH TIME ZONE": ("'2024-01-31 12:00:00+00'", "'2024-01-31 14:00:00+02'"),
    "UUID": ("'00000000-0000-0000-0000-000000000001'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"),
}
"""Types of columns, with values that are alike, long, negative, or equal though written in other words."""
WHOLE = ("BIGINT", "INTEGER", "SMALLINT", "TINYINT", "UINTEGER")
LETTERS = "pqrstu"
"""What the columns of views are called by, so that those of two views are not called the same."""
KEYS = ("NULL", "0", "1", "2", "3")
GROUPS = ("NULL", "'x'", "'y'", "'z'")

Columns = Mapping[str, str]
"""Names of columns with their types."""


@dataclass(frozen=True)
class Table:
    """A dataset: a key and a group, by which rows match, and further columns."""

    name: str
    types: tuple[str, ...]

    @property
    def columns(self) -> Columns:
        """Its columns."""
        return {"k": "INTEGER", "g": "VARCHAR"} | {f"v{number}": kind for number, kind in enumerate(self.types)}


@dataclass(frozen=True)
class View:
    """A view, the form of its query, and its columns as far as their types are known beforehand."""

    name: str
    form: str
    query: str
    columns: Columns = field(hash=False)


@dataclass(frozen=True)
class World:
    """Datasets with their first rows, and views over them."""

    tables: tuple[Table, ...]
    rows: tuple[tuple[str, ...], ...]
    views: tuple[View, ...]


@dataclass(frozen=True)
class Change:
    """Something that happens to a dataset, and which views are refreshed after it."""

    table: int
    kind: str
    rows: tuple[str, ...]
    where: str
    refreshed: frozenset[int]


def values(kind: str) -> st.SearchStrategy[str]:
    """Values of a type, as SQL."""
    return st.sampled_from(("NULL", *(f"CAST({value} AS {kind})" for value in TYPES[kind])))


@st.composite
def rows(draw: st.DrawFn, table: Table, most: int = 8) -> tuple[str, ...]:
    """Rows of a table, as SQL; some of them twice."""
    one = st.tuples(st.sampled_from(KEYS), st.sampled_from(GROUPS), *(values(kind) for kind in table.types))
    found = draw(st.lists(one, max_size=most))
    return tuple(f"({', '.join(row)})" for row in found for _ in range(draw(st.sampled_from((1, 1, 2)))))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A few tables, and views over them and over each other."""
    names = ("orders", "items", "sales.rates")
    tables = tuple(
        Table(name, tuple(draw(st.lists(st.sampled_from(sorted(TYPES)), min_size=1, max_size=3))))
        for name in names[: draw(st.integers(1, 3))]
    )
    views: list[View] = []
    for number in range(draw(st.integers(3, 6))):
        sources = {table.name: table.columns for table in tables}
        sources |= {view.name: view.columns for view in views if view.columns}
        form = draw(st.sampled_from(sorted(FORMS)))
        query, columns = draw(FORMS[form](sources, LETTERS[number]))
        views.append(View(f"view_{number}", form, query, columns))
    return World(tables, tuple(draw(rows(table)) for table in tables), tuple(views))


@st.composite
def changes(draw: st.DrawFn, world: World) -> Change:
    """A change of one of a world's datasets."""
    table = draw(st.integers(0, len(world.tables) - 1))
    kind = draw(st.sampled_from(KINDS))
    where = draw(st.sampled_from(("k = 1", "g = 'x'", "k IS NULL", "k > 1 AND g IS NOT NULL", "true")))
    refreshed = draw(st.sets(st.integers(0, len(world.views) - 1)))
    return Change(table, kind, draw(rows(world.tables[table])), where, frozenset(refreshed))


KINDS = (
    *("insert", "load", "delete", "update") * 4,
    *("update key", "insert and delete", "compact", "flush") * 2,
    *("nothing", "replace", "rewrite", "add column", "rename back and forth", "widen", "expire", "tamper"),
)
"""What happens to datasets, the usual more often than the rare."""


@st.composite
def _read(draw: st.DrawFn, sources: Mapping[str, Columns]) -> tuple[str, Columns]:
    """What stands after FROM, and the columns that can be named."""
    form = draw(st.sampled_from(("one", "one", "pair", "pair", "three", "same", "union", "subquery", "unnest")))
    first, second, third = (draw(st.sampled_from(sorted(sources))) for _ in range(3))
    if form == "same":
        second = first
    a, b, c = _prefixed("a", sources[first]), _prefixed("b", sources[second]), _prefixed("c", sources[third])
    if form in {"pair", "same"}:
        joined = draw(st.sampled_from(("JOIN {} ON {}", "JOIN {} ON {} AND a.{x} IS NOT NULL", ", {} WHERE {}")))
        on = draw(_matches(a, b))
        return f"{first} AS a {joined.format(f'{second} AS b', on, x=sorted(sources[first])[0])}", a | b
    if form == "three":
        return (
            f"{first} AS a JOIN {second} AS b ON {draw(_matches(a, b))} JOIN {third} AS c ON {draw(_matches(b, c))}",
            a | b | c,
        )
    if form == "union":
        same = dict(
            sorted(set(sources[first].items()) & set(sources[second].items())) or sorted(sources[first].items())
        )
        names = ", ".join(same)
        other = second if same.items() <= sources[second].items() else first
        condition = draw(_condition(_prefixed("o", same)))
        both = f"SELECT {names} FROM {first} UNION ALL SELECT {names} FROM {other} AS o WHERE {condition}"
        return f"({both}) AS a", _prefixed("a", same)
    if form == "subquery":
        condition = draw(_condition(_prefixed("i", sources[first])))
        return f"(SELECT * FROM {first} AS i WHERE {condition}) AS a", a
    if form == "unnest":
        return f"{first} AS a, unnest([1, 2]) AS u(n)", a | {"u.n": "INTEGER"}
    return f"{first} AS a", a


def _prefixed(alias: str, columns: Columns) -> Columns:
    return {f"{alias}.{name}": kind for name, kind in columns.items()}


@st.composite
def _matches(draw: st.DrawFn, a: Columns, b: Columns) -> str:
    """A condition by which rows of two sources match."""
    pairs = [(one, other) for one, kind in a.items() for other, like in b.items() if kind == like and kind != "DOUBLE"]
    if not pairs:
        return "true"
    one, other = draw(st.sampled_from(pairs))
    return f"{one} {draw(st.sampled_from(('=', '=', 'IS NOT DISTINCT FROM', '<')))} {other}"


@st.composite
def _condition(draw: st.DrawFn, columns: Columns) -> str:
    name = draw(st.sampled_from(sorted(columns)))
    known = TYPES.get(columns[name])
    forms = [f"{name} IS NOT NULL", f"{name} IS NULL", f"NOT ({name} IS NULL)"]
    if known:
        forms += [f"{name} <> CAST({known[0]} AS {columns[name]})", f"{name} <= CAST({known[1]} AS {columns[name]})"]
    return draw(st.sampled_from(forms))


@st.composite
def _where(draw: st.DrawFn, read: str, columns: Columns) -> str:
    if draw(st.booleans()):
        return read
    word = "AND" if " WHERE " in read.rpartition(")")[2] else "WHERE"
    return f"{read} {word} {draw(_condition(columns))}"


@st.composite
def _shown(draw: st.DrawFn, columns: Columns) -> tuple[str, str | None]:
    """An expression, with its type where that is known."""
    name = draw(st.sampled_from(sorted(columns)))
    kind = columns[name]
    forms: list[tuple[str, str | None]] = [(name, kind), (name, kind), (f"{name} IS NULL", "BOOLEAN")]
    if kind in WHOLE:
        forms += [(f"{name} % 3", kind), (f"CAST({name} AS DECIMAL(22,1)) / 3", "DOUBLE")]
    if kind == "VARCHAR":
        forms += [(f"{name} || 'z'", "VARCHAR"), (f"length({name})", "BIGINT"), (f"upper({name})", "VARCHAR")]
    return draw(st.sampled_from(forms))


@st.composite
def _rows(draw: st.DrawFn, sources: Mapping[str, Columns], letter: str) -> tuple[str, Columns]:
    read, columns = draw(_read(sources))
    shown = draw(st.lists(_shown(columns), min_size=1, max_size=4))
    items = ", ".join(f"{sql} AS {letter}{number}" for number, (sql, _) in enumerate(shown))
    return f"SELECT {items} FROM {draw(_where(read, columns))}", _known(shown, letter)


@st.composite
def _star(draw: st.DrawFn, sources: Mapping[str, Columns], letter: str) -> tuple[str, Columns]:
    source = draw(st.sampled_from(sorted(sources)))
    named = {f"{source.rpartition('.')[2]}.{name}": kind for name, kind in sources[source].items()}
    return f"SELECT * FROM {source} WHERE {draw(_condition(named))}", sources[source]


@st.composite
def _distinct(draw: st.DrawFn, sources: Mapping[str, Columns], letter: str) -> tuple[str, Columns]:
    read, columns = draw(_read(sources))
    shown = draw(st.lists(_shown(columns).filter(lambda one: one[1] != "DOUBLE"), min_size=1, max_size=3))
    items = ", ".join(f"{sql} AS {letter}{number}" for number, (sql, _) in enumerate(shown))
    return f"SELECT DISTINCT {items} FROM {draw(_where(read, columns))}", _known(shown, letter)


@st.composite
def _union(draw: st.DrawFn, sources: Mapping[str, Columns], letter: str) -> tuple[str, Columns]:
    one, columns = draw(_rows(sources, letter))
    names = ", ".join(columns)
    again = draw(st.sampled_from(sorted(sources)))
    other = f"SELECT {', '.join(f'CAST(NULL AS {kind})' for kind in columns.values())} FROM {again}"
    all_rows = "DOUBLE" in columns.values() or draw(st.booleans())
    if not columns:
        return one, columns
    return f"SELECT {names} FROM ({one}) UNION {'ALL ' if all_rows else ''}{other}", columns


@st.composite
def _result(draw: st.DrawFn, columns: Columns) -> tuple[str, str | None]:
    """An aggregate, or an expression over some."""
    name = draw(st.sampled_from(sorted(columns)))
    kind = columns[name]
    only = draw(st.sampled_from(("", "", f" FILTER (WHERE {draw(_condition(columns))})")))
    forms: list[tuple[str, str | None]] = [
        (f"count(*){only}", "BIGINT"), (f"count({name}){only}", "BIGINT"),
        (f"min({name}){only}", kind), (f"max({name}){only}", kind), (f"max({name}){only}", kind),
        (f"CASE WHEN count(*) > 1 THEN min({name}) END", kind), (f"count(*) * 2 + count({name})", "BIGINT"),
    ]  # fmt: skip
    if kind in WHOLE:
        forms += [(f"sum({name}){only}", "DECIMAL(38,0)"), (f"coalesce(sum({name}), 0)", None)]
        forms += [(f"avg({name}){only}", "DOUBLE"), (f"avg({name} % 7) + count(*)", "DOUBLE")] * 2
    elif kind.startswith("DECIMAL"):
        scale = kind.rpartition(",")[2]
        forms += [(f"sum({name}){only}", f"DECIMAL(38,{scale}"), (f"avg({name}){only}", "DOUBLE")] * 2
    return draw(st.sampled_from(forms))


@st.composite
def _grouped(draw: st.DrawFn, sources: Mapping[str, Columns], letter: str) -> tuple[str, Columns]:
    read, columns = draw(_read(sources))
    keys = draw(st.lists(_shown(columns).filter(lambda one: one[1] != "DOUBLE"), min_size=1, max_size=2))
    results = draw(st.lists(_result(columns), min_size=1, max_size=4))
    hidden = draw(st.booleans()) and draw(st.booleans())  # a key that is not shown
    shown = ([] if hidden else keys) + results
    items = ", ".join(f"{sql} AS {letter}{number}" for number, (sql, _) in enumerate(shown))
    by = [", ".join(sql for sql, _ in keys)]
    if not hidden:
        by += ["ALL", ", ".join(str(number + 1) for number in range(len(keys)))]
        by += [", ".join(f"{letter}{number}" for number in range(len(keys)))]
    having = draw(st.sampled_from(("", "", " HAVING count(*) > 1", f" HAVING min({sorted(columns)[0]}) IS NOT NULL")))
    read = draw(_where(read, columns))
    return f"SELECT {items} FROM {read} GROUP BY {draw(st.sampled_from(by))}{having}", _known(shown, letter)


@st.composite
def _total(draw: st.DrawFn, sources: Mapping[str, Columns], letter: str) -> tuple[str, Columns]:
    read, columns = draw(_read(sources))
    shown = draw(st.lists(_result(columns), min_size=1, max_size=4))
    items = ", ".join(f"{sql} AS {letter}{number}" for number, (sql, _) in enumerate(shown))
    return f"SELECT {items} FROM {draw(_where(read, columns))}", _known(shown, letter)


@st.composite
def _named(draw: st.DrawFn, sources: Mapping[str, Columns], letter: str) -> tuple[str, Columns]:
    """A query over one that WITH names."""
    inner, columns = draw(_rows(sources, letter))
    if not columns:
        return inner, columns
    name = sorted(columns)[0]
    return (
        f"WITH inner_rows AS ({inner}), all_rows(first_column) AS (SELECT {name} FROM inner_rows) "
        f"SELECT first_column AS {letter}0, count(*) AS {letter}1 FROM all_rows GROUP BY first_column"
        if columns[name] != "DOUBLE"
        else f"WITH inner_rows AS ({inner}) SELECT {name} AS {letter}0 FROM inner_rows",
        {f"{letter}0": columns[name]},
    )


@st.composite
def _other(draw: st.DrawFn, sources: Mapping[str, Columns], letter: str) -> tuple[str, Columns]:
    """A query that is always run anew."""
    source = draw(st.sampled_from(sorted(sources)))
    name = sorted(sources[source])[0]
    forms = (
        f"SELECT count(DISTINCT {name}) AS {letter}0 FROM {source}",
        f"SELECT a.{name} AS {letter}0 FROM {source} AS a LEFT JOIN {source} AS b ON a.{name} < b.{name}",
        f"SELECT {name} AS {letter}0 FROM {source} EXCEPT ALL SELECT {name} FROM {source} AS o WHERE {name} IS NULL",
        f"SELECT {name} AS {letter}0, (SELECT count(*) FROM {source}) AS {letter}1 FROM {source}",
        f"SELECT count(*) OVER () AS {letter}0 FROM {source}",
    )
    return draw(st.sampled_from(forms)), {}


def _known(shown: list[tuple[str, str | None]], letter: str) -> Columns:
    return {f"{letter}{number}": kind for number, (_, kind) in enumerate(shown) if kind is not None}


FORMS = {
    "rows": _rows, "star": _star, "distinct": _distinct, "union": _union, "grouped": _grouped, "total": _total,
    "named": _named, "other": _other,
}  # fmt: skip
