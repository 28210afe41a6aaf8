"""A forecast of a query: what it would read, how many rows would come back, and how that is known."""

import re
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar
from uuid import UUID

from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.forecasts.counting import Reader, fixed_bytes
from prefect_narrative.forecasts.estimating import Estimating, Returned, bounds
from prefect_narrative.forecasts.estimators import Estimate
from prefect_narrative.forecasts.fingerprints import fingerprint
from prefect_narrative.forecasts.queries import UnknownShapeError, without_names
from prefect_narrative.forecasts.stored import Samples, Seen, Taken
from prefect_narrative.planes.errors import QueryRefusedError
from prefect_narrative.planes.plane import CheckedQuery, Column, Plane, Scanned
from prefect_narrative.planes.syntax import Parser
from prefect_narrative.views.sensitivity import Sensitivity

MOST_SECONDS = 20.0
"""Longest that samples are counted; then bounds are told."""
USUAL_TEXT_BYTES = 16
"""Of a value whose length is not known."""


class ForecastMomentError(NarrativeError, ValueError):
    """`as_of` is a snapshot's number, or a time in ISO-8601."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "forecast_moment"
    remedy = "Give as_of=12, or as_of=2026-03-01T12:00:00Z."


@dataclass(frozen=True)
class Forecast:
    """What is known of a query before it runs."""

    query: CheckedQuery
    fingerprint: str
    """The same for the same query, however it is laid out."""
    snapshot_id: int
    rows: Estimate
    result_bytes: Estimate | None
    """None: not known."""
    scanned: tuple[Scanned, ...]
    method: str
    limits: tuple[str, ...]
    """What is not known, for people."""
    fails: str | None
    """Why the query would fail when it runs; None: no reason was seen."""
    taken: tuple[Taken, ...]
    """Samples that were taken, or brought up to date, for this forecast."""
    sample_seconds: float
    """What all samples that were used took when they were taken."""
    seconds: float
    """What the forecast itself took."""
    exact: bool
    """Whether the rows were counted by running the query."""


@dataclass
class Forecaster:
    """Forecasts queries on one plane.

    Args:
        plane: The plane.
        job_id: For whom samples are taken.
        token: The attempt's fencing token.
        seed: Other seeds yield other samples.
    """

    plane: Plane
    job_id: UUID
    token: int
    seed: int = 0
    _parser: Parser | None = field(default=None, repr=False)
    _sensitivity: tuple[int, int, Sensitivity] | None = field(default=None, repr=False)
    _seen: Seen | None = field(default=None, repr=False)

    def forecast(self, query: str, *, exact: bool = False, as_of: str | int | None = None) -> Forecast:
        """Return a forecast.

        Args:
            query: One SELECT over datasets.
            exact: Whether the rows are counted, by running the query.
            as_of: A snapshot's number or a time; None: the newest.

        Raises:
            QueryRefusedError: the query is not allowed, or names a column that is not there.
            DatasetNotFoundError: it reads a dataset that does not exist.
            SnapshotNotFoundError: the snapshot does not exist, or has expired.
            ForecastMomentError: `as_of` is neither a number nor a time.
        """
        started = time.perf_counter()
        newest = self.plane.snapshot()
        at = newest if as_of is None else snapshot_of(self.plane, as_of)
        checked = self.plane.check(query, at)
        columns = self.plane.describe(checked, at)
        scanned = tuple(self.plane.scanned(checked, at))
        if self._sensitivity is None or self._sensitivity[:2] != (newest, at):
            self._sensitivity = (newest, at, Sensitivity(self.plane, at))
        sensitivity = self._sensitivity[2]
        hidden = {one.dataset: sensitivity.of_dataset(one.dataset) for one in scanned}
        samples = Samples(
            self.plane,
            self.job_id,
            self.token,
            at,
            self.seed,
            {one.dataset: one for one in scanned},
            hidden,
            newest,
            self._seen,
        )
        found = _Found(self, checked, at, columns, scanned, samples)
        if any(hidden.values()) and sensitivity.outputs(checked).rows:
            found.nothing("sensitive values decide which rows it yields, so nothing that follows from them is told")
        elif exact:
            found.count()
        else:
            found.estimate()
        self._seen = samples.seen
        return found.forecast(time.perf_counter() - started, exact=exact)

    def parser(self) -> Parser:
        """Return a parser, kept for the next forecast."""
        if self._parser is None:
            self._parser = Parser()
        return self._parser

    def close(self) -> None:
        """Release the parser."""
        if self._parser is not None:
            self._parser.close()
            self._parser = None


class _Found:
    """A forecast while it is being made."""

    def __init__(
        self,
        of: Forecaster,
        query: CheckedQuery,
        at: int,
        columns: Sequence[Column],
        scanned: tuple[Scanned, ...],
        samples: Samples,
    ) -> None:
        self._of = of
        self._query = query
        self._at = at
        self._columns = columns
        self._scanned = scanned
        self._datasets = {one.dataset: one for one in scanned}
        self._samples = samples
        self._reader = Reader(of.plane, of.parser(), at)
        self._returned = Returned(Estimate(0, 0, 0), None, "")
        self._limits: list[str] = []
        self._fails: str | None = None

    def nothing(self, why: str) -> None:
        """Tell bounds only."""
        node = self._reader.parser.tree(self._query.sql)["node"]
        self._returned = Returned(bounds(self._datasets, node), None, "bounds that hold for any query of its form")
        self._limits.append(f"The rows can't be estimated: {why}.")

    def count(self) -> None:
        """Count the rows, by running the query."""
        sizes = [
            f"coalesce(strlen(CAST(c{number} AS VARCHAR)), 0)"
            for number, column in enumerate(self._columns)
            if fixed_bytes(column.type) is None
        ]
        names = ", ".join(f"c{number}" for number in range(len(self._columns)))
        text = (
            f"SELECT count(*), sum({' + '.join(sizes) or '0'}), count(hash({names})) "  # noqa: S608  (a checked tree)
            f"FROM ({self._query.sql}) AS q({names})"
        )
        try:
            row = self._reader.rows(text, {})[0]
        except NarrativeError as error:
            self._fails = str(error)
            self.nothing("the query fails when it runs")
            return
        rows = float(row[0])
        fixed = sum(fixed_bytes(column.type) or 0 for column in self._columns)
        width = fixed + float(row[1] or 0) / rows if rows else float(fixed)
        self._returned = Returned(Estimate(rows, rows, rows), width, "counted: the query was run")

    def estimate(self) -> None:
        """Estimate the rows from samples."""
        node = self._reader.parser.tree(self._query.sql)["node"]
        estimating = Estimating(self._reader, self._samples, self._datasets, self._columns)
        late = threading.Event()

        def stop() -> None:
            late.set()
            self._of.plane.interrupt()

        timer = threading.Timer(MOST_SECONDS, stop)
        timer.daemon = True
        timer.start()
        try:
            self._returned = estimating.returned(without_names(node))
        except UnknownShapeError as error:
            self.nothing(f"it has {error}" if str(error).startswith("a ") else str(error))
        except NarrativeError as error:
            if late.is_set():
                self.nothing(f"counting on samples took more than {MOST_SECONDS:g} seconds")
            elif isinstance(error, QueryRefusedError) or error.kind in {FailureKind.INPUT, FailureKind.DATA}:
                self._fails = str(error)
                self.nothing("the query fails on rows of the sample, and so it would when it runs")
            else:
                raise
        finally:
            timer.cancel()
        self._limits += estimating.limits

    def forecast(self, seconds: float, *, exact: bool) -> Forecast:
        """Return what was found."""
        rows, width = self._returned.rows, self._returned.bytes_a_row
        if width is None:
            known = [fixed_bytes(column.type) for column in self._columns]
            width = float(sum(USUAL_TEXT_BYTES if one is None else one for one in known))
            if None in known and rows.high:
                self._limits.append(f"The bytes of a row are a guess: texts count {USUAL_TEXT_BYTES} each.")
        if not all(one.exact for one in self._scanned):
            self._limits.append("Fewer rows may be read: a predicate by which files are left out was not understood.")
        if self._query.volatile or self._query.random:
            names = ", ".join((*self._query.volatile, *self._query.random))
            self._limits.append(f"The result depends on when it is run: {names}.")
        size = Estimate(rows.rows * width, rows.low * width, rows.high * width)
        return Forecast(
            query=self._query,
            fingerprint=fingerprint(self._query.sql),
            snapshot_id=self._at,
            rows=rows,
            result_bytes=size,
            scanned=self._scanned,
            method=self._returned.method,
            limits=tuple(self._limits),
            fails=self._fails,
            taken=tuple(self._samples.taken),
            sample_seconds=sum(one.seconds for one in self._samples.used.values()),
            seconds=seconds,
            exact=exact and self._fails is None and rows.exact,
        )


def snapshot_of(plane: Plane, as_of: str | int | None) -> int:
    """Return the snapshot that `as_of` means."""
    if as_of is None:
        return plane.snapshot()
    text = str(as_of).strip()
    if re.fullmatch(r"\d{1,18}", text):
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ForecastMomentError(f"{text!r} is no snapshot's number and no time.") from error
    return plane.snapshot_at(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def forecast_once(
    plane: Plane, job_id: UUID, token: int, query: str, *, exact: bool, as_of: str | int | None
) -> Forecast:
    """Return one forecast, see `Forecaster.forecast`."""
    with closing(Forecaster(plane, job_id, token)) as forecaster:
        return forecaster.forecast(query, exact=exact, as_of=as_of)
