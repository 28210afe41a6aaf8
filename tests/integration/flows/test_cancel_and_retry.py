"""Cancelling and retrying as a person does it, on a real Prefect server; what a worker would set is set here."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from live_platform import Platform
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.states import Cancelled, Completed, Crashed, Failed, Pending, Running, Scheduled, State
from prefect_narrative.deployments import apply_deployments

from prefect_narrative.client import Client, JobEndedError, NotRetryableError, UnknownJobError
from prefect_narrative.jobs.outbox import Outbox
from prefect_narrative.jobs.prefect_runs import PrefectRuns
from prefect_narrative.jobs.reconciler import Reconciler
from prefect_narrative.jobs.record import Executor, JobId
from prefect_narrative.jobs.states import JobState
from prefect_narrative.settings import Settings

TYPE = "create-dataset"


@dataclass
class Person:
    """Somebody at the command line, and the worker that moves the runs."""

    client: Client
    prefect: SyncPrefectClient

    def job_in(self, *states: State) -> UUID:
        job_id = self.client.submit(TYPE, {"name": f"d{uuid4().hex[:8]}", "source": "s.csv"}).job_id
        for state in states:
            self.prefect.set_flow_run_state(job_id, state)
        return job_id

    def prefect_name(self, job_id: UUID) -> str | None:
        state = self.prefect.read_flow_run(job_id).state
        return state.name if state else None


@pytest.fixture
def person(platform: Platform) -> Iterator[Person]:
    apply_deployments()
    with Client(source="cli") as client, get_client(sync_client=True) as prefect:
        yield Person(client, prefect)


def test_a_job_that_waits_is_cancelled_at_once(person: Person) -> None:
    job_id = person.job_in()
    assert person.client.cancel(job_id).state is JobState.CANCELLED
    assert person.prefect_name(job_id) == "Cancelled"


def test_a_job_of_the_far_future_is_cancelled_at_once(person: Person) -> None:
    job_id = person.job_in(Scheduled(scheduled_time=datetime.now(UTC) + timedelta(days=300)))
    assert person.client.cancel(job_id).state is JobState.CANCELLED


def test_a_running_job_is_asked_to_cancel_once(person: Person) -> None:
    job_id = person.job_in(Pending(), Running())
    first = person.client.cancel(job_id)
    assert first.state is JobState.PENDING_CANCELLATION
    assert person.client.cancel(job_id) == first
    assert person.prefect_name(job_id) == "Cancelling"


@pytest.mark.parametrize("end", [Completed(), Failed(), Cancelled()], ids=lambda end: end.name)
def test_a_job_that_has_ended_is_not_cancelled(person: Person, end: State) -> None:
    job_id = person.job_in(Pending(), Running(), end)
    with pytest.raises(JobEndedError, match=str(job_id)):
        person.client.cancel(job_id)
    assert person.prefect_name(job_id) == end.name


def test_a_job_that_is_about_to_be_tried_again_can_be_cancelled(person: Person) -> None:
    job_id = person.job_in(Pending(), Running(), Crashed(message="its process was killed"))
    assert person.client.get(job_id).state is JobState.FAILED
    assert person.client.cancel(job_id).state is JobState.CANCELLED
    assert person.prefect_name(job_id) == "Cancelled"


@pytest.mark.parametrize(
    ("end", "kinds"), [(Failed(message="no"), ["internal"]), (Cancelled(), [])], ids=["failed", "cancelled"]
)
def test_a_retried_job_is_the_same_job_with_its_next_attempt(person: Person, end: State, kinds: list[str]) -> None:
    job_id = person.job_in(Pending(), Running(), end)
    before = person.client.get(job_id)
    again = person.client.retry(job_id)
    assert (again.job_id, again.state, again.attempt) == (job_id, JobState.PENDING, before.attempt + 1)
    assert [one.kind for one in again.failures] == kinds
    assert again.failures == before.failures
    assert again.ended_at is None
    assert person.prefect_name(job_id) == "AwaitingRetry"
    assert person.client.events(job_id)[-1].move == "reopening"


def test_a_job_that_runs_or_waits_is_not_retried(person: Person) -> None:
    job_id = person.job_in()
    with pytest.raises(NotRetryableError, match="pending"):
        person.client.retry(job_id)
    person.prefect.set_flow_run_state(job_id, Pending())
    person.prefect.set_flow_run_state(job_id, Running())
    with pytest.raises(NotRetryableError, match="running"):
        person.client.retry(job_id)


def test_a_completed_job_is_not_retried(person: Person, platform: Platform) -> None:
    job_id = person.job_in(Pending(), Running())
    person.client.get(job_id)
    store = platform.store()
    token = store.begin_attempt(JobId(job_id), Executor(host="h", pid=1)).token
    store.stage_result(JobId(job_id), token, {"rows": 1})
    person.prefect.set_flow_run_state(job_id, Completed())
    with pytest.raises(NotRetryableError, match="has completed"):
        person.client.retry(job_id)
    assert person.client.get(job_id).result == {"rows": 1}


def test_what_is_not_there_is_neither_cancelled_nor_retried(person: Person) -> None:
    for act in (person.client.cancel, person.client.retry):
        with pytest.raises(UnknownJobError):
            act(uuid4())


def test_a_job_whose_run_was_deleted_can_not_be_retried(person: Person) -> None:
    job_id = person.job_in(Pending(), Running(), Failed())
    person.client.get(job_id)
    person.prefect.delete_flow_run(job_id)
    with pytest.raises(NotRetryableError, match="deleted"):
        person.client.retry(job_id)


def test_a_job_that_completed_without_a_word_gets_what_it_had_published(person: Person, platform: Platform) -> None:
    """The result was lost between the data's commit and the job table; the publication has it."""
    job_id = person.job_in(Pending(), Running())
    person.client.get(job_id)
    store = platform.store()
    store.begin_attempt(JobId(job_id), Executor(host="h", pid=1), data_plane="default")
    person.prefect.set_flow_run_state(job_id, Completed())

    class Lake:
        def fence(self, *_: object) -> None: ...

        def published(self, plane: str | None, published_by: UUID) -> dict[str, object] | None:
            return {"rows": 3} if (plane, published_by) == ("default", job_id) else None

    assert person.client.get(job_id).failures[0].code == "no_result"
    Reconciler(store, Outbox(Settings().outbox), Lake()).sweep(PrefectRuns(person.prefect))
    job = store.get(JobId(job_id))
    assert job is not None
    assert (job.state, job.result, job.failures) == (JobState.COMPLETED, {"rows": 3}, ())
