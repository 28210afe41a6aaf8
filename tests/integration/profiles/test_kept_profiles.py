"""Statistics that are kept: fresh, stale or missing, of which snapshot, and with nothing sensitive in them."""

import json
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from prefect_narrative.flows.statistics_artifact import markdown
from profile_samples import NOON, by_name, keep, make, measured

from prefect_narrative.cli import main
from prefect_narrative.planes.column_statistics import SHOWING_VALUES
from prefect_narrative.planes.ducklake import DuckLakePlane
from prefect_narrative.planes.errors import (
    AmbiguousColumnError,
    ColumnNotFoundError,
    DatasetNotFoundError,
    FencedError,
    SnapshotNotFoundError,
)
from prefect_narrative.planes.sensitive import SENSITIVE
from prefect_narrative.planes.statistics_store import KEPT_SNAPSHOTS
from prefect_narrative.profiles.calculating import NoStatisticsError, Request, calculate
from prefect_narrative.profiles.dataset_profile import Profile, Statistics
from prefect_narrative.profiles.page import page
from prefect_narrative.profiles.reading import StatisticsNotFoundError, profile

SECRET = "topsecret"


def standings(found: Profile) -> dict[str, tuple[str, int | None]]:
    return {column.name: (column.standing, column.snapshot_id) for column in found.columns}


def test_fresh_stale_and_missing(plane: DuckLakePlane) -> None:
    first = make(plane, "people", "SELECT i AS id, 'n' || i AS name FROM range(9) t(i)")
    with pytest.raises(StatisticsNotFoundError, match="There are no statistics of 'people'"):
        profile(plane, "people")
    kept = keep(plane, "people", columns=["id"])
    assert standings(profile(plane, "people")) == {"id": ("fresh", first), "name": ("missing", None)}
    assert [Statistics.of_kept(one) for one in plane.statistics("people")] == [kept]
    assert [(one.dataset, one.columns) for one in plane.statistics() if one.dataset == "people"] == [("people", [])]
    missing = next(one for one in profile(plane, "people").columns if one.name == "name")
    assert (missing.statistics, missing.flags, missing.rows) == ({}, (), None)

    make(plane, "other", "SELECT 1 AS x")
    assert standings(profile(plane, "people"))["id"] == ("fresh", first), "another dataset's change is none"
    second = make(plane, "people", "SELECT 10 AS id, 'new' AS name", "append")
    assert standings(profile(plane, "people")) == {"id": ("stale", first), "name": ("missing", None)}
    assert standings(profile(plane, "people", first)) == {"id": ("fresh", first), "name": ("missing", None)}
    keep(plane, "people", columns=["name"], statistics=["value_count"], as_of=second)
    assert standings(profile(plane, "people")) == {"id": ("stale", first), "name": ("fresh", second)}
    at = plane.snapshot()
    keep(plane, "people", columns=["name"], statistics=["count_distinct"], as_of=at)
    merged = next(one for one in profile(plane, "people").columns if one.name == "name")
    assert merged.statistics == {"value_count": 10, "count_distinct": 10}, "those of the same contents are added up"

    make(plane, "people", "SELECT 'x' AS id, 1 AS name")
    assert standings(profile(plane, "people")) == {"id": ("missing", None), "name": ("missing", None)}


def test_statistics_of_a_snapshot_are_replaced_and_old_ones_go(plane: DuckLakePlane) -> None:
    at = make(plane, "hourly", "SELECT 7 AS n")
    found = keep(plane, "hourly").as_kept()
    later = [replace(found, snapshot_id=at + number) for number in range(1, KEPT_SNAPSHOTS + 2)]
    plane.publish(uuid4(), 1, [], {}, keep=later)
    last = at + KEPT_SNAPSHOTS + 1
    assert [one.snapshot_id for one in plane.statistics("hourly")] == list(range(last, last - KEPT_SNAPSHOTS, -1))
    again = keep(plane, "hourly", statistics=["mean"], as_of=plane.snapshot())
    plane.publish(uuid4(), 1, [], {}, keep=[replace(again.as_kept(), snapshot_id=last)])
    kept = plane.statistics("hourly")
    assert len(kept) == KEPT_SNAPSHOTS
    assert kept[0].columns == [{**found.columns[0], "statistics": {"mean": 7.0}}]


def test_an_attempt_that_was_fenced_out_keeps_no_statistics(plane: DuckLakePlane) -> None:
    make(plane, "held", "SELECT 1 AS n")
    job = uuid4()
    plane.fence(job, 5)
    with pytest.raises(FencedError):
        plane.publish(job, 4, [], {}, keep=[measured(plane, "held").as_kept()])
    assert plane.statistics("held") == []


def test_no_sensitive_value_comes_out(plane: DuckLakePlane) -> None:
    query = f"SELECT i AS id, '{SECRET}' || i AS email, 424242 + i AS salary FROM range(40) t(i)"
    make(plane, "staff", query, properties={SENSITIVE: ["email", "salary"]})
    kept = keep(plane, "staff")
    found = by_name(kept)
    assert [(one.name, one.redacted) for one in kept.columns] == [("id", False), ("email", True), ("salary", True)]
    assert found["email"].statistics["count_distinct"] == 40
    assert not SHOWING_VALUES & set(found["salary"].statistics)
    shown = profile(plane, "staff")
    for text in (
        json.dumps([kept.model_dump(mode="json"), shown.model_dump(mode="json")]),
        str(plane.statistics("staff")),
        markdown(shown),
        page(shown, NOON),
    ):
        assert SECRET not in text
        assert "4242" not in text

    make(plane, "later", query)
    assert SECRET in str(keep(plane, "later"))
    make(plane, "later", query, properties={SENSITIVE: ["email"]})
    after = profile(plane, "later")
    assert SECRET not in str(after), "a mark that is set later counts for statistics that are there"
    assert [one.redacted for one in after.columns] == [False, True, False]


@pytest.mark.parametrize(
    ("wanted", "error", "told"),
    [
        (Request("stuff"), DatasetNotFoundError, "There is no dataset 'stuff' .* Nearest: staff"),
        (Request("wrong", columns=["idd"]), ColumnNotFoundError, "'wrong' has no column 'idd'. Nearest: id."),
        (Request("wrong", columns=["id", "ID"]), AmbiguousColumnError, "'id' is in columns twice"),
        (Request("wrong", as_of=99_999), SnapshotNotFoundError, "There is no snapshot 99999, or it has expired"),
        (Request("wrong", columns=[]), NoStatisticsError, "columns is an empty list"),
        (Request("wrong", statistics=[]), NoStatisticsError, "statistics is an empty list"),
    ],
)
def test_what_can_not_be_measured_is_told(
    plane: DuckLakePlane, wanted: Request, error: type[Exception], told: str
) -> None:
    make(plane, "staff", "SELECT 1 AS id")
    make(plane, "wrong", "SELECT 1 AS id")
    with pytest.raises(error, match=told):
        calculate(plane, uuid4(), wanted, NOON, lambda *_: None)


def test_progress_goes_from_none_to_all(plane: DuckLakePlane) -> None:
    make(plane, "steps", f"SELECT {', '.join(f'i AS c{number}' for number in range(60))} FROM range(3) t(i)")
    told: list[tuple[str, float, float]] = []
    calculate(plane, uuid4(), Request("steps"), NOON, lambda *step: told.append(step))
    assert told == [
        ("measuring c0 to c49 (50 of 60 columns)", 0.0, 50 / 60),
        ("measuring c50 to c59 (60 of 60 columns)", 50 / 60, 1.0),
    ]


HOSTILE = "<script>alert(1)</script>|`x`\n# y"


def test_hostile_names_and_values_are_shown_and_not_acted_upon(
    plane: DuckLakePlane, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = HOSTILE.replace("\n", " ")
    make(plane, "hostile", f"SELECT '{HOSTILE}' || i AS \"{name}\", '\x1b[2J' AS esc FROM range(3) t(i)")
    keep(plane, "hostile")
    shown = profile(plane, "hostile")
    table = markdown(shown).splitlines()
    assert len([line for line in table if line.startswith("|")]) == 4
    assert "<script" not in markdown(shown)
    text = page(shown, NOON + timedelta(hours=1))
    assert "<script" not in text
    assert not re.search(r"(src|href)=|https?://|@import|url\(", text), "it needs no network"

    monkeypatch.setenv("NARRATIVE_HOME", str(plane._settings.home))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    target = tmp_path / "page.html"
    assert main(["profile", "hostile"]) == 0
    drawn = capsys.readouterr().out
    assert "\x1b" not in drawn
    assert "\\x1b[2J" in drawn
    assert main(["profile", "hostile", "--html", str(target)]) == 0
    assert target.read_text().startswith("<!doctype html>")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    capsys.readouterr()
    assert main(["profile", "hostile", "--column", "esc", "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)["columns"]] == ["esc"]
    for arguments, code, told in (
        (["--html", str(tmp_path / "no" / "page.html")], 2, "can't be written: No such file or directory"),
        (["--html", str(target), "--json"], 2, "give one of them"),
        (["--column", "esk"], 3, "has no column 'esk'. Nearest: esc"),
        (["--snapshot", "0"], 3, "There are no statistics of 'hostile' in snapshot 0"),
    ):
        assert main(["profile", "hostile", *arguments]) == code
        captured = capsys.readouterr()
        assert told in captured.out + captured.err
