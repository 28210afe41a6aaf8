from uuid import UUID

import pytest

from prefect_narrative.api.app import JobApi
from tests.unit.api.conftest import World, code_of, get

ONE = UUID(int=1)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("limit=0", "greater than or equal to 1"),
        ("limit=-1", "limit = '-1'"),
        ("limit=501", "less than or equal to 500"),
        (f"limit={10**30}", "less than or equal to 500"),
        (f"limit={'9' * 5000}", "limit = '999"),
        ("limit=many", "valid integer"),
        ("limit=nan", "valid integer"),
        ("limit=", "limit = ''"),
        ("state=done", "'pending', 'running', 'pending_cancellation', 'completed', 'failed' or 'cancelled'"),
        ("state=pending&state=", "state = ''"),
        ("state=PENDING", "state = 'PENDING'"),
        ("request_source=me", "'api', 'operator', 'schedule', 'cli' or 'job'"),
        ("created_from=yesterday", "ISO 8601"),
        ("created_from=2026", "ISO 8601"),
        ("created_from=1700000000", "ISO 8601"),
        ("created_from=2026-03-01T12:00:00+01:00", "%2B"),
        ("created_before=0001-01-01T00:00:00%2B23:00", "years 1 to 9999"),
        ("ended_from=9999-12-31T23:59:59-23:00", "years 1 to 9999"),
        ("ended_before=2026-03-01T12:00:00%00", "ISO 8601"),
        ("stat=failed", "There is no parameter 'stat': there are state, type"),
        ("%00=1", "no parameter '\\\\x00'"),
        ("type=a&type=b", "given 2 times"),
        ("limit=1&limit=1", "given 2 times"),
        ("wait=1", "no parameter 'wait'"),
    ],
)
def test_a_list_refuses_what_breaks_a_rule(query: str, said: str, api: JobApi) -> None:
    answer = get(api, f"/v1/jobs?{query}")
    assert (answer.status_code, code_of(answer)) == (422, "invalid_parameter")
    assert said in answer.text
    assert len(answer.text) < 700


@pytest.mark.parametrize("cursor", ["made-up", "", "%00", "%ED%A0%80", "a" * 60_000, "WzEsMl0", "bnVsbA", "e30"])
def test_a_cursor_that_no_page_gave_is_refused(cursor: str, api: JobApi) -> None:
    answer = get(api, f"/v1/jobs?cursor={cursor}")
    assert (answer.status_code, code_of(answer)) == (422, "invalid_cursor")
    assert len(answer.text) < 700


@pytest.mark.parametrize("name", ["type", "dataset", "data_plane", "tag"])
@pytest.mark.parametrize("value", ["%00", "%ED%A0%80", "%FF", "'; DROP TABLE jobs; --", "x" * 10_000, ""])
def test_a_name_that_no_job_has_finds_none(name: str, value: str, world: World, api: JobApi) -> None:
    world.add()
    answer = get(api, f"/v1/jobs?{name}={value}")
    assert (answer.status_code, answer.json()) == (200, {"jobs": [], "cursor": None})


@pytest.mark.parametrize("wait", ["nan", "inf", "-inf", "-1", "60.1", "1e999", "soon", "", "0x1", "1&wait=2", "%00"])
def test_a_wait_that_is_no_time_is_refused(wait: str, world: World, api: JobApi) -> None:
    world.add(job_id=ONE)
    answer = get(api, f"/v1/jobs/{ONE}?wait={wait}")
    assert (answer.status_code, code_of(answer)) == (422, "invalid_parameter")
    assert "wait" in answer.text


@pytest.mark.parametrize(
    "text", ["latest", "1", "%00", "%ED%A0%80", f"{ONE}x", f"{ONE}%00", "0" * 33, "z" * 60_000, "..%2Fhealth"]
)
@pytest.mark.parametrize("rest", ["", "/events"])
def test_what_is_no_id_is_refused(text: str, rest: str, api: JobApi) -> None:
    answer = get(api, f"/v1/jobs/{text}{rest}")
    assert (answer.status_code, code_of(answer)) in {(422, "invalid_parameter"), (404, "path_not_found")}
    if "%2F" not in text:
        assert "job_id = " in answer.text
    assert len(answer.text) < 700


def test_a_path_without_parameters_takes_none(api: JobApi) -> None:
    for path in ("/v1/health?verbose=1", f"/v1/jobs/{ONE}/events?limit=3", f"/v1/jobs/{ONE}?waitt=3"):
        answer = get(api, path)
        assert (answer.status_code, code_of(answer)) == (422, "invalid_parameter")
