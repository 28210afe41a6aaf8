"""What a cell has in its hands: jobs that it makes, waits for and harms, and what it says they must come to."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

from fault_suite.parts import flow_processes, runs
from fault_suite.stage import Stage
from fault_suite.watching import Recording
from prefect_narrative.jobs.states import JobState

NEED_OURS = frozenset({"view", "publish"})
"""What needs our own job types, or the data plane that comes with them."""

_numbers = count(1)


@dataclass
class Expectation:
    """What a job must come to."""

    states: tuple[JobState, ...]
    """One of these."""
    attempt: int | None = None
    """None: whatever it is."""
    kinds: Sequence[str] | None = None
    """The kinds of its failures, oldest first; None: whatever they are."""
    may_be_resultless: bool = False
    """Whether its run may complete without a result, so that the job counts as failed."""


class PromiseBrokenError(Exception):
    """The table is right, and yet something was not as it was promised."""


class Actor:
    """One job of a cell.

    Args:
        stage: Where it plays.
        recording: The recording of it.
    """

    def __init__(self, stage: Stage, recording: Recording) -> None:
        self._stage = stage
        self.recording = recording
        self.id = recording.job_id
        self.expected: Expectation | None = None
        self.must_publish: bool | None = None
        """Whether its attempt must have published by the end, or must not have; None: nothing is asked."""
        self.spared = False
        """Whether its process may live on at the end."""

    @property
    def prefect(self) -> str | None:
        """The name of the state that Prefect's run is in, as it was seen last; None before the first."""
        states = self.recording.entered()
        return states[-1][1]["name"] if states else None

    @property
    def state(self) -> JobState | None:
        """The state of the row, as it was seen last."""
        return self.recording.rows[-1].state if self.recording.rows else None

    @property
    def pid(self) -> int | None:
        """The pid of its flow's process, while there is one."""
        return next(iter(pid for pid in flow_processes(self.id) if runs(pid)), None)

    def until(self, *names: str, seconds: float = 60) -> "Actor":
        """Wait until Prefect's run is in a state of one of these names."""
        self._stage.wait(f"{self.id} is {' or '.join(names)}", lambda: self.prefect in names, seconds=seconds)
        return self

    def until_row(self, *states: JobState, seconds: float = 60) -> "Actor":
        """Wait until the row is in one of these states."""
        self._stage.wait(f"the row of {self.id} is {states}", lambda: self.state in states, seconds=seconds)
        return self

    def until_at_work(self, seconds: float = 60) -> "Actor":
        """Wait until the body has begun: the run is Running and an attempt has its token."""
        self.until("Running", seconds=seconds)
        self._stage.wait(
            f"{self.id} has begun",
            lambda: self.recording.job is not None and self.recording.job.executor is not None,
            seconds=seconds,
        )
        return self

    def signal(self, number: int) -> None:
        """Send its flow's process a signal."""
        pid = self.pid
        if pid is None:
            raise RuntimeError(f"nothing runs {self.id}")
        os.kill(pid, number)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop its process for the block; it may be gone at the end."""
        pid = self.pid
        if pid is None:
            raise RuntimeError(f"nothing runs {self.id}")
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            if runs(pid):
                os.kill(pid, signal.SIGCONT)

    def comes_to(self, *states: JobState, **more: Any) -> None:
        """Say what the row must be in the end, as the fields of `Expectation`."""
        self.expected = Expectation(states, **more)


@dataclass
class Scene:
    """One cell's play."""

    stage: Stage
    actors: list[Actor] = field(default_factory=list)
    excused: list[tuple[float, float]] = field(default_factory=list)
    """When nobody could write the table."""
    checks: list[Callable[[], None]] = field(default_factory=list)
    """What is looked at in the end; each raises `PromiseBrokenError`."""

    def job(self, deployment: str, *, after: timedelta | None = None, **parameters: Any) -> Actor:
        """Ask Prefect for a run of one of the stage's deployments."""
        if deployment in NEED_OURS:
            self.stage.deploy_ours()
        run = self.stage.prefect.trigger(self.stage.deployments[deployment], parameters, after=after)
        return self.known(run["id"])

    def known(self, run_id: str, *, due: float | None = None) -> Actor:
        """Take a run that is already there."""
        actor = Actor(self.stage, self.stage.watcher.watch(run_id, due=due))
        self.actors.append(actor)
        return actor

    def view(self, query: str, **parameters: Any) -> Actor:
        """Ask for a real job of ours: a materialized view."""
        return self.job("view", name=self.new_name("view"), query=query, **parameters)

    def new_name(self, what: str) -> str:
        """Return a name that nobody has had."""
        return f"{what}_{os.getpid()}_{next(_numbers)}"

    def new_path(self, what: str) -> Path:
        """Return the path of a file that is not there."""
        return self.stage.folder / self.new_name(what)

    @contextmanager
    def outage(self, outage: Any) -> Iterator[None]:
        """Have the table out of order for a block, which nobody can make up for while it lasts."""
        with outage:
            begin = time.time()
            yield
        self.excused.append((begin, time.time()))

    def later(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)
