from uuid import UUID

import httpx
import pytest

from prefect_narrative.api.access import is_loopback, names_loopback
from prefect_narrative.api.app import JobApi
from tests.unit.api.conftest import World, code_of, get, with_client

TOKEN = "s3cret-and-long-enough"
ONE, NOBODY = UUID(int=1), UUID(int=7)


@pytest.mark.parametrize(
    "host", [b"localhost", b"LOCALHOST:80", b"127.0.0.1", b"127.0.0.1:4711", b"127.1.2.3", b"[::1]", b"[::1]:4711"]
)
def test_loopback_has_these_names(host: bytes) -> None:
    assert names_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"evil.example",
        b"localhost.evil.example",
        b"127.0.0.1.evil.example",
        b"evil.localhost",
        b"localhost@evil.example",
        b"evil.example@localhost",
        b"127.0.0.1/x",
        b"127.0.0.1?x",
        b"127.0.0.1#x",
        b"127.0.0.1:port",
        b"127.0.0.1:99999",
        b"127.0.0.1, evil.example",
        b"0.0.0.0",
        b"10.0.0.1",
        b"2130706433",
        b"[::1",
        b"[::2]",
        b"::1",
        b"local\thost",
        b"loc\xe4lhost",
        b"\xff\xfe",
    ],
)
def test_others_are_refused_on_loopback(host: bytes, api: JobApi) -> None:
    assert not names_loopback(host)
    answer = get(api, "/v1/jobs", headers=[(b"Host", host)])
    assert (answer.status_code, code_of(answer)) == (403, "host_refused")


def test_two_host_headers_are_refused(api: JobApi) -> None:
    answer = get(api, "/v1/health", headers=[("Host", "localhost"), ("Host", "localhost")])
    assert (answer.status_code, code_of(answer)) == (403, "host_refused")


@pytest.mark.parametrize("name", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_is_known(name: str) -> None:
    assert is_loopback(name)
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("example.com")


@pytest.mark.parametrize("loopback", [True, False])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Bearer {TOKEN.upper()}"},
        {"Authorization": b"Bearer \xff\x00"},
        [("Authorization", f"Bearer {TOKEN}"), ("Authorization", "Bearer other")],
        {"X-Authorization": f"Bearer {TOKEN}"},
    ],
    ids=str,
)
def test_without_the_token_nobody_gets_in(headers: httpx.Headers, loopback: bool, world: World) -> None:
    world.add(job_id=ONE)
    api = world.api(token=TOKEN, loopback=loopback)
    for path in ("/v1/jobs", f"/v1/jobs/{ONE}", f"/v1/jobs/{NOBODY}", f"/v1/jobs/{ONE}/events", "/openapi.json", "/x"):
        answer = get(api, path, headers=headers)
        assert (answer.status_code, code_of(answer)) == (401, "unauthorized")
        assert answer.headers["www-authenticate"].startswith("Bearer ")
        assert TOKEN not in answer.text
    assert world.looks == []
    api.close()


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_who_shows_the_token_gets_in(scheme: str, world: World) -> None:
    job = world.add()
    api = world.api(token=TOKEN, loopback=False)
    shown = {"Authorization": f"{scheme} {TOKEN}", "Host": "jobs.example"}
    for path in ("/v1/jobs", f"/v1/jobs/{job.job_id}", f"/v1/jobs/{job.job_id}/events", "/openapi.json"):
        assert get(api, path, headers=shown).status_code == 200
    api.close()


def test_health_needs_no_token(world: World) -> None:
    api = world.api(token=TOKEN, loopback=False)
    assert get(api, "/v1/health").status_code == 200
    for path in ("/v1/health/", "/v1/health/../jobs", "//v1/health", "/V1/health"):
        answer = with_client(api, lambda client, path=path: client.get(f"http://x{path}"))  # type: ignore[misc]
        assert answer.status_code == 401
    api.close()


def test_a_page_of_a_browser_gets_no_permission(api: JobApi) -> None:
    answer = get(api, "/v1/jobs", headers={"Origin": "http://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
