"""What the job table costs a run: one call of the hook, and the delay by a table that does not answer.

All in one warm process, for a job table in SQLite and in PostgreSQL, on this machine:

- one call of the hook that follows a run into the table (for each job one for Running, one for Completed), in turns
  with what any record in that database would cost: one bare INSERT of a row of the same size and its COMMIT, through
  the same driver. Its connection is open, as the hook's is;
- the call of a `@job` with an empty body, from begin to return, in turns with a table that answers and with one that is
  away during the whole of it: locked by somebody else, on a full disk, its server shut down, its server stopped in its
  tracks (SIGSTOP) while a connection is open, its host taking connections without a word, its host not even taking
  them. Each time the process waits for the table anew, as a flow's process does once. Prefect's own heartbeats are off,
  since their thread makes each call end on a whole second after its begin.

Disks can be filled only where this user may mount a small one; that line is left out elsewhere.
"""

import logging
import os
import socket
import sqlite3
import statistics
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import harness
from fault_suite.tables import ImpossibleHereError, Table, make_table
from hook_calls import hook_calls
from private_prefect import private_prefect

LATE_SECONDS = 30.0
"""How long a call that was given up may take to end once the table is back."""


@dataclass(frozen=True)
class Counts:
    """How often each thing is measured."""

    jobs: int
    """Each makes two calls of the hook."""
    pairs: int
    cases: frozenset[str]
    """How the table is away; see `delays`."""


_ALWAYS = frozenset({"sqlite locked", "postgresql down", "postgresql stopped", "host silent"})
_ALSO = frozenset({"sqlite disk full", "postgresql locked", "postgresql disk full", "host takes nobody"})
FULL = Counts(jobs=1000, pairs=10, cases=_ALWAYS | _ALSO)
QUICK = Counts(jobs=50, pairs=1, cases=_ALWAYS)


def hook_and_insert(url: str, jobs: int) -> harness.Pairs:
    """Measure bare inserts and calls of the hook in turns."""
    with table_at(url), bare_insert(url) as insert:
        for _ in hook_calls(10):
            insert()
        taken = [(harness.seconds(insert)[0], hook) for hook in hook_calls(jobs)]
    bases, others = zip(*taken, strict=True)
    return harness.Pairs(bases, others)


@contextmanager
def bare_insert(url: str) -> Iterator[Callable[[], None]]:
    """Give what commits one row, as big as a job's, through the driver alone."""
    from sqlalchemy import make_url

    from prefect_narrative.jobs.hooks import here

    size = row_bytes(here()[0])
    place = make_url(url)
    connection: Any
    if place.drivername == "sqlite":
        connection = sqlite3.connect(place.database or "", isolation_level=None, timeout=10)
        connection.execute("PRAGMA synchronous = NORMAL")
        begin, insert = "BEGIN IMMEDIATE", "INSERT INTO bare VALUES (?, ?)"
    else:
        import psycopg

        connection = psycopg.connect(url, autocommit=True)
        begin, insert = "BEGIN", "INSERT INTO bare VALUES (%s, %s)"
    with closing(connection):
        connection.execute("CREATE TABLE bare (id TEXT PRIMARY KEY, content TEXT)")

        def commit_one() -> None:
            connection.execute(begin)
            connection.execute(insert, (str(uuid4()), "x" * size))
            connection.execute("COMMIT")

        yield commit_one


def row_bytes(store: Any) -> int:
    """Return how long a job's record is, as JSON."""
    for _ in hook_calls(1):
        pass
    return len(store.page(limit=1).jobs[0].model_dump_json())


@contextmanager
def table_at(url: str) -> Iterator[Any]:
    """Let this process have its job table at a URL, as a process that has just begun; give the store."""
    from prefect_narrative.jobs.hooks import here, process_store

    os.environ["NARRATIVE_DATABASE_URL"] = url
    process_store.cache_clear()
    store = here()[0]
    try:
        yield store
    finally:
        for thread in threading.enumerate():
            if thread.name in {"narrative-job-table-dismissed", "narrative-pulse"}:
                thread.join(LATE_SECONDS)
        store.close()
        process_store.cache_clear()


def attempt(
    url: str, away: Callable[[], AbstractContextManager[Any]] = nullcontext, *, connected: bool
) -> tuple[float]:
    """Call the job while its table is away and return the seconds; `connected`: it was there until then."""
    from overhead_job import narrative_job

    from prefect_narrative.jobs.record import JobId

    with table_at(url) as store:
        if connected:
            store.get(JobId(uuid4()))
        with away():
            return (harness.seconds(lambda: narrative_job(rows=0))[0],)


def delays(sqlite: Table, postgresql: Table, counts: Counts) -> dict[str, harness.Pairs]:
    """Measure attempts with a table that answers and one that is away, in turns."""
    for table in (sqlite, postgresql):
        for _ in range(2):  # make the tables, warm up
            attempt(table.url, connected=False)
    cases: dict[str, tuple[Table, Callable[[], tuple[float]]]] = {
        "sqlite locked": (sqlite, lambda: attempt(sqlite.url, sqlite.locked, connected=True)),
        "sqlite disk full": (sqlite, lambda: attempt(sqlite.url, sqlite.full, connected=True)),
        "postgresql locked": (postgresql, lambda: attempt(postgresql.url, postgresql.locked, connected=True)),
        "postgresql disk full": (postgresql, lambda: attempt(postgresql.url, postgresql.full, connected=True)),
        "postgresql down": (postgresql, lambda: attempt(postgresql.url, postgresql.out_of_reach, connected=True)),
        "postgresql stopped": (postgresql, lambda: attempt(postgresql.url, postgresql.hung, connected=True)),
        "host silent": (postgresql, lambda: attempt_on_silent_host(full=False)),
        "host takes nobody": (postgresql, lambda: attempt_on_silent_host(full=True)),
    }
    found = {}
    for name, (table, away) in cases.items():
        if name not in counts.cases:
            continue
        harness.note(f"{name}, {counts.pairs} pairs")
        try:
            base = partial(attempt, table.url, connected=not name.startswith("host"))
            (found[name],) = harness.interleaved(counts.pairs, base, away)
        except ImpossibleHereError as error:
            harness.note(f"left out: {error}")
    return found


def attempt_on_silent_host(*, full: bool) -> tuple[float]:
    """Call the job while its table is to be at a host that never answers; `full`: whose queue takes nobody more."""
    with ExitStack() as ending:
        host = socket.socket()
        host.bind(("127.0.0.1", 0))
        host.listen(0)
        for _ in range(4 if full else 0):
            caller = ending.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(host.getsockname())
        url = f"postgresql://bench@127.0.0.1:{host.getsockname()[1]}/jobs"
        # At its end the host is gone, so that nothing waits for it any longer.
        return attempt(url, lambda: closing(host), connected=False)


def main() -> None:
    """Measure and report."""
    given = harness.options(__doc__)
    counts = QUICK if given.quick else FULL
    os.environ["PREFECT_LOGGING_LEVEL"] = "CRITICAL"
    logging.getLogger("prefect_narrative").setLevel(logging.CRITICAL)  # it says each time that the table is away
    harness.note("starting a private Prefect server and PostgreSQL")
    with (
        private_prefect() as private,
        tempfile.TemporaryDirectory(prefix="narrative-bench-", ignore_cleanup_errors=True) as folder,
        ExitStack() as end,
    ):
        from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

        tables = []
        for name in ("sqlite", "postgresql"):
            place = Path(folder) / name
            place.mkdir()
            tables.append(make_table(name, place))
            end.callback(tables[-1].end)
        end.enter_context(temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}))
        hooks = {}
        # The table that can be filled lies in memory; what a commit costs is measured on the disk that homes lie on.
        for name, url in (("sqlite", f"sqlite:///{private.home / 'hooks.sqlite'}"), ("postgresql", tables[1].url)):
            harness.note(f"{name}: the hook, {2 * counts.jobs} calls")
            hooks[name] = hook_and_insert(url, counts.jobs)
        away = delays(*tables, counts)
    report(given, counts, hooks, away)


def report(
    given: harness.Options, counts: Counts, hooks: dict[str, harness.Pairs], away: dict[str, harness.Pairs]
) -> None:
    """Print what was measured."""
    figures: dict[str, Any] = {}
    lines = [["", "without", "with", "added, most", "ratio", "its middle half"]]
    for name, pairs in hooks.items():
        low, high = pairs.ratio_range
        for percent in (50, 99):
            insert, hook = (1000 * harness.percentile(side, percent) for side in (pairs.base, pairs.other))
            figures |= {f"{name}_insert_p{percent}_ms": insert, f"{name}_hook_p{percent}_ms": hook}
            ratio = [f"{pairs.ratio:.1f}", f"{low:.1f} - {high:.1f}"] if percent == 50 else [f"{hook / insert:.1f}", ""]
            lines.append([f"{name}: bare insert, hook: p{percent}", f"{insert:.2f} ms", f"{hook:.2f} ms", "", *ratio])
        figures[f"{name}_hook_ratio"] = pairs.ratio
    for name, pairs in away.items():
        low, high = pairs.ratio_range
        most = max(other - base for base, other in zip(pairs.base, pairs.other, strict=True))
        base, other = (f"{statistics.median(side):.2f} s" for side in (pairs.base, pairs.other))
        added = f"{pairs.added:.2f}, {most:.2f} s"
        lines.append([f"{name}: an empty job", base, other, added, f"{pairs.ratio:.1f}", f"{low:.1f} - {high:.1f}"])
    seconds = {name: pairs.added for name, pairs in away.items()}
    ratios = {name: pairs.ratio for name, pairs in away.items()}
    most = max(other - base for pairs in away.values() for base, other in zip(pairs.base, pairs.other, strict=True))
    figures |= {"delay_seconds": seconds, "delay_ratio": ratios, "delay_max_seconds": most}
    figures["runs"] = {"hook": 2 * counts.jobs, "delay": counts.pairs}
    title = f"What the job table costs a run: {2 * counts.jobs} calls of the hook, {counts.pairs} pairs of jobs"
    harness.report(given, title, lines, figures)


if __name__ == "__main__":
    main()
