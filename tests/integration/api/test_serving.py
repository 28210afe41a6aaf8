"""The API served for real: a thread with uvicorn, a job table in SQLite, callers over TCP."""

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from prefect_narrative.api import serving
from prefect_narrative.api.serving import Connection
from prefect_narrative.cli.job_api import listen
from prefect_narrative.cli.server import PortTakenError
from prefect_narrative.jobs.document import record
from tests.integration.api.conftest import TOKEN, Served

HEAD = f"Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\n".encode()


def until(true: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 30
    while not true():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def test_a_long_poll_sees_the_job_end(served: Served) -> None:
    job = served.add()
    with served.client() as client, ThreadPoolExecutor() as pool:
        answer = pool.submit(client.get, f"/v1/jobs/{job.job_id}?wait=60")
        until(lambda: served.waiting() == 1)
        ended = served.end(job)
        assert answer.result().json() == record(ended)
        assert answer.result().headers.get("server") is None


def test_the_token_is_asked_for(served: Served) -> None:
    with served.client(headers={}) as client:
        assert client.get("/v1/jobs").status_code == 401
        assert client.get("/v1/health").status_code == 200
        assert client.get("/v1/jobs", headers={"Authorization": f"Bearer {TOKEN}"}).json() == {
            "jobs": [],
            "cursor": None,
        }


def test_a_port_that_is_taken_is_told(served: Served) -> None:
    with pytest.raises(PortTakenError, match=rf"Port {served.address[1]} of 127\.0\.0\.1 can't be used: Address"):
        listen("127.0.0.1", served.address[1], has_token=False)


def test_it_ends_while_callers_wait(served: Served) -> None:
    job = served.add()
    threads = threading.active_count()
    with served.client() as client, ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(client.get, f"/v1/jobs/{job.job_id}?wait=60") for _ in range(4)]
        until(lambda: served.waiting() == 4)
        served.closing.close()
        assert [answer.result().json() for answer in answers] == [record(job)] * 4
        with pytest.raises(httpx.ConnectError):
            client.get("/v1/health")
    until(lambda: threading.active_count() < threads)


def test_who_hangs_up_makes_place(served: Served) -> None:
    job = served.add()
    request = f"GET /v1/jobs/{job.job_id}?wait=60 HTTP/1.1\r\n".encode() + HEAD + b"\r\n"
    for _ in range(3):
        callers = [served.connected() for _ in range(4)]
        for caller in callers:
            caller.sendall(request)
        until(lambda: served.waiting() == 4)
        for caller in callers:
            caller.close()
        until(lambda: served.waiting() == 0)


MALFORMED = [
    b"GET /v1/jobs?cursor=" + b"a" * 1_000_000 + b" HTTP/1.1\r\n" + HEAD + b"\r\n",
    b"GET /v1/jobs HTTP/1.1\r\n" + HEAD + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n",
    b"GET /v1/jobs HTTP/1.1\r\n\r\n",
    b"GET /v1/jobs HTTP/1.1\r\n" + HEAD + b"Host: localhost\r\n\r\n",
    b"GET /v1/jobs HTTP/1.1\r\n" + HEAD + b"X: \x00\r\n\r\n",
    b"GET /v1/\xff\xfe HTTP/1.1\r\n" + HEAD + b"\r\n",
    b"GET  /v1/jobs\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    b"GET /v1/jobs HTTP/1.1\r\n" + HEAD + b"Content-Length: -1\r\n\r\n",
]


def test_what_is_no_request_is_refused_in_json(served: Served) -> None:
    for request in MALFORMED:
        try:
            head, _, body = served.sent(request).partition(b"\r\n\r\n")
        except ConnectionError:
            assert len(request) > 100_000  # it was closed on us while we were still sending
            continue
        assert head.startswith(b"HTTP/1.1 400 ")
        assert b"application/json" in head
        assert json.loads(body)["error"]["code"] == "malformed_request"


def test_odd_requests_that_are_requests_are_answered(served: Served) -> None:
    close = b"Connection: close\r\n"
    for request, status in [
        (b"GET /v1/jobs HTTP/1.1\r\n" + HEAD + close + b"X-Forwarded-For: \xff\xfe, evil\r\nCookie: a=b\r\n\r\n", 200),
        (b"GET /v1/jobs HTTP/1.1\r\n" + HEAD + b"Connection: upgrade, close\r\nUpgrade: websocket\r\n\r\n", 200),
        (b"GET http://evil.example/v1/jobs HTTP/1.1\r\n" + HEAD + close + b"\r\n", 404),
        (b"GET /v1/jobs HTTP/1.1\r\n" + HEAD + close + b"Content-Length: 99999999\r\n\r\nabc", 200),
        (b"GET /v1/jobs HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n" + close + b"\r\n0\r\n\r\n", 200),
        (b"POST /v1/jobs HTTP/1.1\r\n" + HEAD + close + b"Content-Length: 2\r\n\r\n{}", 405),
        (b"CONNECT /v1/jobs HTTP/1.1\r\n" + HEAD + close + b"\r\n", 405),
        (b"GET /v1/jobs HTTP/1.0\r\n" + HEAD + b"\r\n", 200),
    ]:
        assert served.sent(request).startswith(f"HTTP/1.1 {status} ".encode()), request


def test_who_is_slow_to_ask_is_hung_up_on(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "REQUEST_SECONDS", 0.2)
    for begun in (b"", b"GET /v1/jobs HTTP/1.1\r\nHost: local"):
        with served.connected() as connection:
            connection.sendall(begun)
            try:
                assert connection.recv(100) == b""
            except ConnectionResetError:
                continue
    job = served.add()
    with served.client() as client:  # while an answer is awaited, nobody is slow
        assert client.get(f"/v1/jobs/{job.job_id}?wait=0.5").json() == record(job)


def test_too_many_connections_are_closed(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "most", 3)
    held = [served.connected() for _ in range(3)]
    try:
        with served.client() as client, pytest.raises(httpx.TransportError):
            until(lambda: bool(client.get("/v1/health") and False))
    finally:
        for connection in held:
            connection.close()

    def answers() -> bool:
        try:
            with served.client() as client:
                return client.get("/v1/health").status_code == 200
        except httpx.TransportError:
            return False

    until(answers)


def test_a_server_that_fails_says_so(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = threading.Event()
    listening = listen("127.0.0.1", None, has_token=False)
    with serving.Serving(served.api, listening, failed.set) as broken:
        broken._loop.call_soon_threadsafe(setattr, broken._server, "should_exit", True)
        assert failed.wait(30)
