"""What a plane refuses or could not do, each error with its kind, a stable code and a remedy."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar

from prefect_narrative.errors import FailureKind, NarrativeError, SupersededError

MESSAGE_LIMIT = 500
"""Characters of an engine's own message that we pass on: it may quote a value."""


def shortened(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Return a text on one line, cut to `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a sentence with the known names that are most like `name`, or an empty text."""
    matches = get_close_matches(name, sorted(known), n=3, cutoff=0.6)
    return f" Nearest: {', '.join(matches)}." if matches else ""


class InvalidNameError(NarrativeError, ValueError):
    """A dataset's name breaks the naming rule."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "invalid_name"
    remedy = "Use lower-case letters, digits and underscores, first a letter, such as orders or sales.orders."


class DatasetNotFoundError(NarrativeError, LookupError):
    """There is no such dataset."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "dataset_not_found"
    remedy = "Check the name, or create the dataset first."

    @classmethod
    def named(cls, name: str, known: Iterable[str], at: int | None = None) -> "DatasetNotFoundError":
        """Return the error for one missing name, with the nearest of the known ones."""
        when = "" if at is None else f" in snapshot {at}"
        return cls(f"There is no dataset {name!r}{when}.{nearest(name, known)}", detail={"dataset": name})


class ColumnNotFoundError(NarrativeError, LookupError):
    """There is no such column."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "column_not_found"
    remedy = "Check the name: `narrative datasets show NAME` lists a dataset's columns."


class AmbiguousColumnError(NarrativeError, ValueError):
    """It can't be told which column is meant."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "ambiguous_column"
    remedy = "Give each column of the query its own name with AS."


class SampleNotFoundError(NarrativeError, LookupError):
    """There is no such sample."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "sample_not_found"
    remedy = "See `narrative samples list`, or ask for one: narrative submit sample-dataset dataset=NAME --wait"

    @classmethod
    def named(cls, name: str, known: Iterable[str]) -> "SampleNotFoundError":
        """Return the error for one missing name, with the nearest of the known ones."""
        return cls(f"There is no sample {shortened(name, 80)!r}.{nearest(name, known)}", detail={"sample": name[:200]})


class DatasetExistsError(NarrativeError, FileExistsError):
    """There is a dataset of this name already."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "dataset_exists"
    remedy = "Choose another name, or write with mode overwrite or append."


class WrongKindError(NarrativeError, TypeError):
    """A dataset's rows were written to what is a view, or the reverse."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "wrong_kind"
    remedy = "Choose another name: only a view's own refresh writes to it, and a view does not take a dataset's place."


class SnapshotNotFoundError(NarrativeError, LookupError):
    """There is no such snapshot, or it has expired."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "snapshot_not_found"
    remedy = "Use a snapshot that still exists, or leave it out to read the newest."


class QueryRefusedError(NarrativeError, ValueError):
    """The query is not exactly one SELECT over datasets with allowed functions only."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "query_refused"
    remedy = "Write one SELECT over datasets by their names, with functions that only compute."


class QueryFailedError(NarrativeError, ArithmeticError):
    """The query failed on the data that it read."""

    kind: ClassVar[FailureKind] = FailureKind.DATA
    code: ClassVar[str] = "query_failed"
    remedy = "Mend the data or the query; TRY_CAST and TRY(...) give NULL where a value can't be computed."


class QueryInterruptedError(NarrativeError, InterruptedError):
    """The query was stopped before it ended."""

    kind: ClassVar[FailureKind] = FailureKind.OPERATOR
    code: ClassVar[str] = "query_interrupted"
    remedy = "Start the job again if it was stopped by mistake."


class ColumnMismatchError(NarrativeError, ValueError):
    """The rows have other columns than the dataset can take."""

    kind: ClassVar[FailureKind] = FailureKind.DATA
    code: ClassVar[str] = "column_mismatch"
    remedy = "Give the query the dataset's columns, with CAST where a type differs, or overwrite the dataset."


class DeltaLostError(NarrativeError, LookupError):
    """What has changed in a dataset since it was read last can't be told any more."""

    kind: ClassVar[FailureKind] = FailureKind.DATA
    code: ClassVar[str] = "delta_lost"
    remedy = (
        "Refresh the view with mode=full: it is filled anew from what its sources hold now. Rows that they hold no "
        "longer are then gone from the view too."
    )


class ChangesUnknownError(NarrativeError, LookupError):
    """What became of a dataset since it was read last can't be told row by row."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "changes_unknown"
    remedy = "Refresh the view in full (mode auto does so by itself), or keep snapshots for longer between refreshes."


class UnstorableColumnError(ColumnMismatchError):
    """A column's name or type can't be kept in a dataset."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "unstorable_column"
    remedy = "Name every column once with AS, and CAST it to a type that can be stored."


class ImportRefusedError(NarrativeError, PermissionError):
    """The path is outside the import roots, is not a regular file, or names nothing."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "import_refused"
    remedy = "Put the file below one of the import roots (NARRATIVE_IMPORT_ROOTS) and name it from there."


class UnreadableFileError(NarrativeError, ValueError):
    """A file can't be read in its format."""

    kind: ClassVar[FailureKind] = FailureKind.DATA
    code: ClassVar[str] = "unreadable_file"
    remedy = "Mend the file, or say its format."


class FencedError(SupersededError, PermissionError):
    """Another attempt of this job has taken over, so that this one may not publish."""

    kind: ClassVar[FailureKind] = FailureKind.CONFLICT
    code: ClassVar[str] = "fenced"

    @property
    def retryable(self) -> bool:
        """Never: whoever raised the fence decides what happens next."""
        return False


class PublishLockTimeoutError(NarrativeError, TimeoutError):
    """The publish lock was not free in time."""

    kind: ClassVar[FailureKind] = FailureKind.CONFLICT
    code: ClassVar[str] = "publish_lock_timeout"
    remedy = "Try again when its holder is done; NARRATIVE_PUBLISH_LOCK_TIMEOUT sets how long to wait."


class WriteConflictError(NarrativeError, RuntimeError):
    """Another writer changed the lake meanwhile."""

    kind: ClassVar[FailureKind] = FailureKind.CONFLICT
    code: ClassVar[str] = "write_conflict"
    remedy = "Try again."


class OvertakenError(WriteConflictError):
    """Another writer has replaced the table that these rows were made for."""

    code: ClassVar[str] = "overtaken"
    remedy = "Try again: the next attempt reads what the other writer left."


class ExtensionMissingError(NarrativeError, ImportError):
    """An extension of the query engine can't be loaded."""

    kind: ClassVar[FailureKind] = FailureKind.EXTERNAL
    code: ClassVar[str] = "extension_missing"
    remedy = "pip install 'duckdb-extension-ducklake==1.5.5' 'duckdb-extension-sqlite-scanner==1.5.5'"

    @property
    def retryable(self) -> bool:
        """Never: a package is missing."""
        return False


class EngineMemoryError(NarrativeError, MemoryError):
    """The query needs more memory than it may use."""

    kind: ClassVar[FailureKind] = FailureKind.RESOURCE
    code: ClassVar[str] = "out_of_memory"
    remedy = "Raise NARRATIVE_MEMORY_LIMIT, or read fewer rows or columns at once."


class DiskFullError(NarrativeError, OSError):
    """There is no space left to write to."""

    kind: ClassVar[FailureKind] = FailureKind.RESOURCE
    code: ClassVar[str] = "disk_full"
    remedy = "Free space (a clean-up job removes what is no longer needed), or move NARRATIVE_TEMP_DIRECTORY."


class PlaneUnavailableError(NarrativeError, ConnectionError):
    """The plane's catalog or its files can't be reached."""

    kind: ClassVar[FailureKind] = FailureKind.EXTERNAL
    code: ClassVar[str] = "plane_unavailable"
    remedy = "See that the plane's folder exists, is readable and is not held by another program; then try again."


class PublicationUnknownError(PlaneUnavailableError):
    """The commit broke off and its outcome can't be read, so it may or may not be published."""

    code: ClassVar[str] = "publication_unknown"
    remedy = "Retry the job: what was published is found, and is not published twice."


class PlaneClosedError(NarrativeError, ValueError):
    """The plane has been closed."""

    kind: ClassVar[FailureKind] = FailureKind.INTERNAL
    code: ClassVar[str] = "plane_closed"


class StageLostError(NarrativeError, FileNotFoundError):
    """Staged files are not there any more."""

    kind: ClassVar[FailureKind] = FailureKind.INFRASTRUCTURE
    code: ClassVar[str] = "stage_lost"
    remedy = "Try again: the next attempt stages them anew."
