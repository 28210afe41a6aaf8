"""The API's server: uvicorn in a thread of the reconciler's process, with an event loop of its own."""

import asyncio
import logging
import resource
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import uvicorn
from typing_extensions import override
from uvicorn.protocols.http.h11_impl import H11Protocol

from prefect_narrative.api.app import JobApi
from prefect_narrative.api.errors import MalformedRequestError, told

logger = logging.getLogger(__name__)

MOST_CONNECTIONS = 4000
FILES_FOR_OTHERS = 200
"""Open files that are left to the rest of the process: the job table, Prefect, logs."""
REQUEST_SECONDS = 10.0
"""How long a connection may take to send a request's head."""
END_SECONDS = 3
"""How long the end waits for answers under way."""


class Connection(H11Protocol):
    """One caller's connection. It is closed where there are too many, and where a request is too slow to come.

    The process that answers also keeps the job table true: callers must not use up the files that it may open.
    """

    most = MOST_CONNECTIONS

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._late: asyncio.TimerHandle | None = None
        if len(self.connections) > self.most:
            transport.abort()
        else:
            self._expect_request()

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_expecting()
        elif self._late is None:
            self._expect_request()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_expecting()
        super().connection_lost(exc)

    @override
    def send_400_response(self, msg: str) -> None:
        """Answer what can't be understood, in the words of all other errors, and close."""
        if self.cycle is None or self.cycle.response_complete:  # else it would stand in the midst of an answer
            answer = told(MalformedRequestError())
            answer.headers["Connection"] = "close"
            lines = [b"HTTP/1.1 400 Bad Request", *(b"%b: %b" % one for one in answer.raw_headers), b"", b""]
            self.transport.write(b"\r\n".join(lines) + bytes(answer.body))
        self.transport.close()

    def _expect_request(self) -> None:
        self._late = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)

    def _stop_expecting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class Serving:
    """Serves the API as long as its block lasts.

    Args:
        api: What is served.
        listening: A socket that listens already; it is closed at the end.
        on_failure: Called in the server's thread where the server ends without having been asked to.
    """

    def __init__(self, api: JobApi, listening: socket.socket, on_failure: Callable[[], None]) -> None:
        self._api = api
        self._listening = listening
        self._on_failure = on_failure
        self._asked = False
        self._loop = asyncio.new_event_loop()
        self._server = uvicorn.Server(
            uvicorn.Config(
                api.app,
                http=Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="error",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=END_SECONDS,
            )
        )
        self._thread = threading.Thread(target=self._run, name="narrative-api", daemon=True)

    def __enter__(self) -> Self:
        """Begin to serve; the socket has been listening all along, so no caller is refused."""
        Connection.most = most_connections()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Answer who waits, end, and wait for the end."""
        self._asked = True
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end)
        self._thread.join(END_SECONDS + 2)
        self._api.close()

    def _end(self) -> None:
        self._api.let_go()
        self._server.should_exit = True

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._server.serve(sockets=[self._listening]))
        except BaseException:
            logger.exception("The HTTP job API has failed")
        finally:
            self._listening.close()
            if not self._asked:
                self._on_failure()


def most_connections() -> int:
    """Return how many connections there may be, and let this process open as many files as it is allowed to."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + FILES_FOR_OTHERS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(1, min(MOST_CONNECTIONS, soft - FILES_FOR_OTHERS))
