"""What must be so: after each step of a row and its events, and in the end of the whole table."""

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import StateType

from prefect_narrative.errors import FailureKind
from prefect_narrative.jobs.record import Failure, Job, JobEvent, JobFilter, JobId, order_of
from prefect_narrative.jobs.retries import FORGOTTEN_AFTER, MAX_RETRIES
from prefect_narrative.jobs.row import is_guess
from prefect_narrative.jobs.states import MOVES, JobState, Move
from prefect_narrative.testing import MemoryJobStore
from tests.simulation.api import is_kept_ready, observed
from tests.simulation.attempts import Used
from tests.simulation.ears import heard
from tests.simulation.runs import OURS, TERMINAL, Run
from tests.simulation.world import World

RETRIED_WITHIN = timedelta(seconds=70)
PROJECTED = (
    "job_id",
    "type",
    "idempotency_key",
    "parent_job_id",
    "request_source",
    "tags",
    "waiting_for",
    "input",
    "created_at",
    "scheduled_for",
    "ended_at",
    "prefect",
)
"""What a row says as Prefect's run says it now, whatever was seen on the way."""


class Watch:
    """Looks at each row that was written, and at what it was before.

    Args:
        world: The simulated world.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._rows: dict[UUID, Job] = {}
        self._events: dict[UUID, list[JobEvent]] = {}
        self._at_rest: set[UUID] = set()
        self.least_attempt: Counter[UUID] = Counter()
        """How often the row was seen at rest and then not, each time as its run was at that moment."""

    def look(self) -> None:
        """Raise an AssertionError where a row or the world has broken a rule since the last look."""
        world = self._world
        errors = heard()
        assert not errors, errors[0]
        assert not world.violations, "\n".join(world.violations)
        touched, world.touched = world.touched, set()
        for job_id in touched:
            row = world.row_of(job_id)
            if row is None:
                continue
            events = list(world.table.events(JobId(job_id)))
            try:
                check_row(row, events)
                self._check_change(row, events, world.server.runs[job_id])
            except AssertionError as error:
                raise AssertionError(explained(world, row.job_id, row, error)) from error
            self._rows[job_id], self._events[job_id] = row, events

    def _check_change(self, row: Job, events: list[JobEvent], run: Run) -> None:
        before, old_events = self._rows.get(row.job_id), self._events.get(row.job_id, [])
        assert run.now.deployment_id == OURS, f"run {run.id} is not ours and has a row"
        assert events[: len(old_events)] == old_events, "events were changed"
        known = {state.id for state in run.states}
        assert row.prefect.state_id in known, f"{row.prefect} is no state of its run"
        state = next(one for one in run.states if one.id == row.prefect.state_id)
        if row.prefect.name == "Deleted":
            assert run.is_deleted, "a run counts as deleted that is there"
        else:
            assert (row.prefect.type, row.prefect.timestamp) == (state.type.value, state.timestamp)
        if state is run.state and row.state.terminal:
            self._at_rest.add(run.id)
        elif state is run.state and run.id in self._at_rest:
            self._at_rest.remove(run.id)
            self.least_attempt[run.id] += 1
        if before is None:
            return
        assert row.attempt >= before.attempt, "an attempt was taken back"
        assert row.token >= before.token, "a token was taken back"
        assert row.version >= before.version, "a version was taken back"
        assert before.created_at == row.created_at
        reported = {one.message for one in before.failures if not is_guess(one)}
        assert reported <= {one.message for one in row.failures}, "a reported failure was lost"
        if not self._world.clocks.was_set:
            assert order_of(row.prefect) >= order_of(before.prefect), "the row went back to an earlier state"


def check_row(row: Job, events: list[JobEvent]) -> None:
    """Raise an AssertionError where a row does not fit its own rules, or its events."""
    assert [event.number for event in events] == list(range(1, len(events) + 1)), "events do not count up"
    assert [event.from_state for event in events] == [None, *(event.to_state for event in events[:-1])], "no chain"
    assert events[-1].to_state is row.state, f"the last event says {events[-1].to_state}, the row {row.state}"
    for event in events:
        expected = Move.NORMAL if event.from_state is None else MOVES[event.from_state, event.to_state]
        assert event.move is expected, f"{event} is called wrongly"
        assert event.from_state is not event.to_state, f"{event} is no move"
    assert (row.ended_at is not None) == row.state.terminal, "ended_at is not set exactly while the job is at rest"
    assert (row.result is not None) == (row.state is JobState.COMPLETED), "a result is not there exactly when completed"
    assert row.waiting_for is None or row.state is JobState.PENDING
    attempts = [one.attempt for one in row.failures]
    assert attempts == sorted(set(attempts)), f"failures of attempts {attempts}"
    assert not attempts or attempts[-1] <= row.attempt, f"a failure of attempt {attempts[-1]}, at attempt {row.attempt}"
    last = next((one for one in row.failures if one.attempt == row.attempt), None)
    if row.state is JobState.FAILED:
        # A process that begins before the news of its start uses the next number already.
        assert last is not None or row.attempt - 1 in attempts, "failed without a failure"
    if row.state in {JobState.COMPLETED, JobState.CANCELLED}:
        assert last is None or not is_guess(last), f"{row.state} with a guess at why it failed"


class Judge:
    """Compares the whole table with the truth, once the world has come to rest.

    Args:
        world: The simulated world.
        watch: What it has looked at.
    """

    def __init__(self, world: World, watch: Watch) -> None:
        self._world = world
        self._watch = watch

    def judge(self) -> None:
        """Raise an AssertionError where the table is not the projection of the truth."""
        rows = {row.job_id: row for row in all_rows(self._world)}
        for run in self._world.server.runs.values():
            row = rows.pop(run.id, None)
            try:
                self._judge(run, row)
            except AssertionError as error:
                raise AssertionError(explained(self._world, run.id, row, error)) from error
        assert not rows, f"rows without a run: {list(rows)}"

    def _judge(self, run: Run, row: Job | None) -> None:
        if row is None:
            assert run.is_deleted or not self._must_have_row(run), "it has no row"
            return
        assert self._may_have_row(run), "it has a row"
        if run.is_deleted:
            assert row.state.terminal, "its run was deleted and it is not at rest"
            return
        ideal = self._ideal(run, row)
        assert row.state is ideal.state, f"it is {row.state}, not {ideal.state}"
        for name in PROJECTED:
            got, expected = getattr(row, name), getattr(ideal, name)
            assert got == expected, f"{name} is {got!r}, not {expected!r}"
        self._judge_start(run, row)
        self._judge_attempts(run, row)
        self._judge_failures(run, row, ideal)
        self._judge_usage(run, row)
        self._judge_retry(row)

    def _must_have_row(self, run: Run) -> bool:
        if run.now.deployment_id != OURS:
            return False
        if not is_kept_ready(run.now):
            return True
        # Prefect tells the time to the second.
        return bool(run.now.expected_start_time <= self._world.clocks.server().replace(microsecond=0))

    def _may_have_row(self, run: Run) -> bool:
        if run.now.deployment_id != OURS:
            return False
        left = len({one.type for one in run.states}) > 1
        was_due = run.now.expected_start_time <= self._world.clocks.server() or self._world.clocks.was_set
        return not run.now.auto_scheduled or left or was_due

    def _ideal(self, run: Run, row: Job) -> Job:
        """Return the row that Prefect's run alone makes, given the result that there is."""
        store = MemoryJobStore(clock=self._world.clocks.machine)
        seen = observed(run.now)
        result = self._result(run, row)
        if result is not None and seen.state is JobState.COMPLETED:
            # A result is staged on the row of a job that runs.
            before = seen.model_copy(update={"state": JobState.RUNNING, "ended_at": None})
            store.apply(before, cause="truth")
            store.stage_result(JobId(run.id), 0, result)
            return store.apply(seen, cause="truth", if_version=1)
        return store.apply(seen, cause="truth")

    def _result(self, run: Run, row: Job) -> dict[str, Any] | None:
        """Return the result that a completed job must show; None where there can't be any."""
        published = self._world.lake.results.get(run.id)
        if published is not None:
            assert row.result in (None, published), f"its result is {row.result}, not {published}"
            return published
        number = self._world.counts[run.id].number
        kept = [one for one in self._world.traces.get(run.id, ()) if one.result is not None]
        assert row.result is None or row.result in [one.result for one in kept], f"odd result {row.result}"
        current = [one.result for one in kept if one.has_kept and one.episode >= number]
        # What an earlier attempt had kept may still be there, or not: both are right.
        return row.result or (current[-1] if current else None)

    def _judge_start(self, run: Run, row: Job) -> None:
        starts = [one.timestamp for one in run.states if one.type is StateType.RUNNING]
        if not starts:
            assert row.started_at is None, f"it started at {row.started_at}, and its run never ran"
        elif not self._world.clocks.was_set:
            # Prefect takes the end of a run that ended before it ran for its start.
            assert row.started_at in {starts[0], run.now.start_time}, f"it started at {row.started_at}, not {starts[0]}"

    def _judge_attempts(self, run: Run, row: Job) -> None:
        count = self._world.counts[run.id]
        least = 1 + self._watch.least_attempt[run.id]
        # Where the clock was set back, an old message may pass for news, and a state for a new attempt.
        most = row.attempt if self._world.clocks.was_set else count.number + count.at_rest_at_begin
        assert least <= row.attempt <= most, f"it is at attempt {row.attempt}, not {least} to {most}"

    def _judge_failures(self, run: Run, row: Job, ideal: Job) -> None:
        traces = self._world.traces.get(run.id, [])
        reported = dict(item for one in traces for item in one.failures.items())
        surely = {message for message, is_sure in reported.items() if is_sure}
        got = [one.message for one in row.failures if not is_guess(one) and one.code != "cancelled_while_running"]
        assert len(got) == len(set(got)), f"a failure is there twice: {got}"
        assert surely <= set(got) <= set(reported), f"failures {got}, not {reported}"
        if row.state is JobState.FAILED:
            assert self._last(row).kind == self._expected_kind(row, ideal), f"{self._last(row)} for {ideal.failures}"

    @staticmethod
    def _last(row: Job) -> Failure:
        return max(row.failures, key=lambda one: one.attempt)

    def _expected_kind(self, row: Job, ideal: Job) -> Any:
        last = self._last(row)
        return ideal.failures[-1].kind if is_guess(last) else last.kind

    def _judge_retry(self, row: Job) -> None:
        """A job whose process died is tried again, twice, and within a while or not at all."""
        died = [one.attempt for one in row.failures if one.kind is FailureKind.INFRASTRUCTURE]
        if row.state is not JobState.FAILED or row.started_at is None or row.ended_at is None:
            return
        if row.attempt not in died or len(died) > MAX_RETRIES or self._world.clocks.was_set:
            return
        since = self._world.clocks.server() - row.ended_at
        assert not RETRIED_WITHIN < since < FORGOTTEN_AFTER, f"its process died {since} ago, and it is not tried again"

    def _judge_usage(self, run: Run, row: Job) -> None:
        traces = self._world.traces.get(run.id, [])
        least = len({one.token for one in traces if one.used is Used.YES})
        most = len({one.token for one in traces if one.used is not Used.NO})
        got = row.usage.read_rows or 0
        assert least <= got <= most, f"it has used {got} rows, not {least} to {most}"


def explained(world: World, job_id: UUID, row: Job | None, error: AssertionError) -> str:
    """Return what went wrong with a job, with all that happened to it."""
    states = " ".join(f"{one.name}@{one.timestamp:%H:%M:%S.%f}" for one in world.server.runs[job_id].states)
    traces = "\n".join(str(one) for one in world.traces.get(job_id, ()))
    diary = "\n".join(world.diary.get(job_id, ()))
    return f"{error}\nThe run: {states}\nThe row: {row}\nAttempts: {traces}\n{diary}"


def all_rows(world: World) -> Iterable[Job]:
    """Return all rows of the table, page by page."""
    cursor = None
    while True:
        page = world.table.page(JobFilter(), cursor=cursor, limit=500)
        yield from page.jobs
        cursor = page.cursor
        if cursor is None:
            return


def is_at_rest(world: World) -> bool:
    """Return whether no run is left that a dead process or worker holds."""
    for run in world.runs():
        held = run.type in {StateType.RUNNING, StateType.CANCELLING, StateType.PENDING} or run.waits_in_process
        if run.type in TERMINAL or not held or run.now.deployment_id != OURS or run.id in world.held:
            continue
        # A process that lives on from an earlier attempt does not start one that a worker has taken.
        if run.type is StateType.PENDING or not any(True for _ in world.processes_of(run)):
            return False
    return True
