import json
from typing import Any

import pytest

from prefect_narrative.api.app import JobApi
from prefect_narrative.api.openapi import EXAMPLE
from prefect_narrative.jobs.document import record
from prefect_narrative.jobs.record import Job, JobEvent, JobFilter
from tests.unit.api.conftest import World, get


@pytest.fixture
def document(api: JobApi) -> Any:
    return get(api, "/openapi.json").json()


def test_every_field_is_described_by_the_records_own_words(document: Any) -> None:
    schemas = document["components"]["schemas"]
    undescribed = [
        f"{name}.{field}"
        for name, schema in schemas.items()
        for field, told in schema.get("properties", {}).items()
        if not told.get("description")
    ]
    assert undescribed == []
    assert set(schemas["JobRecord"]["properties"]) == {*Job.model_fields, "queue_seconds", "run_seconds"}
    assert set(schemas["JobEvent"]["properties"]) == set(JobEvent.model_fields)
    assert schemas["JobRecord"]["properties"]["result"]["description"] == (
        "What came of it; set exactly while the state is `completed`."
    )
    assert "None" not in json.dumps([schema.get("properties") for schema in schemas.values()])


def test_every_parameter_is_described(document: Any) -> None:
    parameters = {name: one["get"].get("parameters", []) for name, one in document["paths"].items()}
    assert {one["name"] for one in parameters["/v1/jobs"]} == {*JobFilter.model_fields, "limit", "cursor"}
    assert [one["name"] for one in parameters["/v1/jobs/{job_id}"]] == ["job_id", "wait"]
    assert all(one["description"] for found in parameters.values() for one in found)


def test_the_paths_are_those_that_are_served(document: Any) -> None:
    assert {path: list(operations) for path, operations in document["paths"].items()} == {
        "/v1/jobs": ["get"],
        "/v1/jobs/{job_id}": ["get"],
        "/v1/jobs/{job_id}/events": ["get"],
        "/v1/health": ["get"],
    }


def test_the_example_is_a_record(document: Any) -> None:
    answer = document["paths"]["/v1/jobs/{job_id}"]["get"]["responses"]["200"]
    assert answer["content"]["application/json"]["example"] == EXAMPLE
    known = {name: value for name, value in EXAMPLE.items() if name in Job.model_fields}
    assert record(Job(**known)) == EXAMPLE


def test_each_answer_has_an_example_that_fits_its_fields(document: Any) -> None:
    for operations in document["paths"].values():
        for answer in operations["get"]["responses"].values():
            content = answer["content"]["application/json"]
            name = content["schema"]["$ref"].rpartition("/")[2]
            assert set(content["example"]) == set(document["components"]["schemas"][name]["properties"])


def test_a_token_is_said_to_be_needed_where_it_is(world: World, document: Any) -> None:
    assert "securitySchemes" not in document["components"]
    api = world.api(token="t" * 16)
    told = get(api, "/openapi.json", headers={"Authorization": f"Bearer {'t' * 16}"}).json()
    api.close()
    needs = {path: "security" in operations["get"] for path, operations in told["paths"].items()}
    assert needs == {
        "/v1/jobs": True,
        "/v1/jobs/{job_id}": True,
        "/v1/jobs/{job_id}/events": True,
        "/v1/health": False,
    }
