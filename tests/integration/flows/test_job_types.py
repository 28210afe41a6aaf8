"""The job types as flows against a real server: what they do, what they record, how they fail."""

import time
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from live_platform import Platform
from prefect import Flow, State
from prefect_narrative.flows.create_dataset import create_dataset
from prefect_narrative.flows.create_materialized_view import create_materialized_view
from prefect_narrative.flows.refresh_materialized_view import refresh_materialized_view
from pydantic import BaseModel

from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.jobs import retries
from prefect_narrative.jobs.context import current_job
from prefect_narrative.jobs.job import InvalidJobTypeError, job, step
from prefect_narrative.jobs.outbox import Outbox
from prefect_narrative.jobs.record import Progress
from prefect_narrative.jobs.sql import SqlJobStore
from prefect_narrative.jobs.states import JobState
from prefect_narrative.jobs.store import JobTableUnavailableError
from prefect_narrative.settings import Settings


def rows(platform: Platform, query: str) -> list[tuple[object, ...]]:
    with platform.plane() as plane:
        return list(plane.read(plane.check(query), limit=1000).rows)


def test_from_a_file_to_a_view_that_follows_it(platform: Platform, trips: str) -> None:
    made = platform.run(create_dataset, name="trips", source=trips, description="where we went", tags=["b", "a", "a"])
    assert made.state is JobState.COMPLETED
    assert made.result is not None
    assert made.result["rows"] == 3
    assert [column["name"] for column in made.result["columns"]] == ["day", "city", "amount"]
    assert (made.dataset, made.data_plane, made.attempt) == ("trips", "default", 1)
    assert made.usage.written_rows == 3
    assert made.usage.cpu_seconds
    assert made.executor is not None
    assert [event.to_state for event in platform.store().events(made.job_id)] == [JobState.RUNNING, JobState.COMPLETED]

    query = "SELECT city, sum(amount) AS total FROM trips GROUP BY city"
    view = platform.run(create_materialized_view, name="by_city", query=query)
    assert view.result == {
        "dataset": "by_city",
        "action": "created",
        "reason": "There was no view of this name.",
        "snapshot_id": view.result["snapshot_id"] if view.result else None,
        "rows": 2,
        "bytes": view.result["bytes"] if view.result else None,
        "schedule": None,
        "dependants": [],
        "statistics_job": None,
    }
    assert view.sources == ("trips",)
    assert rows(platform, "SELECT * FROM by_city ORDER BY city") == [("Oslo", 13.5), ("Rome", 7.0)]

    with platform.plane() as plane:
        before = plane.snapshot()
    unchanged = platform.run(refresh_materialized_view, view="by_city")
    assert unchanged.result is not None
    assert (unchanged.result["action"], unchanged.result["rows"]) == ("no_data", 2)
    with platform.plane() as plane:
        assert plane.snapshot() == before, "a refresh without news writes nothing"
        properties = plane.dataset("trips").properties
    assert properties["description"] == "where we went"
    assert properties["tags"] == ["a", "b"]

    platform.run(create_dataset, name="trips", source=trips, write_mode="append")
    refreshed = platform.run(refresh_materialized_view, view="by_city")
    assert refreshed.result is not None
    assert refreshed.result["action"] == "full"
    assert "trips" in refreshed.result["reason"]
    assert rows(platform, "SELECT total FROM by_city ORDER BY city") == [(27.0,), (14.0,)]
    forced = platform.run(refresh_materialized_view, view="by_city", mode="full")
    assert forced.result is not None
    assert forced.result["action"] == "full"


def test_a_view_is_brought_up_to_date_by_what_has_changed(platform: Platform) -> None:
    (platform.imports / "two.csv").write_text("city,people\nOslo,3\nRome,4\n")
    (platform.imports / "one.csv").write_text("city,people\nOslo,5\n")
    platform.run(create_dataset, name="visits", source="two.csv")
    query = "SELECT city, count(*) AS visits, sum(people) AS people FROM visits GROUP BY city"
    made = platform.run(create_materialized_view, name="visits_by_city", query=query)
    added = platform.run(create_dataset, name="visits", source="one.csv", write_mode="append")
    assert made.result is not None
    assert added.result is not None
    done = platform.run(refresh_materialized_view, view="visits_by_city", mode="incremental").result
    assert done is not None
    assert done["estimate"].keys() == {"full_seconds", "incremental_seconds", "changed_rows", "source_rows"}
    assert done["seconds"] > 0
    assert done == {
        "view": "visits_by_city",
        "action": "incremental",
        "reason": "Changed since the last refresh: visits; an incremental refresh was asked for.",
        "snapshot_id": done["base_snapshot"] + 2,  # the attempt's claim comes between
        "inserted_rows": 1,
        "deleted_rows": 1,
        "rows": 2,
        "sources": [
            {
                "dataset": "visits",
                "from_snapshot": done["sources"][0]["from_snapshot"],
                "to_snapshot": done["base_snapshot"],
            }
        ],
        "base_snapshot": done["base_snapshot"],
        "estimate": {**done["estimate"], "changed_rows": 1, "source_rows": 3},
        "seconds": done["seconds"],
        "children": [],
        "statistics_job": None,
    }
    assert rows(platform, "FROM visits_by_city ORDER BY city") == [("Oslo", 2, 8), ("Rome", 1, 4)]

    platform.run(create_materialized_view, name="middle", query="SELECT median(people) AS people FROM visits")
    platform.run(create_dataset, name="visits", source="one.csv", write_mode="append")
    refused = platform.run(refresh_materialized_view, view="middle", mode="incremental")
    assert (refused.state, refused.attempt, len(refused.failures)) == (JobState.FAILED, 1, 1)
    assert (refused.failures[0].kind, refused.failures[0].code) == (FailureKind.INPUT, "not_incremental")
    assert "median" in refused.failures[0].message
    auto = platform.run(refresh_materialized_view, view="middle").result
    assert auto is not None
    assert (auto["action"], auto["estimate"]) == ("full", None)
    assert "in full, since: " in auto["reason"]
    assert "median" in auto["reason"]


def test_a_view_keeps_its_rows_and_a_key_that_comes_twice_changes_nothing(platform: Platform) -> None:
    (platform.imports / "prices.csv").write_text("item,price\n1,10\n2,20\n")
    (platform.imports / "more.csv").write_text("item,price\n2,21\n3,30\n")
    (platform.imports / "twice.csv").write_text("item,price\n4,40\n4,41\n")
    platform.run(create_dataset, name="prices", source="prices.csv")
    query = "SELECT item, price FROM DELTA(TABLE prices)"
    for name, said in {"every_price": {}, "latest_price": {"merge_on": ["item"]}}.items():
        platform.run(create_materialized_view, name=name, query=query, write_mode="append", **said)
    platform.run(create_dataset, name="prices", source="more.csv", write_mode="append")
    for name, wanted in {
        "every_price": ("Changed since the last refresh: prices. Rows: 2 added.", 2, 0, 4),
        "latest_price": ("Changed since the last refresh: prices. Rows: 1 new, 1 replaced, 0 as they were.", 2, 1, 3),
    }.items():
        done = platform.run(refresh_materialized_view, view=name).result
        assert done is not None
        assert done["action"] == "incremental"
        assert (done["reason"], done["inserted_rows"], done["deleted_rows"], done["rows"]) == wanted
    latest = [(1, 10), (2, 21), (3, 30)]
    assert rows(platform, "FROM latest_price ORDER BY item") == latest

    platform.run(create_dataset, name="prices", source="twice.csv", write_mode="append")
    refused = platform.run(refresh_materialized_view, view="latest_price")
    assert (refused.state, refused.failures[0].kind, refused.failures[0].code) == (
        JobState.FAILED,
        FailureKind.DATA,
        "duplicate_key",
    )
    assert "item = 4" in refused.failures[0].message
    assert rows(platform, "FROM latest_price ORDER BY item") == latest


def test_view_keeps_its_columns_when_a_source_gains_one(platform: Platform) -> None:
    (platform.imports / "narrow.csv").write_text("a\n1\n")
    (platform.imports / "wide.csv").write_text("a,b\n1,2\n")
    platform.run(create_dataset, name="growing", source="narrow.csv")
    platform.run(create_materialized_view, name="all_of_it", query="SELECT * FROM growing")
    platform.run(create_dataset, name="growing", source="wide.csv", write_mode="overwrite")
    assert platform.run(refresh_materialized_view, view="all_of_it").state is JobState.COMPLETED
    with platform.plane() as plane:
        assert [column.name for column in plane.dataset("all_of_it").columns] == ["a"]


def test_view_of_the_time_is_never_up_to_date(platform: Platform) -> None:
    platform.run(create_materialized_view, name="today", query="SELECT current_date AS day")
    refreshed = platform.run(refresh_materialized_view, view="today")
    assert refreshed.result is not None
    assert refreshed.result["action"] == "full"
    assert "time" in refreshed.result["reason"]


@pytest.mark.parametrize(
    ("flow", "inputs", "code", "words"),
    [
        (create_dataset, {"name": "x", "source": "none.csv"}, "import_refused", "none.csv"),
        (create_dataset, {"name": "x", "source": "/etc/passwd"}, "import_refused", "/etc/passwd"),
        (create_dataset, {"name": "x", "source": "../../etc/passwd"}, "import_refused", "passwd"),
        (create_dataset, {"name": "taken", "source": "taken.csv"}, "dataset_exists", "taken"),
        (
            create_dataset,
            {"name": "absent", "source": "taken.csv", "write_mode": "append"},
            "dataset_not_found",
            "absent",
        ),
        (
            create_dataset,
            {"name": "taken_view", "source": "taken.csv", "write_mode": "overwrite"},
            "wrong_kind",
            "view",
        ),
        (create_dataset, {"name": "x", "source": "taken.csv", "data_plane": "moon"}, "plane_not_found", "moon"),
        (create_materialized_view, {"name": "taken", "query": "SELECT 1 AS a"}, "dataset_exists", "taken"),
        (create_materialized_view, {"name": "v", "query": "SELECT * FROM takn"}, "dataset_not_found", "taken"),
        (create_materialized_view, {"name": "v", "query": "SELECT random() AS r"}, "random_view", "random"),
        (create_materialized_view, {"name": "v", "query": "SELECT 1 AS a, 2 AS A"}, "duplicate_columns", "A"),
        (create_materialized_view, {"name": "v", "query": "DROP TABLE taken"}, "query_refused", ""),
        (
            create_materialized_view,
            {"name": "v", "query": "SELECT 1 AS a", "refresh_schedule": "@reboot"},
            "invalid_schedule",
            "@reboot",
        ),
        (
            create_materialized_view,
            {"name": "v", "query": "SELECT 1 AS a", "refresh_schedule": "61 * * * *"},
            "invalid_schedule",
            "61",
        ),
        (
            create_materialized_view,
            {"name": "v", "query": "SELECT 1 AS a", "timezone": "Mars/Olympus"},
            "invalid_time_zone",
            "Mars/Olympus",
        ),
        (refresh_materialized_view, {"view": "taken"}, "not_a_view", "taken"),
        (refresh_materialized_view, {"view": "nowhere"}, "dataset_not_found", "nowhere"),
    ],
)
def test_refusals_say_what_and_how_to_mend_it(
    platform: Platform, taken: None, flow: Flow[..., object], inputs: dict[str, str], code: str, words: str
) -> None:
    with platform.plane() as plane:
        before = [(one.name, one.rows, one.table_id) for one in plane.datasets()]
    refused = platform.run(flow, **inputs)
    assert refused.state is JobState.FAILED
    (failure,) = refused.failures
    assert failure.code == code
    assert failure.kind is FailureKind.INPUT
    assert words in failure.message
    assert len(failure.remedy) > 10
    assert not failure.retryable
    assert refused.ended_at is not None
    assert refused.result is None
    with platform.plane() as plane:
        assert [(one.name, one.rows, one.table_id) for one in plane.datasets()] == before


@pytest.fixture
def taken(platform: Platform) -> None:
    (platform.imports / "taken.csv").write_text("a\n1\n")
    with platform.plane() as plane:
        there = plane.exists("taken"), plane.exists("taken_view")
    if not there[0]:
        platform.run(create_dataset, name="taken", source="taken.csv")
    if not there[1]:
        platform.run(create_materialized_view, name="taken_view", query="SELECT a FROM taken")


def test_time_limit_interrupts_the_running_query(platform: Platform) -> None:
    began = time.monotonic()
    late = platform.run(
        create_materialized_view,
        name="endless",
        query="SELECT count(*) AS n FROM range(200000) a, range(200000) b, range(200) c",
        timeout_seconds=2,
    )
    assert time.monotonic() - began < 60
    assert [failure.code for failure in late.failures] == ["timed_out"]
    assert late.failures[0].kind is FailureKind.RESOURCE
    with platform.plane() as plane:
        assert not plane.exists("endless")


class Counted(BaseModel):
    n: int


class BusyError(NarrativeError):
    """Somebody else was first."""

    kind = FailureKind.CONFLICT
    code = "busy"
    remedy = "Wait."


def test_conflict_is_tried_again_and_each_failure_stays(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "BACKOFF", (timedelta(0),))

    @job(type="busy-twice")
    def busy_twice(until: int) -> Counted:
        if current_job().attempt.number < until:
            raise BusyError(f"attempt {current_job().attempt.number}")
        return Counted(n=current_job().attempt.number)

    done = platform.run(busy_twice, until=3)
    assert (done.state, done.attempt, done.result) == (JobState.COMPLETED, 3, {"n": 3})
    assert [(failure.attempt, failure.code, failure.retryable) for failure in done.failures] == [
        (1, "busy", True),
        (2, "busy", True),
    ]
    given_up = platform.run(busy_twice, until=9)
    assert (given_up.state, given_up.attempt) == (JobState.FAILED, 3)
    assert len(given_up.failures) == 3
    once = platform.run(busy_twice, until=9, max_retries=0)
    assert (once.state, once.attempt) == (JobState.FAILED, 1)


def test_what_can_not_end_otherwise_is_not_tried_again(platform: Platform) -> None:
    calls: list[int] = []

    @job(type="broken")
    def broken() -> Counted:
        calls.append(1)
        raise ValueError("no")

    failed = platform.run(broken)
    assert len(calls) == 1
    assert [(one.kind, one.code) for one in failed.failures] == [(FailureKind.INTERNAL, "internal_error")]


@pytest.mark.parametrize("name", ["Not A Name", "x\n", "\uff58", "x\u200b", "x\0", "", "a..b"])
def test_bad_inputs_of_a_direct_call_are_the_callers(platform: Platform, name: str) -> None:
    failed = platform.run(create_dataset, name=name, source="x")
    assert failed.state is JobState.FAILED
    assert failed.started_at is None
    assert [(one.kind, one.code) for one in failed.failures] == [(FailureKind.INPUT, "invalid_parameters")]
    assert "name" in failed.failures[0].message


def test_progress_is_in_the_row_and_in_prefect(platform: Platform) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    seen: list[Progress | None] = []

    @job(type="slow-one")
    def slow_one() -> Counted:
        context = current_job()
        context.progress("first half", until=0.5)
        time.sleep(2.2)
        context.progress("second half", start=0.5)
        time.sleep(1.5)
        row = platform.store().get(context.job_id)
        seen.append(row.progress if row else None)
        return Counted(n=1)

    done = platform.run(slow_one)
    assert seen[0] is not None
    assert (seen[0].message, seen[0].fraction) == ("second half", 0.5)
    with get_client(sync_client=True) as client:
        artifacts = client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[done.job_id]))
        )
    assert [(one.type, one.description) for one in artifacts] == [("progress", "second half")]


def test_job_goes_on_without_its_table_and_the_outbox_makes_up(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    @job(type="unseen")
    def unseen() -> Counted:
        return Counted(n=7)

    def down(*_: object, **__: object) -> None:
        raise JobTableUnavailableError("down")

    with monkeypatch.context() as patch:
        for method in ("apply", "begin_attempt", "stage_result", "add_usage", "beat", "set_progress", "add_failure"):
            patch.setattr(SqlJobStore, method, down)
        state: State[Counted] = unseen(return_state=True)
    assert state.is_completed()
    job_id = UUID(str(state.state_details.flow_run_id))
    assert platform.store().get(job_id) is None

    from prefect.client.orchestration import get_client

    from prefect_narrative.jobs.prefect_runs import PrefectRuns
    from prefect_narrative.jobs.reconciler import Reconciler

    with get_client(sync_client=True) as client:
        reconciler = Reconciler(platform.store(), Outbox(Settings().outbox))
        for _ in range(2):  # the first finds out that there is such a job
            reconciler.sweep(PrefectRuns(client))
        made_up = platform.store().get(job_id)
    assert made_up is not None
    assert (made_up.state, made_up.result, made_up.failures) == (JobState.COMPLETED, {"n": 7}, ())
    assert not list(Path(Settings().outbox).glob("*.json*"))


@pytest.mark.parametrize(
    ("type_name", "function", "words"),
    [
        ("Bad Name", lambda: None, "no name"),
        ("x", lambda: None, "pydantic"),
    ],
)
def test_functions_that_can_not_be_jobs_are_refused(type_name: str, function: object, words: str) -> None:
    with pytest.raises(InvalidJobTypeError, match=words):
        job(type=type_name)(function)  # type: ignore[arg-type,type-var]


def test_signature_rules() -> None:
    def unnamed(*args: int) -> Counted:
        return Counted(n=1)

    async def later() -> Counted:
        return Counted(n=1)

    def ours(timeout_seconds: int) -> Counted:
        return Counted(n=1)

    def lacking() -> Counted:
        return Counted(n=1)

    for function in (unnamed, later, ours):
        with pytest.raises(InvalidJobTypeError):
            job(type="x")(function)  # type: ignore[arg-type]
    with pytest.raises(InvalidJobTypeError, match="nothing"):
        job(type="x", dataset="nothing")(lacking)


def test_steps_are_tasks_that_operators_see(platform: Platform) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    @step(name="count")
    def count() -> int:
        return 3

    @job(type="stepped")
    def stepped() -> Counted:
        return Counted(n=count())

    done = platform.run(stepped)
    until = time.monotonic() + 30
    names: list[str] = []
    with get_client(sync_client=True) as client:
        while not names and time.monotonic() < until:  # task runs reach the server as events, a moment later
            runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[done.job_id])))
            names = [one.name for one in runs]
            time.sleep(0.2)
    assert len(names) == 1
    assert names[0].startswith("count")
