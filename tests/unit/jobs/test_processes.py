"""What can be seen of the process behind a sign of life."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from uuid import uuid4

import pytest

from prefect_narrative.jobs.processes import Life, Machine, start_ticks
from prefect_narrative.jobs.record import Heartbeat


@pytest.fixture
def here() -> Machine:
    return Machine.here()


@pytest.fixture
def beat(here: Machine) -> Heartbeat:
    return here.heartbeat(uuid4(), 1)


def of(process: "subprocess.Popen[bytes]", beat: Heartbeat) -> Heartbeat:
    ticks = start_ticks(process.pid)
    assert ticks is not None
    return beat.model_copy(update={"pid": process.pid, "start_ticks": ticks})


def test_it_lives_while_it_is_there_also_when_it_is_stopped(here: Machine, beat: Heartbeat) -> None:
    assert here.life_of(beat) is Life.ALIVE
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        sign = of(child, beat)
        assert here.life_of(sign) is Life.ALIVE
        child.send_signal(signal.SIGSTOP)
        assert here.life_of(sign) is Life.ALIVE
        assert here.kill(sign)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert here.life_of(sign) is Life.DEAD, "a zombie has ended"
        child.wait()
        assert here.life_of(sign) is Life.DEAD
        assert not here.kill(sign)


def test_a_pid_that_has_become_somebody_elses_is_not_the_process(here: Machine, beat: Heartbeat) -> None:
    other = beat.model_copy(update={"start_ticks": beat.start_ticks - 1})
    assert here.life_of(other) is Life.DEAD
    assert not here.kill(other)


def test_a_machine_that_has_started_anew_has_none_of_its_old_processes(here: Machine, beat: Heartbeat) -> None:
    known = replace(here, machine_id="m")
    before = beat.model_copy(update={"machine_id": "m", "boot_id": "before"})
    assert known.life_of(before) is Life.DEAD
    assert not known.kill(before)


@pytest.mark.parametrize("away", [{"host": "elsewhere"}, {"machine_id": "other"}, {"pid_namespace": "pid:[1]"}])
def test_elsewhere_nothing_can_be_seen(here: Machine, beat: Heartbeat, away: dict[str, str]) -> None:
    other = beat.model_copy(update=away)
    assert here.life_of(other) is Life.OUT_OF_SIGHT
    assert not here.kill(other)


def test_machines_without_an_id_are_not_told_apart_by_their_hosts_name(here: Machine, beat: Heartbeat) -> None:
    nameless = replace(here, machine_id="")
    other = beat.model_copy(update={"machine_id": "", "boot_id": "other"})
    assert nameless.life_of(other) is Life.OUT_OF_SIGHT
