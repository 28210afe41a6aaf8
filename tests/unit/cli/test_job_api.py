import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from prefect_narrative.cli import job_api
from prefect_narrative.cli.exits import UsageError
from prefect_narrative.cli.server import PortTakenError


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:{port}/v1/jobs"),
        ("localhost", None),
        ("127.9.9.9", "http://127.9.9.9:{port}/v1/jobs"),
    ],
)
def test_without_a_token_it_listens_on_loopback(host: str, url: str | None) -> None:
    with job_api.listen(host, None, has_token=False) as listening:
        port = listening.getsockname()[1]
        assert job_api.is_loopback(listening)
        assert url is None or job_api.url_of(listening) == url.format(port=port)
        socket.create_connection((host, port), timeout=10).close()
        with pytest.raises(PortTakenError, match=f"Port {port} of {host} can't be used"):
            job_api.listen(host, port, has_token=True)
    with job_api.listen(host, port, has_token=False) as again:
        assert again.getsockname()[1] == port


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.99.99.99", "::ffff:127.0.0.1"])
def test_elsewhere_a_token_is_required(host: str) -> None:
    with pytest.raises(job_api.TokenRequiredError, match=f"not on {host}"):
        job_api.listen(host, None, has_token=False)


def test_with_a_token_it_listens_everywhere() -> None:
    with job_api.listen("0.0.0.0", None, has_token=True) as listening:
        port = listening.getsockname()[1]
        assert not job_api.is_loopback(listening)
        assert job_api.url_of(listening) == f"http://{socket.gethostname()}:{port}/v1/jobs"


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_with_a_token_it_listens_everywhere_in_both_families() -> None:
    with job_api.listen("::", None, has_token=True) as listening:
        port = listening.getsockname()[1]
        assert not job_api.is_loopback(listening)
        socket.create_connection(("127.0.0.1", port), timeout=10).close()


@pytest.mark.parametrize("host", ["no.such.host.invalid", "not a host", "10.99.99.99", "x" * 300, "\udcff", "a\0b"])
def test_a_host_that_is_not_here_is_refused(host: str) -> None:
    with pytest.raises(UsageError, match="no name or address of this machine"):
        job_api.listen(host, None, has_token=True)


@contextmanager
def answering(body: bytes) -> Iterator[int]:
    """A server on a port that answers everything with the same."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_said: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_only_our_own_reconciler_counts_as_answering() -> None:
    with answering(f'{{"pid": {os.getpid()}}}'.encode()) as port:
        assert job_api.answers(port, os.getppid())
        assert not job_api.answers(port, os.getpid())
        assert not job_api.answers(port, None)
    assert not job_api.answers(port, os.getppid())


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"hello", b'{"pid": "x"}', b'{"pid": -1}', b'{"pid": 1e99}'])
def test_what_is_no_job_api_does_not_answer(body: bytes) -> None:
    with answering(body) as port:
        assert not job_api.answers(port, os.getppid())
