"""Tells what the engine's errors mean in our words."""

import re
from typing import TYPE_CHECKING

from prefect_narrative.errors import NarrativeError
from prefect_narrative.planes.errors import (
    DiskFullError,
    EngineMemoryError,
    PlaneUnavailableError,
    QueryFailedError,
    QueryInterruptedError,
    QueryRefusedError,
    SnapshotNotFoundError,
    WriteConflictError,
    shortened,
)

if TYPE_CHECKING:
    import duckdb

_PREFIX = re.compile(r"^[A-Z][A-Za-z -]* Error: ")
_STATEMENT = re.compile(r"\s*(?:LINE \d+:|Stack Trace:).*", re.DOTALL)
_DISK = re.compile(r"no space left|disk (?:is )?full|max_temp_directory_size|disk quota", re.IGNORECASE)
_LOCKED = re.compile(
    r"database is locked|unable to open database|readonly database|disk I/O error|malformed|not a database",
    re.IGNORECASE,
)
_CONFLICT = re.compile(r"Failed to commit DuckLake transaction|Transaction conflict")

_REFUSING = ("BinderException", "CatalogException", "ParserException", "SyntaxException", "PermissionException")
_DEFECTS = ("InternalException", "FatalException")
_OF_VALUES = (
    "ConversionException",
    "DataError",
    "InvalidInputException",
    "InvalidTypeException",
    "OutOfRangeException",
)
"""Kinds whose messages quote the data or the query: their words say nothing about disk or catalog."""


def said(error: BaseException) -> str:
    """Return an engine's message on one line, without the statement that it quotes."""
    return shortened(_STATEMENT.sub("", _PREFIX.sub("", str(error))))


def quotes_values(error: NarrativeError) -> bool:
    """Return whether an error of ours may pass on a value that the engine's message quotes."""
    return isinstance(error, QueryFailedError) or type(error) is NarrativeError


def translated(error: "duckdb.Error") -> NarrativeError:
    """Return the error of ours that an engine's error means."""
    kind = type(error).__name__
    text = str(error)
    message = said(error)
    result: NarrativeError
    if kind == "InterruptException":
        result = QueryInterruptedError()
    elif kind == "OutOfMemoryException":
        # DuckDB says so as well where the folder to which it spills may not grow.
        result = DiskFullError(message) if _DISK.search(text) else EngineMemoryError(message)
    elif kind in _OF_VALUES:
        result = QueryFailedError(message)
    elif kind in _REFUSING:
        result = QueryRefusedError(message, remedy="Mend the query: see its columns, types and functions.")
    elif _DISK.search(text):
        result = DiskFullError(message)
    elif "No snapshot found" in text:
        result = SnapshotNotFoundError(message)
    elif _CONFLICT.search(text) or kind == "TransactionException":
        result = WriteConflictError(message)
    elif _LOCKED.search(text) or kind in {"ConnectionException", "HTTPException"}:
        result = PlaneUnavailableError(f"The plane's catalog can't be used: {message}")
    elif kind == "IOException":
        result = PlaneUnavailableError(f"The plane's files can't be used: {message}")
    elif kind in _DEFECTS:
        result = NarrativeError(f"The query engine failed: {message}")
    else:
        result = QueryFailedError(message)
    return result
