"""How datasets are called."""

import re
from typing import NamedTuple

from prefect_narrative.planes.errors import InvalidNameError, shortened

INTERNAL_SCHEMA = "_narrative"
"""Schema of our own tables in the lake. No dataset's name can reach it, since names start with a letter."""
STATE_PREFIX = "state_"
"""Before a view's name, the name of the table with its hidden state, in the internal schema."""
MAIN_SCHEMA = "main"
MAX_NAME_LENGTH = 128
RESERVED_SCHEMAS = frozenset({"information_schema", "pg_catalog", "temp", "system", "memory", "lake"})
RULE = (
    f"a name is [a-z][a-z0-9_]*, at most {MAX_NAME_LENGTH} characters, optionally with a schema of the same form "
    "before a dot"
)

_PART = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)


class DatasetName(NamedTuple):
    """A name that keeps the rule, in its two parts."""

    schema: str
    table: str

    def __str__(self) -> str:
        """Return `name`, or `schema.name` outside the main schema."""
        return self.table if self.schema == MAIN_SCHEMA else f"{self.schema}.{self.table}"

    @property
    def sql(self) -> str:
        """The name as SQL, with its catalog."""
        return f"lake.{quoted(self.schema)}.{quoted(self.table)}"


def dataset_name(text: str) -> DatasetName:
    """Return the parts of a dataset's name.

    Raises:
        InvalidNameError: with the name, the rule and what to use instead.
    """
    shown = shortened(ascii(text), 80)
    if not isinstance(text, str) or not text:
        raise InvalidNameError(f"{shown} is no dataset's name: {RULE}.")
    if len(text) > MAX_NAME_LENGTH:
        raise InvalidNameError(f"{shown} is no dataset's name: it has {len(text)} characters; {RULE}.")
    parts = text.split(".")
    if len(parts) > 2 or not all(_PART.fullmatch(part) for part in parts):
        raise InvalidNameError(f"{shown} is no dataset's name: {RULE}.")
    name = DatasetName(MAIN_SCHEMA, parts[0]) if len(parts) == 1 else DatasetName(parts[0], parts[1])
    if name.schema in RESERVED_SCHEMAS:
        raise InvalidNameError(f"{shown} is no dataset's name: the schema {name.schema!r} belongs to the engine.")
    return name


def state_table(view: DatasetName) -> DatasetName:
    """Return the name of the table with a view's hidden state. Only our own statements can reach it."""
    return DatasetName(INTERNAL_SCHEMA, f"{STATE_PREFIX}{view}")


def quoted(identifier: str) -> str:
    """Return an identifier as SQL."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as a SQL string."""
    return "'" + text.replace("'", "''") + "'"
