"""Schedules of views against a real server: each view has exactly the refreshes it should, whatever happens."""

import json
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from live_platform import Platform
from prefect import Flow, State
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.flow_engine import run_flow
from prefect_narrative.deployments import apply_deployments
from prefect_narrative.flows.clean_up import clean_up
from prefect_narrative.flows.create_dataset import create_dataset
from prefect_narrative.flows.create_materialized_view import create_materialized_view
from prefect_narrative.flows.refresh_materialized_view import refresh_materialized_view
from prefect_narrative.flows.refresh_schedules import (
    NoScheduleError,
    pause_schedules,
    remove_schedules,
    resume_schedules,
    set_schedule,
)
from prefect_narrative.flows.standing_schedules import (
    Standing,
    next_ticks,
    read_standing,
    utc,
    waiting_runs,
)

from prefect_narrative.cli import main
from prefect_narrative.jobs.record import Job
from prefect_narrative.jobs.states import JobState
from prefect_narrative.planes import Write
from prefect_narrative.views.definition import ViewDefinition
from prefect_narrative.views.drift import of_view, orphans
from prefect_narrative.views.schedule import RefreshSchedule

Tick = tuple[str | None, datetime]
HOURLY = RefreshSchedule("0 * * * *", "UTC")
DAILY = RefreshSchedule("0 3 * * *", "Europe/Berlin")
PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "views.md"
DROP = "views drop by_city"
NOW_AND_THEN = "SELECT city, count(*) AS n, current_timestamp AS seen FROM trips GROUP BY city"


@pytest.fixture(scope="module")
def applied(platform: Platform) -> Iterator[SyncPrefectClient]:
    """A client of a server with our deployments, and a dataset."""
    apply_deployments()
    (platform.imports / "trips.csv").write_text("city,amount\nOslo,1\nRome,2\n")
    run(platform, create_dataset, name="trips", source="trips.csv", write_mode="overwrite")
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture(autouse=True)
def no_schedule_stays(applied: SyncPrefectClient) -> Iterator[None]:
    """Take all schedules away after each test."""
    yield
    found = standing(applied)
    assert found.deployment_id is not None
    for one in found.schedules:
        applied.delete_deployment_schedule(found.deployment_id, one.schedule_id)


def job_of(platform: Platform, state: State[Any]) -> Job:
    assert state.state_details.flow_run_id is not None
    record = platform.store().get(UUID(str(state.state_details.flow_run_id)))
    assert record is not None
    return record


def run(platform: Platform, flow: Flow[..., Any], **inputs: Any) -> Job:
    return job_of(platform, flow(**inputs, return_state=True))


def start(platform: Platform, waiting: FlowRun) -> Job:
    """Run what a schedule has made, as a worker would."""
    state = run_flow(
        refresh_materialized_view, flow_run=waiting, parameters=dict(waiting.parameters), return_type="state"
    )
    assert isinstance(state, State)
    return job_of(platform, state)


def standing(client: SyncPrefectClient) -> Standing:
    found = read_standing(client)
    assert found.deployment_id is not None
    return found


def told(client: SyncPrefectClient, view: str) -> list[tuple[str, bool]]:
    return [(one.told, one.active) for one in standing(client).of_view(view, "default")]


def waiting(client: SyncPrefectClient, views: set[str], **when: datetime) -> list[FlowRun]:
    """The runs that schedules have made for these views and nobody has taken, the earliest first."""
    deployment = standing(client).deployment_id
    assert deployment is not None
    found = waiting_runs(client, deployment, **when)
    return [one for one in found if one.created_by is not None and one.created_by.display_value in views]


def ticks(client: SyncPrefectClient, views: set[str], **when: datetime) -> list[Tick]:
    """When those runs start, each with its view: the earliest first."""
    found = [
        (one.created_by.display_value, utc(one.expected_start_time))
        for one in waiting(client, views, **when)
        if one.created_by is not None and one.expected_start_time is not None
    ]
    return sorted(found, key=lambda tick: (tick[1], str(tick[0])))


def let_make(client: SyncPrefectClient, first: datetime, last: datetime) -> None:
    """Let the server's scheduler make the runs of a time, as it would have if it had been that time."""
    span = {
        "start_time": first.isoformat(),
        "end_time": last.isoformat(),
        "min_time": (last - first).total_seconds(),
        "max_runs": 500,
    }
    client.request("POST", "/deployments/{id}/schedule", path_params={"id": standing(client).deployment_id}, json=span)


def look_again(client: SyncPrefectClient, first: datetime, last: datetime) -> None:
    """Let the server's scheduler look every 20 minutes, as it does while time goes by."""
    while first < last:
        let_make(client, first, last)
        first += timedelta(minutes=20)


def age(platform: Platform, view: str, by: timedelta) -> None:
    """Let a view look as if it had been refreshed that much earlier."""
    job = uuid4()
    with platform.plane() as plane:
        definition = ViewDefinition.of(plane.dataset(view))
        assert definition.refreshed_at is not None
        older = definition.model_copy(update={"refreshed_at": definition.refreshed_at - by})
        plane.claim(job, 1)
        plane.publish(job, 1, [Write(view, "describe", kind="view", properties=older.as_properties())], {})


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def drift_of(client: SyncPrefectClient, platform: Platform, view: str) -> list[str]:
    with platform.plane() as plane:
        wanted = ViewDefinition.of(plane.dataset(view)).schedule
    return [one.kind for one in of_view(view, view, wanted, standing(client).of_plane("default"))]


@pytest.mark.long  # Prefect makes hundreds of runs
def test_cadences_and_time_zones_around_a_change_of_clocks(platform: Platform, applied: SyncPrefectClient) -> None:
    schedules = {
        "hourly": RefreshSchedule("0 * * * *", "UTC"),
        "hourly_in_berlin": RefreshSchedule("0 * * * *", "Europe/Berlin"),
        "nightly_in_berlin": RefreshSchedule("30 2 * * *", "Europe/Berlin"),
        "midnight_in_berlin": RefreshSchedule("0 0 * * *", "Europe/Berlin"),
        "sundays_in_new_york": RefreshSchedule("0 0 * * 0", "America/New_York"),
        "workdays_in_new_york": RefreshSchedule("0 9 * * 1-5", "America/New_York"),
        "monthly_in_tokyo": RefreshSchedule("0 0 1 * *", "Asia/Tokyo"),
        "often_in_kolkata": RefreshSchedule("*/30 0-1 * * *", "Asia/Kolkata"),
    }
    for view, schedule in schedules.items():
        set_schedule(view, "default", schedule)

    def made(view: str, first: str, last: str) -> list[str]:
        found = ticks(applied, {view}, after=at(first), before=at(last))
        return [f"{moment:%m-%d %H:%M}" for _, moment in found]

    # Times that are yet to come: in 2030 Berlin sets its clocks forward on 31 March at 01:00 UTC, ...
    let_make(applied, at("2030-03-29T00:00"), at("2030-04-01T12:00"))
    look_again(applied, at("2030-03-31T00:10"), at("2030-03-31T02:00"))
    spring = ("2030-03-29T00:00", "2030-04-01T12:00")
    # Half past two is a time that one of these nights does not have.
    assert made("nightly_in_berlin", *spring) == ["03-29 01:30", "03-30 01:30", "03-31 00:30", "04-01 00:30"]
    assert made("midnight_in_berlin", *spring) == ["03-29 23:00", "03-30 23:00", "03-31 22:00"]
    assert made("hourly_in_berlin", "2030-03-30T23:00", "2030-03-31T03:00") == [
        "03-30 23:00", "03-31 00:00", "03-31 01:00", "03-31 02:00", "03-31 03:00",
    ]  # fmt: skip

    # ... and back on 27 October at 01:00 UTC, New York on 3 November at 06:00 UTC.
    let_make(applied, at("2030-10-26T20:00"), at("2030-10-27T04:00"))
    look_again(applied, at("2030-10-27T00:10"), at("2030-10-27T02:00"))
    night = ("2030-10-26T20:00", "2030-10-27T04:00")
    hours = ["10-26 20:00", "10-26 21:00", "10-26 22:00", "10-26 23:00", "10-27 00:00", "10-27 01:00", "10-27 02:00",
             "10-27 03:00", "10-27 04:00"]  # fmt: skip
    assert made("hourly", *night) == hours
    # The hour that comes twice has one refresh: cron goes by what the clock shows.
    assert made("hourly_in_berlin", *night) == [hour for hour in hours if hour != "10-27 01:00"]
    assert made("nightly_in_berlin", *night) == ["10-27 00:30"]
    assert made("midnight_in_berlin", *night) == ["10-26 22:00"]
    assert made("often_in_kolkata", *night) == ["10-26 20:00"]

    let_make(applied, at("2030-10-27T12:00"), at("2030-11-04T15:00"))
    week = ("2030-10-27T12:00", "2030-11-04T15:00")
    assert made("midnight_in_berlin", *week) == [
        *(f"10-{day} 23:00" for day in range(27, 32)), *(f"11-0{day} 23:00" for day in range(1, 4)),
    ]  # fmt: skip
    assert made("sundays_in_new_york", *week) == ["11-03 04:00"]
    assert made("workdays_in_new_york", *week) == [
        *(f"10-{day} 13:00" for day in range(28, 32)), "11-01 13:00", "11-04 14:00",
    ]  # fmt: skip
    assert made("monthly_in_tokyo", *week) == ["10-31 15:00"]
    assert made("often_in_kolkata", "2030-10-28T00:00", "2030-10-29T00:00") == [
        "10-28 18:30", "10-28 19:00", "10-28 19:30", "10-28 20:00",
    ]  # fmt: skip
    for view, schedule in schedules.items():
        assert remove_schedules(view, "default") == (str(schedule),)
    assert waiting(applied, set(schedules)) == []


@pytest.mark.parametrize(
    ("query", "order"),
    [
        pytest.param("SELECT city FROM trips", "newest first", id="of-a-source-newest-first"),
        pytest.param("SELECT city FROM trips", "oldest first", id="of-a-source", marks=pytest.mark.long),
        pytest.param(NOW_AND_THEN, "newest first", id="of-the-time-newest-first", marks=pytest.mark.long),
        pytest.param(NOW_AND_THEN, "oldest first", id="of-the-time", marks=pytest.mark.long),
    ],
)
def test_after_a_down_time_a_view_is_refreshed_once(
    platform: Platform, applied: SyncPrefectClient, query: str, order: str
) -> None:
    made = run(
        platform, create_materialized_view, name="missed", query=query, refresh_schedule="*/20 * * * *",
        if_exists="replace",
    )  # fmt: skip
    assert made.state is JobState.COMPLETED
    now = datetime.now(UTC)
    age(platform, "missed", timedelta(hours=2))
    if "FROM trips GROUP" not in query:
        run(platform, create_dataset, name="trips", source="trips.csv", write_mode="append")
    let_make(applied, now - timedelta(hours=1, minutes=10), now)
    missed = waiting(applied, {"missed"}, before=now)
    assert len(missed) in {3, 4}
    jobs = [start(platform, one) for one in (missed if order == "oldest first" else missed[::-1])]
    results = [job.result for job in jobs if job.result is not None]
    assert [job.state for job in jobs] == [JobState.COMPLETED] * len(missed)
    first, *others = [result["action"] for result in results]
    assert first in {"full", "incremental"}
    assert others == ["no_data"] * (len(missed) - 1)
    assert all("has been refreshed since" in result["reason"] for result in results[1:])
    assert [job.request_source.name for job in jobs] == ["missed"] * len(missed)
    # What somebody asks for is done all the same.
    asked = run(platform, refresh_materialized_view, view="missed", mode="full")
    assert asked.result is not None
    assert asked.result["action"] == "full"


def test_what_prefects_ui_makes_of_a_schedule_still_refreshes_its_view(
    platform: Platform, applied: SyncPrefectClient
) -> None:
    run(platform, create_materialized_view, name="toggled", query=NOW_AND_THEN, refresh_schedule="@hourly")
    (one,) = standing(applied).of_view("toggled", "default")

    def toggle(**change: Any) -> None:
        where = {"id": standing(applied).deployment_id, "schedule_id": one.schedule_id}
        applied.request("PATCH", "/deployments/{id}/schedules/{schedule_id}", path_params=where, json=change)

    toggle(active=False)
    assert drift_of(applied, platform, "toggled") == ["paused"]
    toggle(active=True)
    (after,) = standing(applied).of_view("toggled", "default")
    assert (after.parameters, after.view, after.active) == ({}, "toggled", True), "the server has forgotten them"
    assert drift_of(applied, platform, "toggled") == []
    age(platform, "toggled", timedelta(hours=2))
    now = datetime.now(UTC)
    let_make(applied, now - timedelta(hours=1), now)
    tick = waiting(applied, {"toggled"}, before=now)[0]
    assert tick.parameters == {}
    done = start(platform, tick)
    assert [failure.message for failure in done.failures] == []
    assert (done.state, done.dataset) == (JobState.COMPLETED, "toggled")
    assert done.result is not None
    assert (done.result["view"], done.result["action"]) == ("toggled", "full")
    lost = run(platform, refresh_materialized_view)
    assert [failure.code for failure in lost.failures] == ["no_view"]


def test_a_pause_leaves_out_what_was_missed_and_touches_no_other_view(
    platform: Platform, applied: SyncPrefectClient
) -> None:
    both = {"resting", "working"}
    soon = datetime.now(UTC)
    daily = RefreshSchedule(f"0 {(soon.hour + 12) % 24} * * *", "UTC")  # never due while this runs
    for view in both:
        set_schedule(view, "default", daily)
    coming = ticks(applied, both, after=soon)
    assert len(coming) >= 6
    assert pause_schedules("resting", "default") == (str(daily),)
    assert pause_schedules("resting", "default") == (str(daily),)
    assert told(applied, "resting") == [(str(daily), False)]
    assert ticks(applied, both, after=soon) == [tick for tick in coming if tick[0] == "working"]
    let_make(applied, soon - timedelta(days=3), soon)
    assert [view for view, _ in ticks(applied, both, before=soon)] == ["working"] * 3
    assert resume_schedules("resting", "default", daily) == (str(daily),)
    assert {view for view, _ in ticks(applied, both, before=soon)} == {"working"}, "nothing is made up for"
    assert ticks(applied, both, after=soon)[:6] == coming[:6]
    found = standing(applied)
    of_resting, of_working = found.of_view("resting", "default")[0], found.of_view("working", "default")[0]
    assert found.deployment_id is not None
    nearest = next_ticks(applied, found.deployment_id, [of_resting.schedule_id, of_working.schedule_id], soon)
    assert nearest == {of_resting.schedule_id: coming[0][1], of_working.schedule_id: coming[0][1]}
    with pytest.raises(NoScheduleError):
        pause_schedules("nobody", "default")
    with pytest.raises(NoScheduleError):
        resume_schedules("nobody", "default", None)


@pytest.mark.long  # several jobs
def test_what_is_due_outlives_the_removal_of_another_schedule(platform: Platform, applied: SyncPrefectClient) -> None:
    now = datetime.now(UTC)
    for view in ("late", "doomed"):
        set_schedule(view, "default", HOURLY)
    let_make(applied, now - timedelta(hours=3), now)
    set_schedule("younger", "default", HOURLY)
    views = {"late", "doomed", "younger"}
    due = [tick for tick in ticks(applied, views, before=now) if tick[0] == "late"]
    assert len(due) in {3, 4}
    remove_schedules("doomed", "default")
    assert ticks(applied, views, before=now) == due
    assert {view for view, _ in ticks(applied, views, after=now)} == {"late", "younger"}


@pytest.mark.long  # several jobs
def test_the_schedule_follows_the_definition_and_spares_what_operators_edit(
    platform: Platform, applied: SyncPrefectClient
) -> None:
    def define(**values: Any) -> Job:
        usual = {"name": "followed", "query": "SELECT city FROM trips", "if_exists": "replace"}
        made = run(platform, create_materialized_view, **{**usual, **values})
        assert made.state is JobState.COMPLETED
        return made

    def edit(**change: Any) -> None:
        (one, *_) = standing(applied).of_view("followed", "default")
        where = {"id": standing(applied).deployment_id, "schedule_id": one.schedule_id}
        applied.request("PATCH", "/deployments/{id}/schedules/{schedule_id}", path_params=where, json=change)

    define(refresh_schedule="0 3 * * *", timezone="Europe/Berlin")
    assert told(applied, "followed") == [(str(DAILY), True)]
    edit(schedule={"cron": "0 4 * * *", "timezone": "UTC"})
    edited = [("0 4 * * * in UTC", True)]
    assert drift_of(applied, platform, "followed") == ["edited"]
    apply_deployments()
    kept = run(
        platform, create_materialized_view, name="followed", query="SELECT 1 AS a", if_exists="keep",
    )  # fmt: skip
    assert kept.result is not None
    assert (kept.result["action"], kept.result["schedule"]) == ("kept", "0 3 * * *")
    assert "query, refresh_schedule and timezone is another" in kept.result["reason"]
    again = define(refresh_schedule="0 3 * * *", timezone="Europe/Berlin")
    assert again.result is not None
    assert (again.result["action"], again.result["reason"]) == (
        "replaced",
        "Its definition is as before, its rows are new.",
    )
    assert told(applied, "followed") == edited, "a definition that says what it said undoes nothing"
    edit(active=False)
    define(refresh_schedule="@hourly")
    assert told(applied, "followed") == [(str(HOURLY), False)], "another schedule is set, and stays paused"
    assert drift_of(applied, platform, "followed") == ["paused"]
    edit(schedule={"interval": 3600.0}, active=True)
    assert told(applied, "followed") == [("every 1:00:00", True)]
    assert resume_schedules("followed", "default", HOURLY, as_defined=True) == (str(HOURLY),)
    assert drift_of(applied, platform, "followed") == []
    remove_schedules("followed", "default")
    assert drift_of(applied, platform, "followed") == ["missing"]
    assert resume_schedules("followed", "default", HOURLY) == (str(HOURLY),)
    define(refresh_schedule="@once")
    assert told(applied, "followed") == []
    assert drift_of(applied, platform, "followed") == []


@pytest.mark.long  # several jobs
def test_a_dropped_view_takes_its_schedules_and_its_readers_along(
    platform: Platform, applied: SyncPrefectClient
) -> None:
    run(platform, create_materialized_view, name="base", query="SELECT city FROM trips", refresh_schedule="@daily")
    run(platform, create_materialized_view, name="upper", query="SELECT * FROM base", refresh_schedule="@hourly")
    set_schedule("orphan", "default", HOURLY)
    refused = run(platform, clean_up, drop=["base"], dry_run=False)
    assert [(one.code, one.detail) for one in refused.failures] == [
        ("has_dependants", {"dependants": ["upper"], "further": []})
    ]
    tried = run(platform, clean_up, drop=["base", "orphan"], dependants="drop")
    assert tried.result is not None
    dropped = [{"dataset": "upper", "kind": "view"}, {"dataset": "base", "kind": "view"}]
    assert [{key: one[key] for key in ("dataset", "kind")} for one in tried.result["dropped"]] == dropped
    assert tried.result["dry_run"] is True
    assert len(told(applied, "base")) == 1
    assert [one.view for one in orphans({"base", "upper"}, standing(applied).of_plane("default"))] == ["orphan"]
    done = run(platform, clean_up, drop=["base", "orphan"], dependants="drop", dry_run=False)
    assert done.result == {**tried.result, "dry_run": False, "snapshot_id": done.result and done.result["snapshot_id"]}
    assert done.result["schedules"] == [
        {"view": "base", "schedule": "0 0 * * * in UTC"},
        {"view": "orphan", "schedule": str(HOURLY)},
        {"view": "upper", "schedule": str(HOURLY)},
    ]
    assert [told(applied, view) for view in ("base", "upper", "orphan")] == [[], [], []]
    with platform.plane() as plane:
        assert not plane.exists("base")
        assert not plane.exists("upper")
        assert plane.exists("trips")
    gone = run(platform, clean_up, drop=["base"], dry_run=False)
    assert [one.code for one in gone.failures] == ["dataset_not_found"]


@pytest.mark.long  # several jobs
def test_what_a_killed_job_left_undone_is_found_and_the_next_one_does_it(
    platform: Platform, applied: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    flows = "prefect_narrative.flows"

    def die(*_: object, **__: object) -> None:
        raise RuntimeError("killed")

    inputs = {"name": "unfinished", "query": "SELECT city FROM trips", "refresh_schedule": "@daily"}
    with monkeypatch.context() as patch:
        patch.setattr(f"{flows}.create_materialized_view.set_schedule", die)
        died = run(platform, create_materialized_view, **inputs)
    assert died.state is JobState.FAILED
    assert drift_of(applied, platform, "unfinished") == ["missing"]
    run(platform, create_materialized_view, **inputs, if_exists="replace")
    assert drift_of(applied, platform, "unfinished") == []
    with monkeypatch.context() as patch:
        patch.setattr(f"{flows}.clean_up.remove_schedules", die)
        died = run(platform, clean_up, drop=["unfinished"], dry_run=False)
    assert died.state is JobState.FAILED
    assert [one.view for one in orphans({"x"}, standing(applied).of_plane("default"))] == ["unfinished"]
    done = run(platform, clean_up, drop=["unfinished"], dry_run=False)
    assert done.result is not None
    assert (done.result["dropped"], len(done.result["schedules"])) == ([], 1)
    assert told(applied, "unfinished") == []


def narrative(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Run a command in this process, and return its exit code and what it wrote to standard output."""
    capsys.readouterr()
    code = main(arguments)
    return code, capsys.readouterr().out


@pytest.mark.long  # several jobs
def test_the_commands_tell_how_views_stand(
    platform: Platform,
    applied: SyncPrefectClient,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", platform.url)
    run(
        platform, create_materialized_view, name="by_city", query="SELECT city, count(*) AS n FROM trips GROUP BY city",
        refresh_schedule="@daily", timezone="Europe/Berlin", if_exists="replace",
    )  # fmt: skip
    last = run(platform, refresh_materialized_view, view="by_city")
    set_schedule("gone", "default", HOURLY)
    (tick,) = waiting(applied, {"by_city"}, before=datetime.now(UTC) + timedelta(days=1))[:1]

    code, written = narrative(capsys, "views", "show", "by_city", "--json")
    shown = json.loads(written)
    assert (code, shown["freshness"], shown["stale_since"]) == (0, "fresh", None)
    assert shown["lineage"] == {"sources": ["trips"], "ancestors": ["trips"], "readers": [], "dependants": []}
    assert {name: shown["last_job"][name] for name in ("job_id", "state", "action", "reason")} == {
        "job_id": str(last.job_id),
        "state": "completed",
        "action": "no_data",
        "reason": "The sources are unchanged since the last refresh.",
    }
    assert tick.expected_start_time is not None
    assert datetime.fromisoformat(shown["schedules"]["next_tick"]) == utc(tick.expected_start_time)
    assert shown["schedules"]["drift"] == []

    commands = re.findall(r"^narrative (views .*)$", PAGE.read_text(), re.MULTILINE)
    assert len(commands) == 7
    told = {command: narrative(capsys, *shlex.split(command)) for command in commands if command != DROP}
    assert {code for code, _ in told.values()} == {0}
    assert "0 0 * * * in Europe/Berlin" in told["views list"][1]
    assert "gone: schedule orphan" in told["views list"][1]
    assert "The sources are unchanged" in told["views show by_city"][1]
    newest = told["views history by_city"][1].splitlines()[1:3]
    assert [line.split()[3] for line in newest] == ["no_data", "created"]
    assert told["views pause by_city"][1] == "by_city 0 0 * * * in Europe/Berlin paused\n"
    assert told["views resume by_city"][1] == "by_city 0 0 * * * in Europe/Berlin goes on\n"
    assert told[f"{DROP} --dry-run"][1] == (
        "view by_city would be dropped, 2 rows\nschedule of by_city would be removed: 0 0 * * * in Europe/Berlin\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        ("show by_sity", 3, "view_not_found"),
        pytest.param("history by_sity", 3, "view_not_found", marks=pytest.mark.long),
        pytest.param("pause by_sity", 3, "view_not_found", marks=pytest.mark.long),
        pytest.param("resume by_sity", 3, "view_not_found", marks=pytest.mark.long),
        ("drop by_sity", 3, "view_not_found"),
        ("show trips", 2, "not_a_view"),
        ("drop trips", 2, "not_a_view"),
        ("show 'x\x1b[31m; DROP TABLE trips'", 2, "invalid_name"),
        ("drop '../x'", 2, "invalid_name"),
        ("drop", 2, "usage"),
        ("drop x --cascade --force", 2, "usage"),
        ("history x -n 0", 2, "usage"),
    ],
)
def test_what_the_commands_refuse(
    applied: SyncPrefectClient,
    platform: Platform,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: str,
    code: int,
    error: str,
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", platform.url)
    seen, written = narrative(capsys, "views", *shlex.split(arguments), "--json")
    assert (seen, json.loads(written)["error"]["code"]) == (code, error)
    assert "\x1b" not in written
