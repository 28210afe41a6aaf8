"""Which files an import may read, and how they are read."""

# ruff: noqa: S608  (paths are literals)

import csv
import glob
import os
import re
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from prefect_narrative.planes.errors import ImportRefusedError, UnreadableFileError, shortened
from prefect_narrative.planes.failures import said
from prefect_narrative.planes.names import literal

FileFormat = Literal["parquet", "csv", "json"]

ENDINGS: dict[str, FileFormat] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
}
LINE_ENDINGS = frozenset({".jsonl", ".ndjson"})
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
DELIMITERS = (",", "\t", ";", "|")
MAX_FILES = 1000

_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:")
_PATTERN = re.compile(r"[*?\[]")
_LINE = re.compile(r"(?:CSV Error on Line|in line|[Ll]ine:?)\s*\"?(\d+)")


@dataclass(frozen=True)
class ImportFile:
    """A regular file below an import root, as it was when it was looked at."""

    path: Path
    """Where it is: no symbolic link is left in it."""
    device: int
    inode: int
    bytes: int
    modified_ns: int

    @classmethod
    def at(cls, path: Path) -> "ImportFile":
        """Look at a file."""
        found = path.lstat()
        return cls(path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def find_files(source: str, roots: Sequence[Path]) -> list[ImportFile]:
    """Return the files that a path or a glob names, by path.

    A relative path is looked for below each import root in turn; the first root where it names anything is taken.
    Symbolic links are followed first, and what they lead to must lie below a root.

    Args:
        source: A path, or a glob with `*`, `?`, `[...]` and `**`.
        roots: The import roots.

    Raises:
        ImportRefusedError: it names nothing, or something else than regular files below the roots.
    """
    shown = shortened(ascii(source), 120)
    _check_text(source, shown)
    resolved_roots = [root.resolve() for root in roots]
    bases = [Path("/")] if source.startswith("/") else resolved_roots
    for base in bases:
        found = _matches(base / source)
        if found:
            break
    else:
        listed = ", ".join(str(root) for root in roots)
        where = "" if source.startswith("/") else f" below the import roots ({listed})"
        raise ImportRefusedError(f"{shown} names no file{where}.")
    if len(found) > MAX_FILES:
        raise ImportRefusedError(f"{shown} names more than {MAX_FILES} files: at most so many are read at once.")
    files = {path: ImportFile.at(path) for path in (_resolved(path, resolved_roots, shown) for path in found)}
    return [files[path] for path in sorted(files)]


def format_of(files: Sequence[ImportFile], given: Literal["auto", "parquet", "csv", "json"]) -> FileFormat:
    """Return how files are to be read: as given, or as their endings tell.

    Raises:
        UnreadableFileError: the endings tell nothing, or differ.
    """
    if given != "auto":
        if given not in {"parquet", "csv", "json"}:
            raise UnreadableFileError(f"{given!r} is no format: it is auto, parquet, csv or json.")
        return given
    formats = {ENDINGS.get(_ending(file.path)) for file in files}
    if len(formats) == 1 and (found := formats.pop()) is not None:
        return found
    endings = ", ".join(sorted({_ending(file.path) or "no ending" for file in files}))
    raise UnreadableFileError(
        f"The format can't be told by the files' endings ({shortened(endings, 80)}): known are {', '.join(ENDINGS)}.",
        remedy="Say the format: parquet, csv or json.",
    )


@dataclass(frozen=True)
class Reading:
    """How files are read: as SQL that yields their rows, and as SQL that finds the line that breaks a CSV's shape."""

    rows: str
    shape: str | None = None


def reading(
    files: Sequence[ImportFile], file_format: FileFormat, execute: Callable[[str], Sequence[Sequence[Any]]]
) -> Reading:
    """Return how files are read. Columns of several files are matched by name.

    CSV: the delimiter is the comma, tab, semicolon or bar that the first line has most of; quotes are double; whether
    there is a header, and the types, are told by the whole file; no line is left out. JSON: a key that an object does
    not have is NULL.

    Args:
        files: The files.
        file_format: Their format.
        execute: Runs a statement on a connection that may read them.
    """
    names = "[" + ", ".join(literal(str(file.path)) for file in files) + "]"
    if file_format == "parquet":
        return Reading(f"FROM read_parquet({names}, union_by_name = true, hive_partitioning = false)")
    compression = f"compression = '{_compression(files)}', hive_partitioning = false"
    if file_format == "json":
        lines = all(_ending(file.path) in LINE_ENDINGS for file in files)
        return Reading(
            f"FROM read_json({names}, union_by_name = true, sample_size = -1, {compression}, "
            f"format = '{'newline_delimited' if lines else 'auto'}')"
        )
    first = execute(
        f"SELECT line FROM read_csv({literal(str(files[0].path))}, auto_detect = false, header = false, "
        f"columns = {{'line': 'VARCHAR'}}, delim = '\x01', quote = '', escape = '', {compression}) LIMIT 1"
    )
    line = str(first[0][0] or "") if first else ""
    delimiter = max(DELIMITERS, key=line.count)
    dialect = f"delim = '{delimiter}', quote = '\"', escape = '\"', {compression}"
    try:
        width = len(next(csv.reader([line], delimiter=delimiter), [""]))
    except csv.Error:  # a field is longer than its parser takes
        width = line.count(delimiter) + 1
    columns = "{" + ", ".join(f"'c{number}': 'VARCHAR'" for number in range(max(width, 1))) + "}"
    return Reading(
        f"FROM read_csv({names}, union_by_name = true, sample_size = -1, skip = 0, {dialect})",
        f"SELECT count(*) FROM read_csv({names}, auto_detect = false, header = true, columns = {columns}, {dialect})",
    )


def unreadable(error: BaseException, files: Sequence[ImportFile], file_format: FileFormat) -> UnreadableFileError:
    """Return the error for files that the engine could not read, with the file and the line where it says so."""
    text = str(error)
    named = [file.path for file in files if str(file.path) in text]
    path = named[0] if named else files[0].path if len(files) == 1 else None
    line = _LINE.search(text)
    where = f"{path.name if path else 'One of the files'}{f', line {line[1]}' if line else ''}"
    reason = re.sub(r"Original Line:.*?(?=(Error|Expected|Could|Possible|Invalid|Value)|$)", "", said(error))
    return UnreadableFileError(
        f"{where} can't be read as {file_format}: {shortened(reason, 300)}",
        detail={"file": str(path) if path else None, "line": int(line[1]) if line else None},
    )


def without_words(error: UnreadableFileError, file_format: FileFormat) -> UnreadableFileError:
    """Return the same error without the engine's words, which may quote a value that nobody may see."""
    file, line = error.detail.get("file"), error.detail.get("line")
    where = f"{Path(file).name if file else 'One of the files'}{f', line {line}' if line else ''}"
    return UnreadableFileError(
        f"{where} can't be read as {file_format}. It has sensitive columns, so the engine's message, which may quote a "
        "value, is withheld.",
        detail=error.detail,
    )


def check_unchanged(files: Sequence[ImportFile]) -> None:
    """Raise unless the files are still those that were looked at.

    Raises:
        ImportRefusedError: one was changed or exchanged while it was read.
    """
    for file in files:
        try:
            now = ImportFile.at(file.path)
        except OSError:
            now = None
        if now != file:
            raise ImportRefusedError(
                f"{file.path} was changed while it was read.", remedy="Try again once nobody writes to it any more."
            )


def check_same_columns(names: Sequence[tuple[ImportFile, Sequence[str]]]) -> None:
    """Raise unless all files have the same columns, in any order.

    Raises:
        UnreadableFileError: with the first file that differs from the first one, and how.
    """
    first, expected = names[0]
    for file, columns in names[1:]:
        missing, more = sorted(set(expected) - set(columns)), sorted(set(columns) - set(expected))
        differences = [*(f"no {name}" for name in missing), *(f"also {name}" for name in more)]
        if differences:
            raise UnreadableFileError(
                f"{file.path.name} has other columns than {first.path.name}: {shortened(', '.join(differences), 300)}.",
                remedy="Import files of one shape at a time.",
            )


def _check_text(source: str, shown: str) -> None:
    reason = None
    if not source.strip():
        reason = "is empty"
    elif "\0" in source or not source.isprintable():
        reason = "has a character that no path needs"
    elif source.startswith("~"):
        reason = "starts with ~, which is not expanded"
    elif _URL.match(source):
        reason = "looks like a URL: only files are read"
    elif ".." in Path(source).parts:
        reason = "has a .. in it"
    elif len(os.fsencode(source)) > 4096:
        reason = "is too long"
    if reason is not None:
        raise ImportRefusedError(f"The source {shown} {reason}.")


def _matches(path: Path) -> list[Path]:
    try:
        if os.path.lexists(path):
            return [path]
        if not _PATTERN.search(str(path)):
            return []
        found = map(Path, glob.iglob(str(path), recursive=True))  # noqa: PTH207  (it skips hidden files)
        # Only as many as tell that there are too many: folders that link to each other name files without end.
        return list(islice((match for match in found if not match.is_dir()), MAX_FILES + 1))
    except OSError:  # a part of the path is too long or is no folder
        return []


def _resolved(path: Path, roots: Sequence[Path], shown: str) -> Path:
    try:
        resolved = path.resolve(strict=True)
        mode = resolved.stat().st_mode
    except (OSError, RuntimeError) as error:
        raise ImportRefusedError(f"{shown} names {path.name!r}, which leads nowhere.") from error
    if not any(resolved.is_relative_to(root) for root in roots):
        listed = ", ".join(str(root) for root in roots)
        raise ImportRefusedError(f"{shown} leads outside the import roots ({listed}).")
    if not stat.S_ISREG(mode):
        raise ImportRefusedError(f"{shown} names {path.name!r}, which is no regular file.")
    if _undecoded(str(resolved)):
        raise ImportRefusedError(f"{shown} names {path.name!a}: a file's path must be valid UTF-8.")
    if _PATTERN.search(str(resolved)):
        raise ImportRefusedError(f"{shown} names {path.name!r}: a file's path may not have *, ? or [ in it.")
    return resolved


def _undecoded(path: str) -> bool:
    """Return whether bytes of a path could not be decoded."""
    return any("\ud800" <= character <= "\udfff" for character in path)


def _ending(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _compression(files: Sequence[ImportFile]) -> str:
    found = {COMPRESSIONS.get(file.path.suffix.lower(), "uncompressed") for file in files}
    if len(found) > 1:
        raise UnreadableFileError(
            f"The files are compressed in different ways: {', '.join(sorted(found))}.",
            remedy="Import files of one compression at a time.",
        )
    return found.pop()
