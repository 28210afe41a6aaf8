"""What the processes of test_view_processes do: `work <home> <number> <seconds>`, or `read <home>`.

Each prints what it has done, as JSON; any error ends it.
"""

import json
import random
import sys
import time
from collections import Counter
from pathlib import Path
from uuid import uuid4

from view_world import VIEWS, add_entries, cascade, check_world, create, opened, refresh

from prefect_narrative.planes import Plane

ROUNDS = 6
"""A worker does at least so much, however slow the machine is."""
LAST = "last"
"""The file in the home that tells readers that the workers are done."""
OWN = "SELECT grp, amount, total FROM named JOIN totals ON named.id = totals.grp WHERE id > {number}"


def work(plane: Plane, number: int, seconds: float) -> "Counter[str]":
    """Refresh views that others refresh, too, add entries, and let cascades run."""
    chance = random.Random(number)
    own = f"own_{number}"
    create(plane, uuid4(), 1, own, query=OWN.format(number=number))
    done: Counter[str] = Counter()
    until = time.monotonic() + seconds
    while time.monotonic() < until or done["rounds"] < ROUNDS:
        done["rounds"] += 1
        what = chance.choices(["refresh", "cascade", "add"], [6, 1, 2])[0]
        if what == "add":
            add_entries(plane, number * 100_000 + done["rounds"])
        elif what == "cascade":
            cascade(plane, uuid4(), 1, chance.choice(["totals", "kept", "named"]), "auto")
        else:
            view = chance.choice([*VIEWS, own])
            what = refresh(plane, uuid4(), 1, view, chance.choice(["auto", "auto", "full"]))["action"]
        done[what] += 1
    return done


def read(plane: Plane, last: Path) -> "Counter[str]":
    """Look at all views in one snapshot each time, and check what has to be true whatever was refreshed when.

    Args:
        plane: Where they are.
        last: Once there is such a file, nobody works any more.
    """
    done: Counter[str] = Counter()
    while not last.exists() or not done:
        done["looks"] += 1
        at = plane.snapshot()
        views = check_world(plane, at)
        query = """
            SELECT (SELECT sum(n) FROM totals), (SELECT count(*) FROM totals WHERE total <> 0),
                (SELECT count(*) FROM named), (SELECT sum(amount) FROM named), (SELECT sum(total) FROM summary)
        """
        [(in_totals, unbalanced, in_named, sum_of_named, sum_of_summary)] = plane.read(
            plane.check(query, at), limit=2, at=at
        ).rows
        assert (unbalanced, sum_of_named, sum_of_summary) == (0, 0, 0), "a view is a mixture"
        entries = {
            view: next(one.snapshot_id for one in views[view].definition.sources if one.name == "entries")
            for view in ("totals", "named")
        }
        if entries["totals"] == entries["named"]:  # one cascade's, say, once it is through
            done["looks at the same contents"] += 1
            assert in_totals == in_named, "two views of the same contents differ"
    return done


def main() -> None:
    """Work, or read."""
    what, home, *more = sys.argv[1:]
    with opened(Path(home)) as plane:
        done = read(plane, Path(home) / LAST) if what == "read" else work(plane, int(more[0]), float(more[1]))
    print(json.dumps(done))


if __name__ == "__main__":
    main()
