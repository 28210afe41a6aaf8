"""The page on the states says what the code does."""

from pathlib import Path

import pytest

from prefect_narrative.jobs.drawing import render
from prefect_narrative.jobs.states import MOVES, STATE_OF_PREFECT_TYPE, JobState, Move

PAGE = Path(__file__).parents[3] / "docs" / "states.md"


def test_the_page_is_what_the_code_draws() -> None:
    assert PAGE.read_text() == render(), "run: python -m prefect_narrative.jobs.drawing > docs/states.md"


@pytest.mark.parametrize("state", list(JobState))
def test_each_state_is_explained(state: JobState) -> None:
    row = next(line for line in render().splitlines() if line.startswith(f"| `{state}` | "))
    _, terminal, meaning = row.strip("| ").split(" | ")
    assert terminal == ("yes" if state.terminal else "no")
    assert meaning.endswith(".")


def test_the_drawing_has_every_arrow_but_corrections() -> None:
    text = render()
    for (before, after), move in MOVES.items():
        arrow = f"    {before} --> {after}" + (": retry" if move is Move.REOPENING else "")
        assert (f"{arrow}\n" in text) == (before is not after and move is not Move.CORRECTION)


@pytest.mark.parametrize("prefect_type", STATE_OF_PREFECT_TYPE)
def test_each_state_of_prefect_is_listed(prefect_type: str) -> None:
    assert f"| `{prefect_type}` | `{STATE_OF_PREFECT_TYPE[prefect_type]}` |" in render()
