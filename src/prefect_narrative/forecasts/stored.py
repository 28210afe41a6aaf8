"""Row samples that estimates are made from: how they are taken, kept up to date and found again.

A sample is of units: rows, or all rows with the same value of a key. Each unit gets a number between 0 and 1, a hash of
its id or key and of a seed, and is in the sample where that is below the sample's share (Bernoulli sampling; with a
key: Hadjieleftheriou, Yu, Koudas and Srivastava, Hashed samples, VLDB 2008).

Of a dataset that is joined to a sample, the rows are kept that belong to it: a join synopsis (Acharya, Gibbons,
Poosala and Ramaswamy, Join synopses for approximate query answering, SIGMOD 1999), so that a join of samples loses
nothing. Each of these rows has the least number of the units to which it belongs, so that a smaller share can be read
out of it.
"""

# ruff: noqa: S608  (identifiers are quoted, values are numbers; the plane checks the whole)

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from uuid import UUID

from prefect_narrative.planes.errors import ChangesUnknownError
from prefect_narrative.planes.names import dataset_name, quoted
from prefect_narrative.planes.plane import (
    ROW_ID,
    UNIT,
    ChangedRows,
    Column,
    KeptRows,
    Plane,
    Relation,
    RowSample,
    Scanned,
    SourceVersion,
    Stage,
    StoredRows,
)

TARGET_ROWS = 40_000
"""Rows of a sample."""
MOST_ROWS = 300_000
"""Rows that may be kept because they belong to a sample's."""
FEWEST_UNITS = 30
"""Where fewer units would be left for that, a dataset is read whole instead."""
OUTDATED = 0.05
"""Share of a dataset's rows that may have changed before its samples are brought up to date."""
OUTGROWN = 2.0
"""By how much a sample may outgrow `TARGET_ROWS` before its share is lowered."""
NUMBERS = 18446744073709551616.0
"""Of so many hashes each is as likely as another."""


@dataclass(frozen=True)
class Spec:
    """Which sample is meant."""

    dataset: str
    seed: int
    key: tuple[str, ...] = ()
    """By what rows are sampled together; none: one by one."""
    parent: "Spec | None" = None
    """The sample to which these rows belong; None: they are sampled themselves."""
    pairs: tuple[tuple[str, str], ...] = ()
    """By which columns of the parent, and of the dataset, they belong to it."""

    @property
    def name(self) -> str:
        """A name that follows from all of it."""
        return sha256(repr(self).encode()).hexdigest()[:20]

    @property
    def told(self) -> str:
        """What it is, for people."""
        if self.parent is not None:
            columns = ", ".join(column for _, column in self.pairs)
            return f"{self.dataset} by {columns}, of {self.parent.told}"
        return f"{self.dataset} by {', '.join(self.key)}" if self.key else self.dataset


@dataclass(frozen=True)
class Kept:
    """A sample that is there."""

    spec: Spec
    share: float
    """Units below it are in the sample; their chance to be."""
    rows: int
    of_rows: int
    """Rows of the dataset when it was taken."""
    snapshot_id: int
    table_id: int
    whole: bool
    """Nothing is kept: the dataset is to be read whole, since too many rows would belong to the sample."""
    distinct: Mapping[str, int]
    """Of a sample of rows: how many different values each column has in it."""
    absent: tuple[str, ...]
    """Sensitive columns, which were not taken."""
    seconds: float
    """What taking it, or bringing it up to date, took."""

    def unique(self, column: str) -> bool:
        """Return whether each row seems to have a value of its own in a column."""
        return self.rows > 0 and self.distinct.get(column) == self.rows


@dataclass(frozen=True)
class Taken:
    """A sample that was taken, or brought up to date, for a forecast."""

    sample: str
    how: str
    rows: int
    seconds: float


@dataclass
class Seen:
    """What was read of a plane's samples, for as long as its newest snapshot stays the same."""

    at: int
    """The newest snapshot, in which they were read."""
    heads: dict[str, RowSample]
    changed: dict[tuple[SourceVersion, int], bool] = field(default_factory=dict)
    """Whether contents may have changed up to a snapshot."""


@dataclass
class Samples:
    """The samples of one plane, for one forecast.

    Args:
        plane: The plane.
        job_id: For whom samples are taken.
        token: The attempt's fencing token.
        at: The snapshot that is read.
        seed: Other seeds yield other samples.
        datasets: What the query reads.
        hidden: The sensitive columns of each dataset, in small letters.
        newest: The newest snapshot.
        seen: What was read of the samples before, if that is still true.
    """

    plane: Plane
    job_id: UUID
    token: int
    at: int
    seed: int
    datasets: Mapping[str, Scanned]
    hidden: Mapping[str, frozenset[str]]
    newest: int
    seen: Seen | None = None
    taken: list[Taken] = field(default_factory=list)
    used: dict[str, Kept] = field(default_factory=dict)
    _heads: dict[str, RowSample] | None = None
    _seen_at: int = 0
    _fresh: dict[str, Kept] = field(default_factory=dict)

    def ensure(self, specs: Sequence[Spec]) -> dict[Spec, Kept]:
        """Return samples, each after its parent; those that are missing or outdated are taken now."""
        found: dict[Spec, Kept] = {}
        stages: dict[Spec, Stage | None] = {}
        new: list[tuple[RowSample, Stage | None]] = []
        for spec in specs:
            kept = self._fresh.get(spec.name) or self._known(spec)
            if kept is None or (spec.parent is not None and stages.get(spec.parent) is not None):
                started = time.perf_counter()
                kept, stage, how = self._take(spec, found, stages)
                seconds = time.perf_counter() - started
                kept = Kept(**{**kept.__dict__, "seconds": seconds})
                stages[spec] = stage
                new.append((RowSample(spec.name, spec.dataset, _head(kept)), stage))
                self.taken.append(Taken(spec.told, how, kept.rows, seconds))
            found[spec] = kept
        if new:
            self._seen_at = self.plane.keep_row_samples(self.job_id, self.token, new)
            known = self._known_heads()
            known |= {sample.name: sample for sample, _ in new}
        self._fresh |= {spec.name: kept for spec, kept in found.items()}
        self.used |= {spec.told: kept for spec, kept in found.items()}
        return found

    def relation(self, kept: Kept, below: float | None, *, unit: bool) -> KeptRows:
        """Return a sample's rows as a query reads them."""
        columns = self.datasets[kept.spec.dataset].columns
        absent = frozenset(kept.absent)
        return KeptRows(kept.spec.name, self._seen_at, columns, absent, below, unit)

    def _known_heads(self) -> dict[str, RowSample]:
        if self._heads is None:
            if self.seen is None or self.seen.at != self.newest:
                self.seen = Seen(self.newest, {one.name: one for one in self.plane.row_samples()})
            self._seen_at = self.newest
            self._heads = dict(self.seen.heads)
            versions = {
                SourceVersion(one.dataset, int(one.head["table_id"]), int(one.head["snapshot_id"]))
                for one in self._heads.values()
                if one.dataset in self.datasets and one.head["table_id"] == self.datasets[one.dataset].table_id
            }
            old = {one for one in versions if one.snapshot_id < self.at} - {
                one for one, at in self.seen.changed if at == self.at
            }
            if old:
                asked = sorted(old, key=lambda one: (one.name, one.snapshot_id))
                found = self.plane.freshness(asked, self.at)
                self.seen.changed |= {(one, self.at): now.changed for one, now in zip(asked, found, strict=True)}
        return self._heads

    def _known(self, spec: Spec) -> Kept | None:
        """Return a sample that is kept and may be used as it is."""
        found = self._known_heads().get(spec.name)
        if found is None:
            return None
        kept = _kept(spec, found.head)
        now = self.datasets[spec.dataset]
        hidden = self.hidden.get(spec.dataset, frozenset())
        if kept.table_id != now.table_id or not hidden <= set(kept.absent):
            return None
        return kept if not self._outdated(kept) else None

    def _outdated(self, kept: Kept) -> bool:
        seen = SourceVersion(kept.spec.dataset, kept.table_id, kept.snapshot_id)
        rows = max(1, self.datasets[kept.spec.dataset].of_rows)
        if self.at <= kept.snapshot_id:
            return abs(rows - kept.of_rows) > OUTDATED * rows
        if self.seen is not None and not self.seen.changed.get((seen, self.at), True):
            return False
        try:
            changes = self.plane.changes(seen, self.at)
        except ChangesUnknownError:
            return True
        return changes.inserted_rows + changes.deleted_rows > OUTDATED * rows

    def _columns(self, spec: Spec) -> list[Column]:
        hidden = self.hidden.get(spec.dataset, frozenset())
        return [one for one in self.datasets[spec.dataset].columns if one.name.casefold() not in hidden]

    def _take(
        self, spec: Spec, found: Mapping[Spec, Kept], stages: Mapping[Spec, Stage | None]
    ) -> tuple[Kept, Stage | None, str]:
        if spec.parent is not None:
            return self._take_belonging(spec, found[spec.parent], stages.get(spec.parent))
        rows = self.datasets[spec.dataset].of_rows
        head = self._known_heads().get(spec.name)
        if head is not None:
            refreshed = self._refresh(spec, _kept(spec, head.head))
            if refreshed is not None:
                return (*refreshed, "brought up to date")
        share = min(1.0, TARGET_ROWS / max(1, rows))
        names = [quoted(column.name) for column in self._columns(spec)]
        of, relations = self._all_rows(spec)
        row_id = [] if spec.key else [quoted(ROW_ID)]
        sql = (
            f"SELECT {', '.join([UNIT, *row_id, *names])} FROM (SELECT {self._unit(spec)} AS {UNIT}, * FROM {of}) AS s "
            f"WHERE {UNIT} < {share!r}"
        )
        stage = self._stage(spec, sql, relations)
        return self._described(spec, share, stage), stage, "taken"

    def _refresh(self, spec: Spec, kept: Kept) -> tuple[Kept, Stage] | None:
        """Return a sample of rows with what has changed since put in; None where that can't be told."""
        now = self.datasets[spec.dataset]
        hidden = self.hidden.get(spec.dataset, frozenset())
        if spec.key or kept.table_id != now.table_id or self.at < kept.snapshot_id or not hidden <= set(kept.absent):
            return None
        try:
            changes = self.plane.changes(SourceVersion(spec.dataset, kept.table_id, kept.snapshot_id), self.at)
        except ChangesUnknownError:
            return None
        if changes.deletes or changes.inserted_rows > now.of_rows / 2:
            return None
        share = kept.share
        while now.of_rows * share > OUTGROWN * TARGET_ROWS:
            share /= 2
        names = [quoted(column.name) for column in changes.columns if column.name.casefold() not in kept.absent]
        listed = ", ".join([UNIT, quoted(ROW_ID), *names])
        old = [Column(UNIT, "DOUBLE"), Column(ROW_ID, "BIGINT"), *self._columns(spec)]
        sql = f"SELECT {listed} FROM _kept WHERE {UNIT} < {share!r}"
        relations: dict[str, Relation] = {
            "_kept": KeptRows(spec.name, self._seen_at, tuple(old)),
            "_inserted": ChangedRows(changes, "inserted", ids=True),
        }
        sql += (
            f" UNION ALL SELECT {listed} FROM (SELECT {self._unit(spec)} AS {UNIT}, * FROM _inserted) AS s "
            f"WHERE {UNIT} < {share!r}"
        )
        stage = self._stage(spec, sql, relations)
        return self._described(spec, share, stage), stage

    def _take_belonging(self, spec: Spec, parent: Kept, staged: Stage | None) -> tuple[Kept, Stage | None, str]:
        relation: Relation = staged if staged is not None else self.relation(parent, None, unit=True)
        of = dataset_name(spec.dataset)
        table = f"{quoted(of.schema)}.{quoted(of.table)}"

        def joined(listed: str, share: float) -> str:
            asked = ", ".join(f"{quoted(one)} AS k{number}" for number, (one, _) in enumerate(spec.pairs))
            same = " AND ".join(
                f"b.{quoted(other)} IS NOT DISTINCT FROM k.k{number}" for number, (_, other) in enumerate(spec.pairs)
            )
            keys = f"SELECT {asked}, min({UNIT}) AS u FROM _parent WHERE {UNIT} < {share!r} GROUP BY ALL"
            return f"SELECT {listed} FROM {table} AS b JOIN ({keys}) AS k ON {same}"

        share = parent.share
        rows = int(self.plane.look(joined("count(*)", share), self.at, {"_parent": relation})[0][0])
        units = parent.share * MOST_ROWS / max(rows, 1)
        kept_units = parent.rows * min(1.0, MOST_ROWS / max(rows, 1))
        if rows > MOST_ROWS:
            share = units
        if rows > MOST_ROWS and kept_units < FEWEST_UNITS:
            return self._described(spec, parent.share, None), None, "too many rows belong to it: read whole"
        names = [f"b.{quoted(column.name)}" for column in self._columns(spec)]
        stage = self._stage(spec, joined(", ".join([f"k.u AS {UNIT}", *names]), share), {"_parent": relation})
        return self._described(spec, share, stage), stage, "taken"

    def _all_rows(self, spec: Spec) -> tuple[str, dict[str, Relation]]:
        if not spec.key:
            return "_rows", {"_rows": StoredRows(spec.dataset, self.at)}
        of = dataset_name(spec.dataset)
        return f"{quoted(of.schema)}.{quoted(of.table)}", {}

    def _unit(self, spec: Spec) -> str:
        """Return SQL for a unit's number; hashed twice, since the engine puts hashes together by XOR."""
        parts = [quoted(name) for name in spec.key] or [quoted(ROW_ID)]
        return f"CAST(hash(hash({', '.join(parts)}, {spec.seed})) AS DOUBLE) / {NUMBERS!r}"

    def _stage(self, spec: Spec, sql: str, relations: Mapping[str, Relation]) -> Stage:
        checked = self.plane.check(sql, self.at, relations=set(relations))
        return self.plane.stage_query(
            self.job_id, self.token, f"sample_{spec.name}", checked, at=self.at, relations=relations
        )

    def _described(self, spec: Spec, share: float, stage: Stage | None) -> Kept:
        distinct: dict[str, int] = {}
        if stage is not None and spec.parent is None and not spec.key and stage.rows:
            names = [column.name for column in self._columns(spec)]
            counts = ", ".join(f"count(DISTINCT {quoted(name)})" for name in names)
            row = self.plane.look(f"SELECT {counts} FROM _staged", self.at, {"_staged": stage})[0]
            distinct = {name.lower(): int(count) for name, count in zip(names, row, strict=True)}
        now = self.datasets[spec.dataset]
        return Kept(
            spec=spec,
            share=share,
            rows=0 if stage is None else stage.rows,
            of_rows=now.of_rows,
            snapshot_id=self.at,
            table_id=now.table_id,
            whole=stage is None,
            distinct=distinct,
            absent=tuple(sorted(self.hidden.get(spec.dataset, frozenset()))),
            seconds=0.0,
        )


def _head(kept: Kept) -> dict[str, Any]:
    values = {name: value for name, value in kept.__dict__.items() if name != "spec"}
    return values | {"sample": kept.spec.told, "seed": kept.spec.seed}


def _kept(spec: Spec, head: Mapping[str, Any]) -> Kept:
    values = {name: value for name, value in head.items() if name not in {"sample", "seed"}}
    return Kept(spec=spec, **values | {"absent": tuple(values["absent"])})
