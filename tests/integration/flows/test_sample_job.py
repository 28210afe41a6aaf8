"""`sample-dataset` as a flow against a real server: its result, its artifact, and what its failures say."""

import json

import pytest
from live_platform import SECRET, Platform, artifacts
from prefect_narrative.flows.artifacts import key_of
from prefect_narrative.flows.create_dataset import create_dataset
from prefect_narrative.flows.create_materialized_view import create_materialized_view
from prefect_narrative.flows.sample_artifact import LONGEST_CELL, cell, unique
from prefect_narrative.flows.sample_dataset import sample_dataset

from prefect_narrative.cli import samples
from prefect_narrative.jobs.states import JobState
from prefect_narrative.samples.showing import kept_sample


def shown(key: str) -> list[tuple[str, str]]:
    return [(str(one.description), str(one.data)) for one in artifacts(key)]


def test_a_sample_is_kept_shown_replaced_and_deleted(
    platform: Platform, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", platform.url)  # as a person has it who uses the commands
    (platform.imports / "people.csv").write_text(f"id,email,city\n1,{SECRET},Oslo\n2,{SECRET},Rome\n3,,Rome\n")
    platform.run(create_dataset, name="people", source="people.csv", sensitive_columns=["Email"], description="who")
    view = platform.run(create_materialized_view, name="mails", query="SELECT id, email AS e, city FROM people")
    assert view.state is JobState.COMPLETED
    with platform.plane() as plane:
        at = plane.snapshot()
        assert plane.dataset("people").properties == {
            "description": "who", "tags": [], "partitioned_by": [], "sensitive_columns": ["email"],
        }  # fmt: skip
        assert plane.dataset("mails").properties["sensitive_columns"] == ["e"]

    job = platform.run(sample_dataset, dataset="mails", rows=2, seed=11, columns=["e", "city", "id"])
    expected = {
        "dataset": "mails", "snapshot_id": at, "rows": 2, "method": "random", "seed": 11, "sample": "mails",
        "of_rows": 3, "columns": ["e", "city", "id"], "redacted": ["e"], "shortened": 0,
    }  # fmt: skip
    assert (job.state, job.result, job.dataset) == (JobState.COMPLETED, expected, "mails")
    with platform.plane() as plane:
        first = kept_sample(plane, "mails")
    assert [row[0] for row in first.rows] == ["<redacted>"] * 2
    [(told, data)] = shown("sample-mails")
    assert told == f"2 random rows (seed 11) of `mails` in snapshot {at}; of 3; redacted: e"
    assert json.loads(data) == [{"e": "<redacted>", "city": row[1], "id": row[2]} for row in first.rows]

    again = platform.run(sample_dataset, dataset="mails", method="first", as_of=at)
    assert again.result is not None
    assert (again.result["rows"], again.result["seed"], again.result["snapshot_id"]) == (3, None, at)
    assert [told for told, _ in shown("sample-mails")] == [
        f"3 first rows of `mails` in snapshot {at}; of 3; redacted: e"
    ]
    of_query = platform.run(sample_dataset, query="SELECT city, count(*) AS n FROM mails GROUP BY city")
    assert of_query.result is not None
    assert (of_query.result["dataset"], of_query.result["of_rows"], of_query.result["rows"]) == (None, None, 2)
    name = of_query.result["sample"]
    samples.list_samples(as_json=True)
    listed = [one["name"] for one in json.loads(capsys.readouterr().out)["samples"]]
    assert listed == sorted({*listed, "mails", name}), "beside those of other tests"
    assert len(artifacts(f"sample-{name}")) == 1
    samples.delete(name)
    assert artifacts(f"sample-{name}") == []


@pytest.mark.parametrize(
    ("inputs", "code", "told"),
    [
        ({"dataset": "mail"}, "dataset_not_found", "Nearest: mails"),
        ({"dataset": "people", "as_of": 999}, "snapshot_not_found", "There is no snapshot 999, or it has expired"),
        ({"query": "SELECT CAST(email AS DATE) AS d FROM people"}, "query_failed", "is withheld"),
    ],
)
def test_what_can_not_be_sampled_is_told(platform: Platform, inputs: dict[str, object], code: str, told: str) -> None:
    job = platform.run(sample_dataset, **inputs)
    assert (job.state, len(job.failures), job.failures[0].code) == (JobState.FAILED, 1, code)
    assert told in job.failures[0].message
    assert job.failures[0].remedy


def test_a_key_is_one_sample_s_alone() -> None:
    names = ["a_b", "a.b", "a__b", "a_b_", "query-0123456789ab"]
    keys = [key_of("sample", name, plane) for name in names for plane in ("default", "other")]
    assert len(set(keys)) == len(keys)
    assert all(set(key) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for key in keys)
    assert (key_of("sample", "by_city", "default"), key_of("sample", "query-01", "default")) == (
        "sample-by-city",
        "sample-query-01",
    )


def test_cells_are_short_and_names_differ() -> None:
    assert cell({"$shortened": "x" * 1000, "length": 12345}) == f"{'x' * LONGEST_CELL}… (12,345)"
    assert cell([1, {"a": "ü"}]) == '[1, {"a": "ü"}]'
    assert cell("y" * 300) == f"{'y' * LONGEST_CELL}…"
    assert [cell(value) for value in (None, True, 1.5, "z")] == [None, True, 1.5, "z"]
    assert unique(["a", "a", "b", "a"]) == ["a", "a (2)", "b", "a (3)"]
