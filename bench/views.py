"""What refreshing a view costs, and what it saves: on a data plane of this bench's own, without Prefect.

Everything is measured in turns with a reference in the same run, on made-up events in a temporary folder, which is gone
at the end; engine and lake have two threads and 2 GB on both sides.

- A full refresh against `CREATE OR REPLACE TABLE ... AS` of the same query by hand: three queries (filtered rows,
  groups, a join) over 20 million rows, each side in a process of its own, which opens the lake, does it,
  and closes the lake; imports do not count. Its ratios, of time, of CPU time (which other work on the machine moves
  less) and of the process's largest resident size, are those of the query that comes off worst.
- A refresh after a thousandth of the events was added, of views with the same three queries, against a full refresh and
  against what brings such a table up to date by hand.
- A merge of a thousandth of a view's rows, half of them new keys, against a full refresh of a view with all of these
  rows, and against `MERGE` of the same changes by hand, which remembers in a table of its own what it has read. The
  connections are open, and have been used before.
- Deciding what a refresh has to do, where nothing has changed and where something has, against asking for the newest
  snapshot: with 1 to 1,000 views, and over 1 to 100 million rows; and full refreshes over these rows.
- How often `auto` chooses the better of full and incremental, over seven kinds of changes of little or much.
"""

from dataclasses import dataclass

import harness
import views_changes
import views_choice
import views_full
import views_growth


@dataclass(frozen=True)
class Counts:
    """How much is measured."""

    full_rows: int
    full_pairs: int
    full_shapes: tuple[str, ...]
    changes_rows: int
    changes: int
    """How often each is measured."""
    views: tuple[int, ...]
    rows: tuple[int, ...]
    choices: tuple[int, ...]
    """Rows of the datasets for which it is chosen."""
    rounds: int


FULL = Counts(
    full_rows=20_000_000,
    full_pairs=5,
    full_shapes=("rows", "groups", "join"),
    changes_rows=20_000_000,
    changes=5,
    views=(1, 10, 100, 1000),
    rows=(1_000_000, 10_000_000, 100_000_000),
    choices=(200_000, 2_000_000),
    rounds=2,
)
QUICK = Counts(
    full_rows=20_000,
    full_pairs=1,
    full_shapes=("groups",),
    changes_rows=20_000,
    changes=1,
    views=(1, 20),
    rows=(10_000, 50_000),
    choices=(10_000,),
    rounds=1,
)


def main() -> None:
    """Measure and report."""
    given = harness.options(__doc__)
    counts = QUICK if given.quick else FULL
    full = views_full.full_against_ctas(counts.full_rows, counts.full_pairs, counts.full_shapes)
    changes = [
        *views_changes.appends(counts.changes_rows, counts.changes),
        views_changes.merges(counts.changes_rows, counts.changes),
    ]
    views = views_growth.by_views(counts.views)
    rows, seconds = views_growth.by_rows(counts.rows)
    choices = views_choice.choices(counts.choices, counts.rounds)
    harness.report(
        given,
        "Refreshing views (in brackets: how many runs; plain figures are medians)",
        [
            ["", "reference", "here", "ratio", "its middle half"],
            *views_full.lines(full),
            *views_changes.lines(changes),
            *views_growth.lines(views, rows, seconds),
            *views_choice.lines(choices),
        ],
        {
            **views_full.figures(full),
            **views_changes.figures(changes),
            **views_growth.figures(views, rows, seconds),
            **views_choice.figures(choices),
            "runs": {
                "full_rows": counts.full_rows,
                "full_pairs": counts.full_pairs,
                "changes_rows": counts.changes_rows,
                "changes": counts.changes,
            },
        },
    )


if __name__ == "__main__":
    main()
