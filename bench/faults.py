"""The fault suite: real processes are killed, stopped, cut off and lied to, and the job table is watched meanwhile.

A cell is one event at one moment. Each prints how long the table was wrong: how long at a stretch a reader of the
table, who asks nobody else, saw another state than Prefect's truth (or the death of the process) made true. Times in
which nobody could write the table, since it was locked, down or full, do not count, and neither does a long absence of
Prefect's server; what comes after them does.

At the end comes one JSON object: `cells` that were played, how many left the table `wrong_for_ever`, the longest time
that it was wrong (`max_seconds`; of processes that died elsewhere: `max_seconds_elsewhere`), how long moves took to be
seen while all was well (`visible_p95_seconds` of `visible_moves`), and how many rows were lost or doubled.
"""

import argparse
import os
import subprocess
import sys

from fault_suite.parts import may

from prefect_narrative.cli import guard

GRACE_SECONDS = 60.0
INSIDE = "NARRATIVE_FAULTS_GUARDED"


def main() -> int:
    """Run the suite behind a guard, so that nothing of it outlives this process, however it ends."""
    given = arguments()
    if INSIDE in os.environ:
        from fault_suite.running import run

        return run(given)
    watched, lifeline = os.pipe()
    command = [sys.executable, "-I", guard.__file__, str(watched), str(GRACE_SECONDS), sys.executable, __file__]
    if may("unshare", "--mount", "true"):
        command = ["unshare", "--mount", *command]  # so that what is mounted goes with the last process
    try:
        child = subprocess.Popen(
            [*command, *sys.argv[1:]], env={**os.environ, INSIDE: "1"}, pass_fds=(watched,), start_new_session=True
        )
        os.close(watched)
        return child.wait()
    except KeyboardInterrupt:
        return 130
    finally:
        os.close(lifeline)
        child.wait()


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--table", choices=("sqlite", "postgresql"), action="append", help="one kind of table [both]")
    parser.add_argument("--only", action="append", help="cells whose name begins so, or of this group; repeatable")
    parser.add_argument("--sample", type=int, metavar="K", help="K quick cells, one of each group first")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="which cells a sample has, and in what order")
    parser.add_argument("--long", action="store_true", help="also the cells that take many minutes")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line, and nothing else")
    parser.add_argument("--list", action="store_true", help="say which cells there are, and play none")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
