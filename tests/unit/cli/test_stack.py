"""How `up` finds a port for its reconciler, with a reconciler that is only played."""

from collections.abc import Sequence

import pytest

from prefect_narrative.cli import job_api, server, stack
from prefect_narrative.cli.child import Program
from prefect_narrative.cli.stack import PORT_TRIES, Plan, Stack, StartFailedError
from prefect_narrative.settings import Settings

TAKEN = {1001, 1002}
TOKEN = "a-long-enough-token"


class PlayedChild:
    """A reconciler that can't listen on the ports that are taken."""

    started: list["PlayedChild"]

    def __init__(self, program: Program, held: Sequence[int] = ()) -> None:
        self.program = program
        self.port = int(program.command[-1])
        self.pid = self.port
        self.ended = False

    def start(self) -> None:
        self.started.append(self)

    @property
    def exit_code(self) -> int | None:
        return 2 if self.port in TAKEN else None

    def log_tail(self) -> str:
        return f"error: Port {self.port} of 127.0.0.1 can't be used: Address already in use."

    def end(self) -> None:
        self.ended = True


@pytest.fixture
def ports(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The ports that the kernel will find free, one after the other."""
    found: list[int] = []
    PlayedChild.started = []
    monkeypatch.setattr(stack, "Child", PlayedChild)
    monkeypatch.setattr(server, "free_port", lambda: found.pop(0))
    monkeypatch.setattr(server, "check_port", lambda port: port)
    monkeypatch.setattr(job_api, "answers", lambda port, parent: port == parent and port not in TAKEN)
    return found


def made(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> Stack:
    monkeypatch.setenv("NARRATIVE_API_TOKEN", TOKEN)
    return Stack(Settings(), plan, lambda _said: None)


def test_where_a_port_was_taken_meanwhile_another_is_found(ports: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    ports += [1001, 1002, 1003]
    up = made(Plan(), monkeypatch)
    up._start_reconciler({"A": "b"})
    assert up.jobs_url == "http://127.0.0.1:1003/v1/jobs"
    assert [(child.port, child.ended) for child in PlayedChild.started] == [(1001, True), (1002, True), (1003, False)]
    program = PlayedChild.started[-1].program
    assert program.environment == {"A": "b", "NARRATIVE_API_TOKEN": TOKEN}
    assert not any(TOKEN in part for part in program.command)


def test_in_the_end_it_gives_up(ports: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    ports += [1001] * PORT_TRIES
    with pytest.raises(StartFailedError, match="Port 1001 of"):
        made(Plan(), monkeypatch)._start_reconciler({})
    assert len(PlayedChild.started) == PORT_TRIES


def test_a_port_that_was_given_is_not_replaced(ports: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StartFailedError, match="Port 1002 of"):
        made(Plan(jobs_port=1002), monkeypatch)._start_reconciler({})
    up = made(Plan(jobs_port=1003), monkeypatch)
    up._start_reconciler({})
    assert up.jobs_url == "http://127.0.0.1:1003/v1/jobs"
    assert [child.port for child in PlayedChild.started] == [1002, 1003]
