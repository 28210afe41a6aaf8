"""`calculate-column-statistics` as a flow against a real server: result, artifact, and what failures say."""

import json

import pytest
from live_platform import SECRET, Platform, artifacts
from prefect_narrative.flows.calculate_column_statistics import calculate_column_statistics
from prefect_narrative.flows.create_dataset import create_dataset

from prefect_narrative.jobs.states import JobState
from prefect_narrative.profiles.dataset_profile import Statistics
from prefect_narrative.profiles.reading import profile


def shown(key: str) -> str:
    (found,) = artifacts(key)
    assert found.type == "markdown"
    return str(found.data)


def test_columns_are_measured_kept_and_shown(platform: Platform) -> None:
    (platform.imports / "staff.csv").write_text(f"id,email,pay\n1,{SECRET},10.5\n2,{SECRET},\n3,,1.5\n")
    platform.run(create_dataset, name="staff", source="staff.csv", sensitive_columns=["email"])
    with platform.plane() as plane:
        at = plane.snapshot()
    job = platform.run(calculate_column_statistics, dataset="staff")
    with platform.plane() as plane:
        kept = Statistics.of_kept(plane.statistics("staff")[0])
    sizes = [one.statistics["column_stored_bytes"] for one in kept.columns]
    assert all(size > 0 for size in sizes)
    assert job.result is not None
    assert (job.state, job.dataset, job.result["snapshot_id"], job.result["rows"]) == (
        JobState.COMPLETED,
        "staff",
        at,
        3,
    )
    assert job.result["columns"] == [
        {
            "column": "id", "type": "BIGINT", "value_count": 3, "null_value_count": 0, "completeness": 1.0,
            "count_distinct": 3, "column_stored_bytes": sizes[0], "flags": ["unique"], "redacted": False,
        },
        {
            "column": "email", "type": "VARCHAR", "value_count": 2, "null_value_count": 1, "completeness": 2 / 3,
            "count_distinct": 1, "column_stored_bytes": sizes[1], "flags": ["many nulls", "constant"], "redacted": True,
        },
        {
            "column": "pay", "type": "DOUBLE", "value_count": 2, "null_value_count": 1, "completeness": 2 / 3,
            "count_distinct": 2, "column_stored_bytes": sizes[2], "flags": ["many nulls", "unique"], "redacted": False,
        },
    ]  # fmt: skip
    assert (kept.head.job_id, kept.head.dataset, kept.head.columns) == (job.job_id, "staff", ("id", "email", "pay"))
    drawn = shown("profile-staff")
    assert SECRET not in drawn
    assert "| email | VARCHAR |" in drawn
    assert "sensitive" in drawn

    platform.run(calculate_column_statistics, dataset="staff", columns=["pay"], statistics=["mean"], as_of=at)
    assert "| pay | DOUBLE | \\- | \\- | \\- | \\- | 6 |" in shown("profile-staff"), "one artifact a dataset"
    with platform.plane() as plane:
        assert profile(plane, "staff").standing == {"fresh": 1, "stale": 0, "missing": 2}


@pytest.mark.parametrize(
    ("inputs", "code", "told"),
    [
        ({"dataset": "staf"}, "dataset_not_found", "Nearest: staff"),
        ({"dataset": "staff", "columns": ["payy"]}, "column_not_found", "Nearest: pay"),
        ({"dataset": "staff", "as_of": 99_999}, "snapshot_not_found", "There is no snapshot 99999, or it has expired"),
    ],
)
def test_what_can_not_be_measured_is_told(platform: Platform, inputs: dict[str, object], code: str, told: str) -> None:
    job = platform.run(calculate_column_statistics, **inputs)
    assert (job.state, len(job.failures), job.failures[0].code) == (JobState.FAILED, 1, code)
    assert told in job.failures[0].message
    assert job.failures[0].remedy


def test_the_form_knows_statistics_and_bounds() -> None:
    schema = calculate_column_statistics.parameters.model_dump()
    text = json.dumps(schema)
    assert '"maximum": 1000' in text
    assert "standard_deviation" in text
    assert schema["required"] == ["dataset"]
