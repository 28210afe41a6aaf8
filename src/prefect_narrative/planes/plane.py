"""What a data plane is: where data lives and queries run. It knows neither Prefect nor jobs, only an id and a token."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol, Self
from uuid import UUID

from prefect_narrative.planes.column_statistics import DatasetProfile, HistogramOptions, KeptStatistics, Statistic


@dataclass(frozen=True)
class Column:
    """A column: its name and its type in DuckDB's words."""

    name: str
    type: str


@dataclass(frozen=True)
class Dataset:
    """A dataset as it stands in one snapshot."""

    name: str
    """`name`, or `schema.name` outside the main schema."""
    kind: Literal["dataset", "view"]
    snapshot_id: int
    """The snapshot that was read."""
    table_id: int
    """The lake's id of the table; a replaced table has another."""
    rows: int
    bytes: int
    """Stored bytes of its live files."""
    files: int
    columns: tuple[Column, ...]
    properties: Mapping[str, Any] = field(default_factory=dict)
    """What was published beside the data: description, tags, a view's definition. JSON values."""


@dataclass(frozen=True)
class Description:
    """What a dataset is, without its size: found for all datasets at once, without looking at any of them."""

    name: str
    kind: Literal["dataset", "view"]
    table_id: int
    properties: Mapping[str, Any] = field(default_factory=dict)


Guard = Callable[[Sequence[Description]], None]
"""Looks at all datasets under the publish lock, before anything is written, and raises where it may not be."""


@dataclass(frozen=True)
class SourceVersion:
    """Which contents of a dataset a query read."""

    name: str
    table_id: int
    snapshot_id: int


@dataclass(frozen=True)
class Freshness:
    """Whether contents that were seen are still the newest."""

    changed: bool
    """Whether they may have changed since."""
    since: datetime | None
    """When they first did; None: they have not, or that can't be known any more."""


@dataclass(frozen=True)
class CheckedQuery:
    """A query that passed the check; only such a query can be run."""

    text: str
    """The query as it was given."""
    sql: str
    """The same, written anew from its syntax tree: comments dropped, datasets qualified, `SELECT *` left as it is."""
    sources: tuple[str, ...]
    """Names of the datasets that it reads, sorted."""
    volatile: tuple[str, ...]
    """Functions in it whose value depends on the time of the run, sorted."""
    random: tuple[str, ...]
    """Functions in it whose value is random, sorted."""
    deltas: tuple[str, ...] = ()
    """Datasets whose changes it reads with DELTA, sorted; they are among its sources."""
    relations: tuple[str, ...] = ()
    """Names in it that stand for other rows than a dataset's, see `Relation`, sorted. A user's query has none."""


@dataclass(frozen=True)
class Rows:
    """The first rows of a query."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    truncated: bool
    """Whether there are more rows than these."""
    snapshot_id: int


SampleMethod = Literal["random", "first"]


@dataclass(frozen=True)
class SampledRows:
    """Rows of a dataset or a query, as JSON has them, see `planes.json_values`."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    """None in hidden columns, which were not read."""
    of_rows: int | None
    """How many rows there are in all; None where that is not known without counting."""
    snapshot_id: int


@dataclass(frozen=True)
class KeptSample:
    """A sample as the sample store has it."""

    name: str
    head: Mapping[str, Any]
    """What it is of, and how and when it was taken. JSON values."""
    rows: Sequence[Sequence[Any]]
    """JSON values."""


@dataclass(frozen=True)
class Stage:
    """Files that were written for a dataset and are not published yet."""

    folder: Path
    columns: tuple[Column, ...]
    rows: int
    bytes: int


ROW_ID = "narrative_row_id"
"""The column in which a row's id stands, which it keeps for as long as the row is there."""


@dataclass(frozen=True)
class Changes:
    """What became of a dataset between two snapshots; told from metadata, no row is read."""

    dataset: str
    table_id: int
    first: int
    """The snapshot that was seen before."""
    last: int
    """The snapshot up to which, and with which, changes count."""
    columns: tuple[Column, ...]
    """The dataset's, at both."""
    inserts: bool
    """Whether rows may have been inserted. An update deletes a row and inserts it anew."""
    deletes: bool
    """Whether rows may have been deleted."""
    inserted_rows: int
    """At most so many."""
    deleted_rows: int
    """At most so many."""
    rows: int
    """So many are there at `last`."""


@dataclass(frozen=True)
class ChangedRows:
    """The rows that were inserted between two snapshots, or those that were deleted, with the dataset's columns."""

    changes: Changes
    kind: Literal["inserted", "deleted"]
    ids: bool = False
    """Whether their ids stand in the column `ROW_ID`."""


@dataclass(frozen=True)
class StoredRows:
    """The rows of a dataset, or of a view's hidden state, in one snapshot; their ids in the column `ROW_ID`."""

    dataset: str
    at: int
    state: bool = False


UNIT = "narrative_unit"
"""The column of a row sample by which its units are drawn, evenly spread over 0 to 1."""


@dataclass(frozen=True)
class RowSample:
    """What is known of a sample of rows that estimates are made from."""

    name: str
    """Letters, digits and underscores."""
    dataset: str
    """Whose rows they are."""
    head: Mapping[str, Any]
    """How and when it was taken. JSON values."""


@dataclass(frozen=True)
class KeptRows:
    """The rows of a row sample, with the columns of its dataset."""

    name: str
    at: int
    """The snapshot in which the sample was seen."""
    columns: tuple[Column, ...]
    absent: frozenset[str] = frozenset()
    """Columns that the sample was taken without, in small letters: they are NULL."""
    below: float | None = None
    """Only units below this; None: all."""
    unit: bool = False
    """Whether the column `UNIT` is among its columns."""


@dataclass(frozen=True)
class Scanned:
    """What a query would read of a dataset, once files are left out in which no row can pass its predicates."""

    dataset: str
    snapshot_id: int
    files: int
    """Data files, and those with deletions."""
    rows: int
    """In these files, and in the catalog itself, over all scans of the dataset."""
    bytes: int
    """Of the columns that are needed, as they are stored."""
    exact: bool
    """False: a predicate was not understood, so that fewer may be read."""
    table_id: int
    of_rows: int
    """Rows that it has."""
    columns: tuple[Column, ...]
    """Its columns."""


Relation = ChangedRows | StoredRows | Stage | KeptRows
"""What a name in a query may stand for when the query is one of ours. Such a name starts with an underscore."""


@dataclass(frozen=True)
class Ingestion:
    """When the rows that a write adds were ingested, for whoever lets rows expire by their age."""

    at: datetime
    oldest_row: int | None = None
    """Rows with smaller ids are deleted by the same write, so that nobody asks for their age any more."""


@dataclass(frozen=True)
class Aged:
    """Rows of a certain age: those with the ids from `first` up to, and without, `end`."""

    first: int
    end: int


@dataclass(frozen=True)
class StateWrite:
    """What is written of a view's hidden state, beside its rows."""

    mode: Literal["replace", "change"]
    stage: Stage
    """All rows, or those to add."""
    deletes: Stage | None = None
    """With `change`: the ids of the rows to delete, in the one column `ROW_ID`."""


@dataclass(frozen=True)
class Write:
    """One dataset's part of a publication."""

    dataset: str
    mode: Literal["create", "replace", "append", "change", "describe", "drop"]
    """`create` refuses an existing dataset; `replace` makes or replaces it; `append` adds rows to an existing one;
    `change` deletes rows of an existing one and adds others; `describe` leaves the data and sets the properties;
    `drop` removes both from the newest snapshot on."""
    stage: Stage | None = None
    """The data; None with `describe` and `drop`, and with `change` where no row is added."""
    kind: Literal["dataset", "view"] = "dataset"
    properties: Mapping[str, Any] | None = None
    """Replaces the properties where it is not None."""
    replaces: int | None = None
    """The table id that the rows were made to replace; None: whatever is there."""
    deletes: Stage | None = None
    """With `change`: the ids of the rows to delete, in the one column `ROW_ID`."""
    since: int | None = None
    """The snapshot in which the dataset was read; it is overtaken where its rows, or its properties, have changed after
    that. Needed with `change`. None: it does not matter."""
    state: StateWrite | None = None
    """A view's hidden state. Any write that replaces or drops the dataset without one removes the state."""
    ingestion: Ingestion | None = None
    """When its rows were ingested; None: nobody will ask for their age."""


@dataclass(frozen=True)
class Published:
    """A publication of a job, made now or found."""

    snapshot_id: int
    result: Mapping[str, Any]
    """The result that was given with the publication, with `snapshot_id` added where it does not say one itself."""
    found: bool
    """Whether an earlier attempt had already published it, so that nothing was written now."""


@dataclass(frozen=True)
class PlaneUsage:
    """What was read and written through one plane object; None where the engine does not tell."""

    read_rows: int | None = None
    read_bytes: int | None = None
    written_rows: int | None = None
    written_bytes: int | None = None


class Plane(Protocol):
    """A data plane, attached. One object serves one job at a time; `interrupt` and `progress` may come from any thread.

    A method that runs a query keeps the main thread in Python, so that a signal's exception arrives at once; the query
    is then interrupted through the driver before the exception goes on.
    """

    @property
    def name(self) -> str:
        """The plane's name."""
        ...

    def engine(self) -> str:
        """Return what runs the queries, with its version: what another one has computed may differ."""
        ...

    def steady(self) -> AbstractContextManager[None]:
        """Let all that is told within a block be of one moment: what others publish meanwhile is not seen.

        It is quicker, too, where much is asked. Nothing can be staged within it.
        """
        ...

    def snapshot(self) -> int:
        """Return the id of the newest snapshot."""
        ...

    def datasets(self, at: int | None = None) -> Sequence[Dataset]:
        """Return all datasets as of a snapshot (None: the newest), by name."""
        ...

    def descriptions(self, at: int | None = None, names: Collection[str] | None = None) -> Sequence[Description]:
        """Return what datasets are as of a snapshot (None: the newest), by name; quicker than `datasets`.

        Args:
            at: The snapshot.
            names: Only those of these that are there; None: all.
        """
        ...

    def dataset(self, name: str, at: int | None = None) -> Dataset:
        """Return one dataset as of a snapshot (None: the newest).

        Raises:
            InvalidNameError: the name breaks the naming rule.
            DatasetNotFoundError: there is none, with the nearest names.
            SnapshotNotFoundError: no such snapshot, or it has expired.
        """
        ...

    def exists(self, name: str) -> bool:
        """Return whether the newest snapshot has a dataset of that name.

        Raises:
            InvalidNameError: the name breaks the naming rule.
        """
        ...

    def check(
        self, query: str, at: int | None = None, *, deltas: bool = False, relations: Collection[str] | None = None
    ) -> CheckedQuery:
        """Return the query if it is exactly one SELECT over existing datasets with allowed functions only.

        Args:
            query: What somebody wrote.
            at: The snapshot whose datasets count; None: the newest.
            deltas: Whether it may read what has changed since a view's last refresh: `DELTA(TABLE x)`.
            relations: Names that a query of ours may read as well, see `Relation`; None: it is a user's query.

        Raises:
            QueryRefusedError: with what was seen, the rule and what to do.
            DatasetNotFoundError: it reads a dataset that does not exist, with the nearest names.
        """
        ...

    def describe(
        self, query: CheckedQuery, at: int | None = None, given: Mapping[str, Sequence[Column]] | None = None
    ) -> Sequence[Column]:
        """Return the columns that a query yields, without running it.

        Args:
            query: The checked query.
            at: The snapshot that it reads; None: the newest.
            given: Columns of datasets, by name, that are supposed in place of those that they have.

        Raises:
            QueryRefusedError: the query names a column that is not there, or the like.
        """
        ...

    def read(
        self,
        query: CheckedQuery,
        *,
        limit: int,
        at: int | None = None,
        relations: Mapping[str, Relation] | None = None,
    ) -> Rows:
        """Run a query as of a snapshot (None: the newest) and return its first `limit` rows.

        Changes of datasets are no `relations` for it: they are for `stage_query`, which sees to it that they are true.
        """
        ...

    def sample(
        self,
        source: str | CheckedQuery,
        *,
        at: int,
        rows: int,
        method: SampleMethod,
        seed: int = 0,
        columns: Sequence[str] | None = None,
        hidden: Collection[str] = (),
    ) -> SampledRows:
        """Return some rows of a dataset or of a query as of a snapshot; all of them where there are no more.

        Args:
            source: A dataset's name, or a checked query.
            at: The snapshot.
            rows: How many.
            method: `random`: each set of so many rows is as likely as another; `first`: those that come first.
            seed: Of random rows: the same yields the same rows of the same snapshot, until its files are rewritten.
            columns: Only these, in this order; None: all.
            hidden: Columns whose values are not read, in small letters.

        Raises:
            ColumnNotFoundError: there is no such column, with the nearest names.
            AmbiguousColumnError: a column is named twice, or there are several of that name.
        """
        ...

    def samples(self) -> Sequence[KeptSample]:
        """Return what is known of all samples, by name, without their rows."""
        ...

    def kept_sample(self, name: str) -> KeptSample:
        """Return a sample with its rows.

        Raises:
            SampleNotFoundError: there is none, with the nearest names.
        """
        ...

    def delete_sample(self, name: str) -> None:
        """Delete a sample.

        Raises:
            SampleNotFoundError: there is none, with the nearest names.
            PublishLockTimeoutError: the publish lock was not free in time.
        """
        ...

    def profile(
        self,
        dataset: str,
        *,
        at: int,
        columns: Sequence[str] | None,
        statistics: Collection[Statistic],
        histogram: HistogramOptions,
        hidden: Collection[str] = (),
    ) -> DatasetProfile:
        """Return statistics of a dataset's columns as of a snapshot.

        Args:
            dataset: The dataset's name.
            at: The snapshot.
            columns: Only these, in this order; None: all.
            statistics: Those that are wanted; of each column those are calculated that its type has.
            histogram: How finely histograms tell values apart.
            hidden: Columns of which nothing is calculated from which a value can be told, in small letters.

        Raises:
            ColumnNotFoundError: there is no such column, with the nearest names.
            AmbiguousColumnError: a column is named twice.
        """
        ...

    def statistics(self, dataset: str | None = None) -> Sequence[KeptStatistics]:
        """Return the statistics that are kept of a dataset, newest snapshot first; without columns of all, for None."""
        ...

    def versions(self, names: Sequence[str], at: int, pins: Mapping[str, int] | None = None) -> Sequence[SourceVersion]:
        """Return which contents of these datasets a query as of snapshot `at`, or of their own in `pins`, reads."""
        ...

    def changed(self, seen: SourceVersion, at: int) -> bool:
        """Return whether a dataset's contents at snapshot `at` may differ from those that were seen.

        True as well where it can't be known: table replaced, history expired. Compaction is no change.
        """
        ...

    def aged(self, dataset: str, moment: datetime) -> Aged | None:
        """Return which rows of a dataset were ingested at a moment or before; None where none is known to be so old.

        Only rows that were written with an `Ingestion` have an age. Compaction and expired snapshots do not change it.
        """
        ...

    def freshness(self, seen: Sequence[SourceVersion], at: int) -> Sequence[Freshness]:
        """Return the same of many contents, with the times at which they changed."""
        ...

    def delta_lost(self, seen: SourceVersion, at: int) -> str | None:
        """Return why it can't be told what has changed in a dataset since it was seen; None where it can.

        It was replaced, its columns were, or its history has expired.
        """
        ...

    def changes(self, seen: SourceVersion, at: int) -> Changes:
        """Return how much a dataset has changed since contents that were seen, up to snapshot `at`.

        Raises:
            ChangesUnknownError: it was replaced, its columns have changed, or its history can't be read.
            SnapshotNotFoundError: `at` does not exist.
        """
        ...

    def has_state(self, view: str, at: int) -> bool:
        """Return whether a view has a hidden state in a snapshot."""
        ...

    def snapshot_at(self, moment: datetime) -> int:
        """Return the newest snapshot that was there at a moment.

        Raises:
            SnapshotNotFoundError: there was none, or it has expired.
        """
        ...

    def scanned(self, query: CheckedQuery, at: int) -> Sequence[Scanned]:
        """Return what a query as of a snapshot would read of each of its datasets, without running it.

        Raises:
            QueryRefusedError: the query names a column that is not there, or the like.
        """
        ...

    def look(self, text: str, at: int, relations: Mapping[str, Relation]) -> Sequence[tuple[Any, ...]]:
        """Return what a query of ours yields over row samples, datasets and stages; checked as any query of ours.

        Raises:
            QueryRefusedError: the query is not allowed, or fails.
        """
        ...

    def row_samples(self) -> Sequence[RowSample]:
        """Return what is known of all samples of rows that estimates are made from, by name."""
        ...

    def keep_row_samples(self, job_id: UUID, token: int, samples: Sequence[tuple[RowSample, Stage | None]]) -> int:
        """Keep row samples in the place of those of their names, and forget those of datasets that are gone.

        Args:
            job_id: For whom.
            token: The attempt's fencing token.
            samples: Each with its staged rows; None: only what is known of it is kept.

        Returns:
            The snapshot in which they are there.
        """
        ...

    def stage_query(
        self,
        job_id: UUID,
        token: int,
        dataset: str,
        query: CheckedQuery,
        *,
        at: int,
        columns: Sequence[str] | None = None,
        partitioned_by: Sequence[str] = (),
        since: Mapping[str, SourceVersion | None] | None = None,
        pins: Mapping[str, int] | None = None,
        relations: Mapping[str, Relation] | None = None,
    ) -> Stage:
        """Run a query as of a snapshot and write its rows as files, outside any lock.

        Args:
            job_id: For whom.
            token: The attempt's fencing token.
            dataset: What the rows are for.
            query: The checked query.
            at: The snapshot that it reads.
            pins: Datasets that it reads at snapshots of their own.
            relations: What names in it stand for that are no datasets.
            columns: Keep exactly these columns of the query, in this order; None: all.
            partitioned_by: Keep the rows of each partition in files of their own, see `planes.partitioning`.
            since: For each dataset that the query reads with DELTA what was seen of it: DELTA yields the rows that have
                come or changed since, as they are now, and nothing for those that are gone. None: all its rows.

        Raises:
            DeltaLostError: it can't be told what has changed in a dataset since it was seen.
            WriteConflictError: files were compacted while their changes were being read.
            QueryRefusedError: DELTA reads a dataset that `since` does not name.
            InvalidPartitionError: a partition key is no column of the rows, or of a type that does not do.
            TooManyPartitionsError: the rows fall into too many partitions.
        """
        ...

    def stage_files(
        self,
        job_id: UUID,
        token: int,
        dataset: str,
        source: str,
        file_format: Literal["auto", "parquet", "csv", "json"],
        *,
        partitioned_by: Sequence[str] = (),
        sensitive: bool = False,
    ) -> Stage:
        """Read files and write their rows as files of the lake, outside any lock.

        Args:
            job_id: For whom.
            token: The attempt's fencing token.
            dataset: What the rows are for.
            source: A path or a glob; every file that it names must lie below the import roots.
            file_format: How to read them; `auto` tells by the file's ending.
            partitioned_by: Keep the rows of each partition in files of their own, see `planes.partitioning`.
            sensitive: Whether no message may quote a value of the files.

        Raises:
            InvalidPartitionError: a partition key is no column of the files, or of a type that does not do.
            TooManyPartitionsError: the rows fall into too many partitions.
            ImportRefusedError: the path is outside the import roots, is not a regular file, or names nothing.
            UnreadableFileError: a file can't be read in that format.
        """
        ...

    def claim(self, job_id: UUID, token: int) -> Published | None:
        """Say that this attempt is about to publish; return what an earlier attempt of the job has already published.

        Raises:
            FencedError: a higher token was seen.
        """
        ...

    def publish(
        self,
        job_id: UUID,
        token: int,
        writes: Sequence[Write],
        result: Mapping[str, Any],
        guard: Guard | None = None,
        keep: Sequence[KeptSample | KeptStatistics] = (),
    ) -> Published:
        """Make staged data visible, all of it in one transaction with the job's result, under the publish lock.

        Exactly once: a job that has published gets its recorded result back.

        Args:
            job_id: For whom.
            token: The attempt's fencing token.
            writes: What is written, one a dataset.
            result: The job's result, recorded with it.
            guard: Refuses by raising; it sees the datasets as they are under the lock.
            keep: What is kept beside the data: samples, each in the place of the one of its name, and statistics, in
                the place of those of the same dataset and snapshot.

        Raises:
            FencedError: the attempt does not hold the job's highest token.
            DatasetExistsError: `create` of what exists.
            DatasetNotFoundError: `append` to, `describe` or `drop` of what does not.
            ColumnMismatchError: `append` of other columns than the dataset has.
            WrongKindError: a dataset's rows for what is a view, or the reverse.
            OvertakenError: another writer has replaced the table since.
            PublishLockTimeoutError: the lock was not free in time; the message names its holder.
        """
        ...

    def published(self, job_id: UUID) -> Published | None:
        """Return what a job has published, or None."""
        ...

    def fence(self, job_id: UUID, token: int) -> None:
        """See to it that no attempt with a lower token than this can publish any more."""
        ...

    def discard(self, job_id: UUID, token: int) -> None:
        """Remove what an attempt staged and did not publish; what was published stays."""
        ...

    def interrupt(self) -> None:
        """Stop the query that is running, if one is."""
        ...

    def progress(self) -> float | None:
        """Return the share of the running query that is done, 0 to 1, or None."""
        ...

    def usage(self) -> PlaneUsage:
        """Return what was read and written through this object so far."""
        ...

    def close(self) -> None:
        """Release connections."""
        ...

    def __enter__(self) -> Self:
        """Return this plane, to be closed at the end of the block."""
        ...

    def __exit__(self, *exc_info: object) -> None:
        """Release connections."""
        ...
