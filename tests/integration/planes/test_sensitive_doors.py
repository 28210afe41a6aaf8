"""No door shows a sensitive value: each way in which one could come out is tried, and what comes out is searched."""

import json
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from plane_samples import make_dataset, settings_for
from view_samples import after, make_view, refresh

from prefect_narrative.cli import datasets, samples
from prefect_narrative.errors import NarrativeError
from prefect_narrative.planes import Plane, Write, open_plane
from prefect_narrative.planes.errors import ColumnNotFoundError, OvertakenError, UnreadableFileError
from prefect_narrative.planes.sensitive import REDACTED, SENSITIVE, marks, marks_as_before
from prefect_narrative.samples.showing import kept_heads, kept_sample
from prefect_narrative.samples.taking import Request, take
from prefect_narrative.views.definition import ViewDefinition
from prefect_narrative.views.marking import ATTEMPTS, InheritedMarkError, mark
from prefect_narrative.views.sensitivity import SensitiveRowsError, Sensitivity

SECRET = "topsecret"
"""The value that must not come out."""
PEOPLE = f"SELECT i AS id, '{SECRET}' || i AS email, i % 2 AS team FROM range(4) t(i)"
MARKED = {SENSITIVE: ["email"]}


@pytest.fixture
def people(shared_plane: Plane) -> Plane:
    make_dataset(shared_plane, "people", PEOPLE, properties=MARKED)
    return shared_plane


def keep(plane: Plane, **wanted: object) -> str:
    job = uuid4()
    sample = take(plane, job, Request(**wanted), after(days=0))  # type: ignore[arg-type]
    plane.publish(job, 1, [], {}, keep=[sample.as_kept()])
    return sample.head.name


def failure_of(work: Callable[[], object]) -> NarrativeError:
    """Return the error, once all that a log would print of it has been searched."""
    with pytest.raises(NarrativeError) as caught:
        work()
    printed = "".join(traceback.format_exception(caught.value))
    assert SECRET not in printed
    assert SECRET not in json.dumps(caught.value.detail)
    return caught.value


def test_samples_hold_no_sensitive_value(people: Plane) -> None:
    for wanted in (
        {"dataset": "people"},
        {"dataset": "people", "columns": ["EMAIL"]},
        {"query": "SELECT * FROM people"},
        {"query": "SELECT id, upper(email) AS u FROM people"},
    ):
        name = keep(people, **wanted)
        kept = people.kept_sample(name)
        assert SECRET not in json.dumps([kept.head, kept.rows]).lower()
        sample = kept_sample(people, name)
        assert REDACTED in sample.rows[0]
        assert len(sample.head.redacted) == 1
    with pytest.raises(SensitiveRowsError):
        take(people, uuid4(), Request(query="SELECT id FROM people WHERE email > 'a'"), after(days=0))


def test_a_mark_that_is_set_later_counts_for_samples_that_are_there(people: Plane) -> None:
    make_dataset(people, "open", "SELECT 1 AS id, 'plain' AS note")
    names = [keep(people, dataset="open"), keep(people, query="SELECT note || '!' AS n, id FROM open")]
    assert [kept_sample(people, name).head.redacted for name in names] == [(), ()]
    make_dataset(people, "open", "SELECT 1 AS id, 'plain' AS note", properties={SENSITIVE: ["note"]})
    assert [kept_sample(people, name).head.redacted for name in names] == [("note",), ("n",)]
    assert all("plain" not in str(kept_sample(people, name).rows) for name in names)


def test_marks_are_set_and_taken_away_later(people: Plane) -> None:
    make_dataset(people, "later", "SELECT 1 AS id, 'x' AS Mail", properties={"description": "who"})
    make_view(people, "laters", "SELECT id, Mail || '!' AS m FROM later")
    assert mark(people, "later", ["MAIL"], sensitive=True) == ("Mail",)
    at = people.snapshot()
    assert mark(people, "later", ["mail"], sensitive=True) == ("Mail",)
    assert people.dataset("later").properties == {"description": "who", SENSITIVE: ["Mail"]}
    assert people.snapshot() == at, "what is marked already is not written again"
    assert Sensitivity(people).of_dataset("laters") == {"m"}
    assert mark(people, "laters", ["id"], sensitive=True) == ("id",)
    refresh(people, "laters", mode="full")
    assert ViewDefinition.of(people.dataset("laters")).hidden == {"id", "m"}
    with pytest.raises(InheritedMarkError, match=r"m of 'laters' can't lose the mark"):
        mark(people, "laters", ["m"], sensitive=False)
    assert mark(people, "laters", ["id"], sensitive=False) == ("m",)
    assert mark(people, "later", ["mail"], sensitive=False) == ()
    assert people.dataset("later").properties == {"description": "who"}
    assert Sensitivity(people).of_dataset("laters") == {"m"}, "its rows were made from sensitive ones"
    with pytest.raises(ColumnNotFoundError, match=r"'later' has no column 'Mai'. Nearest: Mail"):
        mark(people, "later", ["Mai"], sensitive=True)


def test_marks_are_set_though_others_write(people: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    make_dataset(people, "busy", "SELECT 1 AS id")
    publish, left = people.publish, [2]

    def slow(*given: object, **named: object) -> object:
        if left[0]:
            left[0] -= 1
            monkeypatch.setattr(people, "publish", publish)
            make_dataset(people, "busy", "SELECT 2 AS id", "append", properties={"description": f"{left[0]}"})
            monkeypatch.setattr(people, "publish", slow)
        return publish(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(people, "publish", slow)
    assert mark(people, "busy", ["id"], sensitive=True) == ("id",)
    assert people.dataset("busy").properties == {"description": "0", SENSITIVE: ["id"]}
    make_dataset(people, "busy", "SELECT 3 AS id", "append", properties={})
    left[0] = ATTEMPTS
    with pytest.raises(OvertakenError):
        mark(people, "busy", ["id"], sensitive=True)


def test_views_inherit_and_keep_what_they_were_made_from(people: Plane) -> None:
    make_view(people, "teams", "SELECT team, max(email) AS top, count(*) AS n FROM people GROUP BY team")
    make_view(people, "above", "SELECT n, top || '' AS t FROM teams")
    make_view(people, "chosen", "SELECT id FROM people WHERE email IS NOT NULL")
    make_view(people, "more", "SELECT team AS said, id FROM people", sensitive_columns=("said",))
    marked = {name: Sensitivity(people).of_dataset(name) for name in ("teams", "above", "chosen", "more")}
    assert marked == {"teams": {"top"}, "above": {"t"}, "chosen": {"id"}, "more": {"said"}}
    assert people.dataset("above").properties[SENSITIVE] == ["t"]
    # The mark is taken away: rows that were made from sensitive ones stay what they are, until they are made anew.
    make_dataset(people, "people", PEOPLE, properties={})
    assert Sensitivity(people).of_dataset("people") == frozenset()
    assert Sensitivity(people).of_dataset("teams") == {"top"}
    refresh(people, "teams", after(days=1), mode="full")
    assert Sensitivity(people).of_dataset("teams") == frozenset()
    assert Sensitivity(people).of_dataset("above") == {"t"}


def test_a_mark_reaches_views_that_were_made_before_it(people: Plane) -> None:
    make_dataset(people, "late", "SELECT 1 AS id, 2 AS salary")
    make_view(people, "copy", "SELECT id, salary + 1 AS s FROM late")
    make_view(people, "copy_of_copy", "SELECT s AS t, id FROM copy")
    assert Sensitivity(people).of_dataset("copy_of_copy") == frozenset()
    at = people.snapshot()
    make_dataset(people, "late", "SELECT 1 AS id, 2 AS salary", properties={SENSITIVE: ["salary"]})
    assert Sensitivity(people).of_dataset("copy_of_copy") == {"t"}
    assert Sensitivity(people, at).of_dataset("late") == {"salary"}, "also in snapshots from before"
    query = people.check(f"SELECT salary FROM late AT (VERSION => {at})")
    assert Sensitivity(people).of_query(query).has("salary")


def test_a_mark_that_is_gone_counts_where_it_stood(people: Plane) -> None:
    at = people.snapshot()
    make_dataset(people, "people", PEOPLE, properties={})
    query = people.check(f"SELECT email FROM people AT (VERSION => {at})")
    assert Sensitivity(people).of_query(query).has("email")
    assert not Sensitivity(people).of_query(people.check("SELECT email FROM people")).has("email")
    broken = people.check(f"SELECT CAST(email AS DATE) AS d FROM people AT (VERSION => {at})")
    assert "withheld" in str(failure_of(lambda: people.read(broken, limit=1)))


def test_append_views_keep_marks_of_rows_that_they_keep(people: Plane) -> None:
    make_view(people, "log", "SELECT id, email FROM DELTA(TABLE people)", write_mode="append", merge_on=("id",))
    make_dataset(people, "people", PEOPLE, properties={})
    refresh(people, "log", after(days=1))
    assert ViewDefinition.of(people.dataset("log")).hidden == {"email"}


def test_a_view_whose_query_can_not_be_read_is_all_sensitive(people: Plane) -> None:
    make_view(people, "odd", "SELECT id FROM people")
    found = people.dataset("odd")
    definition = ViewDefinition.of(found).model_copy(update={"query": "SELECT nothing_such(id) FROM people"})
    job = uuid4()
    write = Write("odd", "describe", kind="view", properties=definition.as_properties())
    people.publish(job, 1, [write], {})
    assert Sensitivity(people).of_dataset("odd") == {"id"}


def test_errors_of_the_engine_quote_none(people: Plane) -> None:
    make_view(people, "mails", "SELECT email AS e FROM people")
    at = people.snapshot()
    for text in (
        "SELECT CAST(email AS INTEGER) AS n FROM people",
        "SELECT error(email) FROM people",
        "SELECT strptime(email, '%Y') FROM people",
        "SELECT CAST(e AS DATE) FROM (SELECT email AS e FROM people)",
        "SELECT CAST(e AS DATE) FROM mails",
    ):
        checked = people.check(text)
        doors: tuple[Callable[[], object], ...] = (
            partial(people.read, checked, limit=5),
            partial(people.stage_query, uuid4(), 1, "copy", checked, at=at),
            partial(people.sample, checked, at=at, rows=5, method="random"),
        )
        for door in doors:
            error = failure_of(door)
            assert (error.code, error.__cause__, error.__context__) == ("query_failed", None, None)
            assert "withheld" in str(error)


def test_errors_about_what_is_not_sensitive_are_told(people: Plane) -> None:
    make_dataset(people, "plain", "SELECT 'visible' AS word")
    with pytest.raises(NarrativeError, match="visible"):
        people.read(people.check("SELECT CAST(word AS INTEGER) FROM plain"), limit=1)


def test_a_key_that_comes_twice_is_redacted(people: Plane) -> None:
    query = "SELECT email, team FROM people UNION ALL SELECT email, team FROM people"
    error = failure_of(lambda: make_view(people, "merged", query, write_mode="append", merge_on=("email", "team")))
    assert error.code == "duplicate_key"
    assert "email = <redacted>, team = " in str(error)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    monkeypatch.setenv("NARRATIVE_HOME", str(home))
    for name in ("PREFECT_API_URL", "PREFECT_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    settings = settings_for(home)
    with open_plane("default", settings.plane_directory("default"), settings) as plane:
        make_dataset(plane, "people", PEOPLE, properties=MARKED)
        keep(plane, dataset="people", rows=2, method="first")
    return home


def test_the_commands_show_none(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    datasets.query("SELECT * FROM people ORDER BY id", as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["rows"] == [[number, REDACTED, number % 2] for number in range(4)]
    datasets.query("SELECT email AS e, length(email) AS l, id FROM people ORDER BY id")
    assert capsys.readouterr().out.splitlines()[1].split() == [REDACTED, REDACTED, "0"]
    with pytest.raises(SensitiveRowsError):
        datasets.query(f"SELECT id FROM people WHERE email = '{SECRET}1'")
    datasets.show("people")
    datasets.list_datasets()
    samples.list_samples()
    samples.show("people")
    samples.show("people", as_json=True)
    out = capsys.readouterr().out
    assert SECRET not in out
    assert out.count(REDACTED) == 4
    samples.show("people", limit=1, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert (len(told["data"]), told["rows"], told["truncated"]) == (1, 2, True)
    samples.delete("people", as_json=True)
    assert json.loads(capsys.readouterr().out) == {"sample": "people", "deleted": True}
    with pytest.raises(NarrativeError, match="There is no sample 'people'"):
        samples.show("people")


def test_files_that_can_not_be_read_are_not_quoted(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "imports").mkdir(parents=True)
    (home / "imports" / "bad.csv").write_text(f'id,email\n1,{SECRET}\n2,"{SECRET}",{SECRET}\n')
    settings = settings_for(home)
    with open_plane("default", settings.plane_directory("default"), settings) as plane:

        def load(*, sensitive: bool) -> object:
            return plane.stage_files(uuid4(), 1, "x", "bad.csv", "auto", sensitive=sensitive)

        error = failure_of(lambda: load(sensitive=True))
        assert isinstance(error, UnreadableFileError)
        assert "bad.csv, line 3 can't be read as csv" in str(error)
        assert (error.__cause__, error.__context__) == (None, None)


def test_marks_are_said_kept_added_to_and_taken_away(people: Plane) -> None:
    columns = people.dataset("people").columns
    assert marks(columns, None, MARKED, "x") == ["email"]
    assert marks(columns, [], MARKED, "x") == []
    assert marks(columns, ["ID"], MARKED, "x") == ["id"]
    assert marks(columns, ["ID"], MARKED, "x", adds=True) == ["id", "email"]
    with pytest.raises(ColumnNotFoundError, match=r"The source has no column 'emial'. Nearest: email."):
        marks(columns, ["emial"], {}, "The source")


def test_marks_that_change_meanwhile_are_not_overwritten(people: Plane) -> None:
    before = people.dataset("people").properties
    make_dataset(people, "people", PEOPLE, properties={SENSITIVE: ["email", "team"]})
    job = uuid4()
    stage = people.stage_query(job, 1, "people", people.check("SELECT 1 AS id"), at=people.snapshot())
    write = Write("people", "replace", stage, properties=dict(before))
    with pytest.raises(OvertakenError, match="sensitive columns of 'people' have changed"):
        people.publish(job, 1, [write], {}, guard=marks_as_before("people", before))
    assert Sensitivity(people).of_dataset("people") == {"email", "team"}


def test_a_store_without_samples_is_empty(plane: Plane) -> None:
    assert kept_heads(plane) == []
    with pytest.raises(NarrativeError, match="There is no sample 'x'"):
        plane.kept_sample("x")
    with pytest.raises(NarrativeError, match="There is no sample 'x'"):
        plane.delete_sample("x")
