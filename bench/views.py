"""What refreshing a view costs, and what it saves: on a data plane of this bench's own, without Prefect.

Everything is measured in turns with a reference in the same run, on made-up events in a temporary folder, which is gone
at the end; engine and lake have two threads and 2 GB on both sides.

- A full refresh against `CREATE OR REPLACE TABLE ... AS` of the same query by hand: three queries (filtered rows,
  groups, a join) over 20 million rows, each side in a process of its own, which opens the lake, does it,
  and closes the lake; imports do not count. Its ratios, of time, of CPU time (which other work on the machine moves
  less) and of the process's largest resident size, are those of the query that comes off worst.
"""

from dataclasses import dataclass

import harness
import views_full


@dataclass(frozen=True)
class Counts:
    """How much is measured."""

    full_rows: int
    full_pairs: int
    full_shapes: tuple[str, ...]


FULL = Counts(full_rows=20_000_000, full_pairs=5, full_shapes=("rows", "groups", "join"))
QUICK = Counts(full_rows=100_000, full_pairs=1, full_shapes=("groups",))


def main() -> None:
    """Measure and report."""
    given = harness.options(__doc__)
    counts = QUICK if given.quick else FULL
    full = views_full.full_against_ctas(counts.full_rows, counts.full_pairs, counts.full_shapes)
    lines = [["", "reference", "here", "ratio", "its middle half"], *views_full.lines(full)]
    harness.report(
        given,
        "Refreshing views (in brackets: pairs of runs)",
        lines,
        {**views_full.figures(full), "runs": {"full_rows": counts.full_rows, "full_pairs": counts.full_pairs}},
    )


if __name__ == "__main__":
    main()
