"""Runs chosen cells on a stage for each kind of table, and adds up what came of them."""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fault_suite import cells as _cells  # noqa: F401 - registers the cells
from fault_suite.cell import AIM_SECONDS, CELLS, Cell
from fault_suite.integrity import Integrity, inspect
from fault_suite.playing import Outcome, play
from fault_suite.stage import Stage

TABLES = ("sqlite", "postgresql")
FIRST_GROUPS = ("ordinary", "cancel", "killed", "hook lost", "forced", "deleted", "refused")
"""What a sample has at least."""


def run(given: argparse.Namespace) -> int:
    """Play what was asked for; return 0 where all was well, 1 else."""
    chosen = choose(given)
    if given.list:
        for cell in chosen:
            print(f"{cell.group:10} {cell.name:40} {(cell.play.__doc__ or '').strip().splitlines()[:1]}")
        return 0
    outcomes: list[Outcome] = []
    integrity = Integrity()
    for table in given.table or TABLES:
        playable = [cell for cell in chosen if table in cell.tables]
        if playable:
            integrity += play_all(playable, table, outcomes, quiet=given.json)
    figures = summary(outcomes, integrity)
    print(json.dumps(figures, indent=None if given.json else 2), flush=True)
    return 0 if all(one.good for one in outcomes) and integrity.sound and not figures["wrong_for_ever"] else 1


def choose(given: argparse.Namespace) -> list[Cell]:
    """Return the cells that the command line means, in the order in which they are played."""
    fit = [cell for cell in CELLS if given.long or not cell.long]
    if given.only:
        fit = [
            cell
            for cell in CELLS
            if cell.name in given.only
            or (cell in fit and any(cell.group == one or cell.name.startswith(one) for one in given.only))
        ]
        if not fit:
            raise SystemExit(f"no cell is called or begins with {' or '.join(given.only)}; see --list")
    if given.sample is None:
        return fit
    dice = random.Random(given.seed)
    quick = [cell for cell in fit if cell.quick]
    dice.shuffle(quick)
    groups = [*FIRST_GROUPS, *dict.fromkeys(cell.group for cell in quick if cell.group not in FIRST_GROUPS)]
    firsts = [found for group in groups if (found := next((cell for cell in quick if cell.group == group), None))]
    return [*firsts, *(cell for cell in quick if cell not in firsts)][: given.sample]


def play_all(chosen: Sequence[Cell], table: str, outcomes: list[Outcome], *, quiet: bool) -> Integrity:
    """Play cells on one stage, and look at the whole table at the end."""
    folder = Path(tempfile.mkdtemp(prefix="narrative-faults-"))
    stage = Stage(folder, table, note)
    try:
        stage.start()
        note("all is up")
        for cell in chosen:
            outcome = play(cell, stage)
            outcomes.append(outcome)
            line = f"{table:10} {cell.name:36} {outcome.wrong_seconds:7.2f} s  {outcome.verdict}"
            print(f"{line}  [{outcome.took_seconds:.0f} s]", file=sys.stderr if quiet else sys.stdout, flush=True)
        stage.make_ready()
        found = inspect(stage)
        note("every cell was played")
        return found
    finally:
        stage.end()
        note("all has ended")
        shutil.rmtree(folder, ignore_errors=True)


def summary(outcomes: Sequence[Outcome], integrity: Integrity) -> dict[str, Any]:
    """Return the figures of a run."""
    played = [one for one in outcomes if one.impossible is None]
    near = [one.wrong_seconds for one in played if one.cell.aim_seconds <= AIM_SECONDS]
    far = [one.wrong_seconds for one in played if one.cell.aim_seconds > AIM_SECONDS]
    moves = sorted(seconds for one in played for seconds in one.moves)
    return {
        "cells": len(played),
        "wrong_for_ever": sum(one.wrong_for_ever for one in played) + len(integrity.wrong),
        "max_seconds": round(max(near, default=0.0), 2),
        "max_seconds_elsewhere": round(max(far, default=0.0), 2),
        "visible_p50_seconds": _at(moves, 50),
        "visible_p95_seconds": _at(moves, 95),
        "visible_moves": len(moves),
        "rows_lost": len(integrity.lost),
        "rows_doubled": len(integrity.doubled),
        "promises_broken": sum(bool(one.broken) for one in played),
        "over_aim": [f"{one.cell.name}/{one.table}" for one in played if one.wrong_seconds > one.cell.aim_seconds],
        "not_played": {f"{one.cell.name}/{one.table}": one.impossible for one in outcomes if one.impossible},
        "by_cell": {
            f"{one.cell.name}/{one.table}": {
                "wrong_seconds": round(one.wrong_seconds, 2),
                "verdict": one.verdict,
                "wrong_for_ever": one.wrong_for_ever,
                "broken": one.broken,
                "took_seconds": round(one.took_seconds, 1),
            }
            for one in outcomes
        },
    }


def _at(ordered: Sequence[float], percent: float) -> float | None:
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))], 3)


def note(text: str) -> None:
    """Tell a person what happens; stdout is for the figures."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
