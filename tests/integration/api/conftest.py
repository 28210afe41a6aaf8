import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from prefect_narrative.api.app import JobApi
from prefect_narrative.api.serving import Serving
from prefect_narrative.cli.job_api import listen
from prefect_narrative.jobs.record import Job, JobId
from prefect_narrative.jobs.sql import SqlJobStore, open_store
from prefect_narrative.settings import Settings
from prefect_narrative.testing import observed

TOKEN = "a-token-that-nobody-guesses"


@dataclass
class Served:
    """The API over an SQLite job table, served on loopback."""

    store: SqlJobStore
    api: JobApi
    address: tuple[str, int]
    closing: ExitStack
    failures: list[str] = field(default_factory=list)

    def client(self, **options: Any) -> httpx.Client:
        url = f"http://{self.address[0]}:{self.address[1]}"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return httpx.Client(**{"base_url": url, "headers": headers, "timeout": 60, "trust_env": False, **options})

    def connected(self) -> socket.socket:
        """A bare connection, for what no HTTP client would send."""
        return socket.create_connection(self.address, timeout=30)

    def sent(self, request: bytes) -> bytes:
        """What is answered to these bytes, until the connection is closed."""
        with self.connected() as connection:
            connection.sendall(request)
            parts = []
            while part := connection.recv(65536):
                parts.append(part)
            return b"".join(parts)

    def add(self, prefect_type: str = "RUNNING") -> Job:
        return self.store.apply(observed(uuid4(), prefect_type, datetime.now(UTC)), cause="hook")

    def end(self, job: Job) -> Job:
        return self.store.apply(observed(job.job_id, "CANCELLED", datetime.now(UTC)), cause="hook")

    def waiting(self) -> int:
        return self.api._long_poll._count


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with ExitStack() as closing:
        store = closing.enter_context(open_store(Settings(home=tmp_path)))
        api = JobApi(store, lambda job_id: store.get(JobId(job_id)), lambda: 0.0, token=TOKEN, most_waiting=4)
        listening = listen("127.0.0.1", None, has_token=False)
        address = listening.getsockname()
        made = Served(store, api, address, closing)
        closing.enter_context(Serving(api, listening, lambda: made.failures.append("ended")))
        yield made
    assert made.failures == []
