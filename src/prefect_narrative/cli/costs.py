"""`narrative costs`: what the jobs of a period have cost, without a job."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

from cyclopts import Parameter

from prefect_narrative.cli.exits import ExitCode
from prefect_narrative.cli.money import usd
from prefect_narrative.cli.options import Json
from prefect_narrative.cli.output import Output, cell
from prefect_narrative.costs import Cost, Item
from prefect_narrative.jobs.spending import GroupBy, Spending
from prefect_narrative.settings import Settings

By = Annotated[GroupBy, Parameter(name_transform=str.lower)]


def costs(*, since: str, until: str | None = None, by: By = GroupBy.TYPE, as_json: Json = False) -> int:
    """Add up what the jobs have cost that ended in a period.

    Example: narrative costs --since P7D --by dataset

    Args:
        since: The beginning of the period: ISO 8601, in UTC where it names no zone; or a duration back from now, such
            as P7D or PT12H.
        until: The end of the period, in the same words. [now]
        by: What to group by; each job counts in one group: a job with several tags under all of them together.
        as_json: Print the sums and their lines as JSON; amounts are in 1/100,000,000 of a US dollar.
    """
    from prefect_narrative.flows.period import parse_period  # noqa: PLC0415 - not for those who ask for help
    from prefect_narrative.jobs.sql import open_store  # noqa: PLC0415

    first, end = parse_period(since, until, datetime.now(UTC))
    with open_store(Settings()) as store:
        found = store.spending(first, end, by)
    output = Output(as_json=as_json)
    if as_json:
        told = {"since": first, "until": end, "group_by": by.value, "jobs": found.jobs, "unpriced": found.unpriced}
        groups = [
            {"group": one.group, "jobs": one.jobs, "unpriced": one.unpriced, **one.cost.model_dump(mode="json")}
            for one in found.groups
        ]
        output.document({**told, **found.cost.model_dump(mode="json"), "groups": groups})
        return ExitCode.OK
    output.note(f"Jobs that ended from {cell(first)} until {cell(end)}, in US dollars:")
    _people(found, by, output)
    return ExitCode.OK


def _people(found: Spending, by: GroupBy, output: Output) -> None:
    items = [item for item in Item if any(line.item is item for line in found.cost.breakdown)]
    columns = (by.value, "jobs", *(item.value for item in items), "cost")
    rows = [(one.group or "(none)", one.jobs, *_amounts(one.cost, items)) for one in found.groups]
    output.table(columns, [*rows, ("total", found.jobs, *_amounts(found.cost, items))])
    if found.unpriced:
        output.note(f"Not in the sums, since their cost is not known: jobs that started, {found.unpriced:,} of them.")


def _amounts(cost: Cost, items: Sequence[Item]) -> list[Decimal]:
    """Return the amounts of items, and the total."""
    of_items = [sum(line.amount_micro_cents_usd for line in cost.breakdown if line.item is item) for item in items]
    return [usd(amount) for amount in (*of_items, cost.cost_micro_cents_usd)]
