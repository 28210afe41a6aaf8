"""Draws the states from the code that follows them: `python -m prefect_narrative.jobs.drawing > docs/states.md`."""

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterable, Sequence
from enum import StrEnum

from prefect_narrative.jobs.record import WaitingCause
from prefect_narrative.jobs.states import MOVES, STATE_OF_PREFECT_TYPE, JobState, Move, state_of

HEAD = """\
<!-- Made from the code by `python -m prefect_narrative.jobs.drawing > docs/states.md`. -->

# States of a job

A job is a Prefect flow run, seen in six states. Prefect decides what happens; the job table follows it. So no move is
refused: each of the 36 pairs of states has a label that says whether it is the ordinary course of things.
"""

WAITING = """\
`waiting_for` names one cause, with the fact that shows it; of several that hold, the one to mend first.
"""

ARROWS = """\
Each arrow is `normal`, but for those that say `retry`: they are `reopening`. Corrections are not drawn; they are listed
below. A job enters the table in the state in which it is first seen, mostly `pending`.
"""


def render() -> str:
    """Return the text of `docs/states.md`."""
    parts = [
        HEAD,
        "## The six states\n",
        _states(),
        "## What a pending job waits for\n",
        WAITING,
        _causes(),
        "## The moves\n",
        _diagram(),
        ARROWS,
        _meanings(),
        "## From Prefect's states to ours\n",
        _prefect_types(),
        "## All 36 pairs\n",
        "From the state on the left to the state above.\n",
        _pairs(),
        "## Corrections\n",
        "What Prefect can do out of order, mostly after somebody forced a state. The table follows it.\n",
        _corrections(),
    ]
    return "\n".join(parts)


def _states() -> str:
    docs = _member_docs(JobState)
    return _table(
        ("state", "terminal", "meaning"),
        ((f"`{state}`", "yes" if state.terminal else "no", docs[state.name]) for state in JobState),
    )


def _causes() -> str:
    docs = _member_docs(WaitingCause)
    return _table(("cause", "meaning"), ((f"`{cause}`", docs[cause.name]) for cause in WaitingCause))


def _diagram() -> str:
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {JobState.PENDING}"]
    for (before, after), move in MOVES.items():
        if before is not after and move is not Move.CORRECTION:
            lines.append(f"    {before} --> {after}" + (": retry" if move is Move.REOPENING else ""))
    lines += [f"    {state} --> [*]" for state in JobState if state.terminal]
    return "\n".join([*lines, "```", ""])


def _meanings() -> str:
    docs = _member_docs(Move)
    return _table(("label", "meaning"), ((f"`{move}`", docs[move.name]) for move in Move))


def _prefect_types() -> str:
    rows = []
    for name, state in STATE_OF_PREFECT_TYPE.items():
        rows.append((f"`{name}`", f"`{state}`"))
        suspended = state_of(name, suspended=True)
        if suspended is not state:
            rows.append((f"`{name}`, suspended: its process has ended and a new one must resume it", f"`{suspended}`"))
    return _table(("type of Prefect's state", "state"), rows)


def _pairs() -> str:
    return _table(
        ("from \\ to", *(f"`{state}`" for state in JobState)),
        ((f"`{before}`", *(MOVES[before, after].value for after in JobState)) for before in JobState),
    )


def _corrections() -> str:
    rows = []
    for before in JobState:
        found = [f"`{after}`" for after in JobState if MOVES[before, after] is Move.CORRECTION]
        if found:
            rows.append((f"`{before}`", ", ".join(found)))
    return _table(("from", "to"), rows)


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _member_docs(kind: type[StrEnum]) -> dict[str, str]:
    """Return the text below each member of an enum, on one line; Python itself does not keep it."""
    (tree,) = (
        node
        for node in ast.parse(inspect.getsource(sys.modules[kind.__module__])).body
        if isinstance(node, ast.ClassDef) and node.name == kind.__name__
    )
    docs = {}
    for member, text in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(member, ast.Assign)
            and isinstance(member.targets[0], ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            docs[member.targets[0].id] = " ".join(textwrap.dedent(str(text.value.value)).split())
    return docs


if __name__ == "__main__":
    sys.stdout.write(render())
