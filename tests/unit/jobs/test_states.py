from itertools import product

import pytest
from prefect.client.schemas.objects import StateType

from prefect_narrative.jobs.states import (
    ACTIVE_STATES,
    MOVES,
    STATE_OF_PREFECT_TYPE,
    TERMINAL_STATES,
    JobState,
    Move,
    state_of,
)

ORDER = ("pending", "running", "pending_cancellation", "completed", "failed", "cancelled")
# Rows: from; columns: to, in the order above. n: normal, r: reopening, c: correction.
EXPECTED = {
    "pending": "nnncnn",
    "running": "nnnnnn",
    "pending_cancellation": "ccnnnn",
    "completed": "rccncc",
    "failed": "rcccnc",
    "cancelled": "rccccn",
}
MEANING = {"n": Move.NORMAL, "r": Move.REOPENING, "c": Move.CORRECTION}


def test_there_are_the_platforms_six_states() -> None:
    assert tuple(JobState) == ORDER


@pytest.mark.parametrize(("before", "after"), list(product(ORDER, ORDER)))
def test_each_pair_has_its_label(before: str, after: str) -> None:
    label = EXPECTED[before][ORDER.index(after)]
    assert MOVES[JobState(before), JobState(after)] is MEANING[label]


def test_no_pair_is_missing() -> None:
    assert set(MOVES) == set(product(JobState, JobState))


def test_every_state_rests_or_is_active() -> None:
    assert {"completed", "failed", "cancelled"} == TERMINAL_STATES
    assert set(JobState) == TERMINAL_STATES | ACTIVE_STATES
    assert not TERMINAL_STATES & ACTIVE_STATES
    assert all(state.terminal == (state in TERMINAL_STATES) for state in JobState)


@pytest.mark.parametrize("prefect_type", list(StateType))
def test_each_state_of_prefect_has_ours(prefect_type: StateType) -> None:
    expected = {
        "SCHEDULED": "pending",
        "PENDING": "pending",
        "RUNNING": "running",
        "PAUSED": "running",
        "CANCELLING": "pending_cancellation",
        "COMPLETED": "completed",
        "FAILED": "failed",
        "CRASHED": "failed",
        "CANCELLED": "cancelled",
    }
    assert state_of(prefect_type.value) == expected[prefect_type.value]


def test_prefect_has_no_state_less_than_we_know() -> None:
    assert set(STATE_OF_PREFECT_TYPE) == {one.value for one in StateType}


def test_only_a_suspended_pause_waits() -> None:
    assert state_of("PAUSED", suspended=True) is JobState.PENDING
    assert state_of("RUNNING", suspended=True) is JobState.RUNNING


def test_an_unknown_state_of_prefect_is_an_error() -> None:
    with pytest.raises(KeyError):
        state_of("DREAMING")
