"""What it costs that a flow is a job: a `@job` against a bare Prefect flow with the same body.

The body is one aggregation by DuckDB on one thread, as many rows as take this machine about a second of CPU; both
flows return the same small pydantic model. Everything is measured in turns (bare, job, bare, job) against a private
Prefect server on this machine, which is gone at the end:

- in one process: the call of the flow, from begin to return, with the body and with an empty one. Prefect's own
  heartbeats are off for both: the thread that sends them makes each call end on a whole second after its begin, which
  hides a small difference or shows it as a whole second. The CPU time of the process is less moved by what else runs;
- through a worker: from the creation of the run to Completed, by Prefect's own clock; both are deployed to a process
  pool, whose worker asks for work every 0.2 seconds to keep the wait for it out of the figures;
- one call of the hook that follows a state into the job table (SQLite).

The reconciler, which runs beside the worker in `narrative up`, does not run here.
"""

import os
import statistics
import sys
import time
from dataclasses import dataclass
from uuid import UUID

import harness
from hook_calls import hook_calls
from overhead_body import PROBE_ROWS, work
from private_prefect import BENCH, PrivatePrefect, private_prefect

BODY_SECONDS = 1.0
POOL = "bench"
POLL_SECONDS = 0.2
RUN_SECONDS = 180.0
"""How long one run through the worker may take before the bench gives up."""


@dataclass(frozen=True)
class Counts:
    """How often each thing is measured."""

    pairs: int
    empty_pairs: int
    worker_pairs: int
    hook_jobs: int
    """Each makes two calls of the hook."""


FULL = Counts(pairs=15, empty_pairs=15, worker_pairs=10, hook_jobs=200)
QUICK = Counts(pairs=2, empty_pairs=2, worker_pairs=1, hook_jobs=50)


def rows_for_body() -> int:
    """Return how many rows keep this machine busy for about a second, by CPU time."""
    work(1000)
    begin = time.process_time()
    work(PROBE_ROWS)
    return max(1, round(PROBE_ROWS * BODY_SECONDS / (time.process_time() - begin)))


def in_process(rows: int, pairs: int) -> list[harness.Pairs]:
    """Measure calls of the two flows in this process: seconds by the wall clock, and of CPU."""
    from overhead_bare import bare
    from overhead_job import narrative_job
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        return harness.interleaved(
            pairs,
            lambda: harness.seconds(lambda: bare(rows=rows)),
            lambda: harness.seconds(lambda: narrative_job(rows=rows)),
        )


def deploy() -> tuple[UUID, UUID]:
    """Deploy both flows to a pool of the bench's own and return the deployments' ids: the bare one, the job."""
    from overhead_bare import bare
    from overhead_job import narrative_job
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect_narrative.deployments.declarations import TAGS

    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        made = [
            client.create_deployment(
                client.create_flow(flow), "bench", work_pool_name=POOL, tags=tags, entrypoint=entrypoint, pull_steps=[]
            )
            for flow, tags, entrypoint in (
                (bare, [], "overhead_bare.bare"),
                (narrative_job, list(TAGS), "overhead_job.narrative_job"),
            )
        ]
    return made[0], made[1]


def through_worker(rows: int, pairs: int, deployments: tuple[UUID, UUID]) -> list[harness.Pairs]:
    """Measure runs of the two deployments, one after the other: whole, and in the two parts of `one_run`."""
    bare, other = deployments
    return harness.interleaved(pairs, lambda: one_run(bare, rows), lambda: one_run(other, rows))


def one_run(deployment: UUID, rows: int) -> tuple[float, float, float]:
    """Create a run, wait for it, and return its seconds: whole, until Running, and from there to Completed."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        run = client.create_flow_run_from_deployment(deployment, parameters={"rows": rows})
        until = time.monotonic() + RUN_SECONDS
        while run.state is None or not run.state.is_final():
            if time.monotonic() > until:
                raise RuntimeError(f"the run {run.id} is still {run.state}")
            time.sleep(0.5)
            run = client.read_flow_run(run.id)
    if not run.state.is_completed() or run.created is None or run.start_time is None:
        raise RuntimeError(f"the run {run.id} ended as {run.state}")
    created, started, ended = run.created, run.start_time, run.state.timestamp
    return (
        (ended - created).total_seconds(),
        (started - created).total_seconds(),
        (ended - started).total_seconds(),
    )


def memory(private: PrivatePrefect) -> tuple[int, int]:
    """Return the peak memory of a process that runs the flow once with an empty body: the bare one's, the job's."""
    scripts = [str(BENCH / f"{name}.py") for name in ("overhead_bare", "overhead_job")]
    bare, other = (harness.peak_memory_bytes([sys.executable, script], private.environment) for script in scripts)
    return bare, other


def main() -> None:
    """Measure and report."""
    given = harness.options(__doc__)
    counts = QUICK if given.quick else FULL
    harness.note("starting a private Prefect server")
    os.environ["PREFECT_LOGGING_LEVEL"] = "WARNING"
    with private_prefect() as private:
        rows = rows_for_body()
        deployments = deploy()
        in_process(0, 1)  # warm up: first connections, the job table's schema
        harness.note(f"in one process, a body of {rows:,} rows, {counts.pairs} pairs")
        body, body_cpu = in_process(rows, counts.pairs)
        harness.note(f"in one process, an empty body, {counts.empty_pairs} pairs")
        empty, _ = in_process(0, counts.empty_pairs)
        harness.note(f"the hook, {2 * counts.hook_jobs} calls")
        hook = list(hook_calls(counts.hook_jobs))
        peaks = None if given.quick else memory(private)
        harness.note("starting a worker")
        private.start_worker(POOL, poll_seconds=POLL_SECONDS)
        harness.note(f"through the worker, {counts.worker_pairs} pairs")
        if not given.quick:
            through_worker(0, 1, deployments)
        worker, worker_start, worker_run = through_worker(rows, counts.worker_pairs, deployments)

    lines = [["", "bare flow", "job", "added", "ratio", "its middle half"]]
    for name, pairs in (
        ("in one process, body of a second", body),
        ("  its CPU time", body_cpu),
        ("in one process, empty body", empty),
        ("through a worker, body of a second", worker),
        ("  creation to Running", worker_start),
        ("  Running to Completed", worker_run),
    ):
        base, other = statistics.median(pairs.base), statistics.median(pairs.other)
        low, high = pairs.ratio_range
        figures = [f"{base:.3f} s", f"{other:.3f} s", f"{1000 * pairs.added:+.0f} ms"]
        lines.append([f"{name} ({len(pairs.base)})", *figures, f"{pairs.ratio:.3f}", f"{low:.3f} - {high:.3f}"])
    if peaks:
        base, other = peaks
        added = [f"{(other - base) / 2**20:+.0f} MiB", f"{other / base:.3f}", ""]
        lines.append(["peak memory, empty body", f"{base / 2**20:.0f} MiB", f"{other / 2**20:.0f} MiB", *added])
    p50, p99 = (1000 * harness.percentile(hook, percent) for percent in (50, 99))
    lines.append([f"one hook ({len(hook)} calls)", "", f"p50 {p50:.1f} ms", f"p99 {p99:.1f} ms", "", ""])
    harness.report(
        given,
        "A job against the same body as a bare Prefect flow (in brackets: pairs of runs)",
        lines,
        {
            "overhead_ratio": body.ratio,
            "overhead_ratio_worker": worker.ratio,
            "overhead_ratio_empty": empty.ratio,
            "overhead_ratio_cpu": body_cpu.ratio,
            "overhead_added_ms": 1000 * body.added,
            "overhead_added_empty_ms": 1000 * empty.added,
            "overhead_added_worker_ms": 1000 * worker.added,
            "hook_p50_ms": p50,
            "hook_p99_ms": p99,
            "peak_memory_ratio": peaks[1] / peaks[0] if peaks else None,
            "runs": {
                "pairs": counts.pairs,
                "empty_pairs": counts.empty_pairs,
                "worker_pairs": counts.worker_pairs,
                "hook_calls": len(hook),
            },
        },
    )


if __name__ == "__main__":
    main()
