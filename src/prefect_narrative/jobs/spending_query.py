"""The one query that adds up what the jobs of a period cost, in SQLite and PostgreSQL."""

import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    RowMapping,
    Text,
    and_,
    case,
    cast,
    func,
    literal_column,
    null,
    select,
    true,
    union_all,
)

from prefect_narrative.costs import Cost, Item, Line
from prefect_narrative.jobs.record import PARENT_TAG, SOURCE_TAG
from prefect_narrative.jobs.spending import CostGroup, GroupBy, Spending, requester_name, tags_name
from prefect_narrative.jobs.table import jobs


def spending_query(since: datetime, until: datetime, by: GroupBy, *, sqlite: bool) -> CompoundSelect[Any]:
    """Return a query of two kinds of rows, in one statement so that both are of the same moment.

    Where `item` is null, the two figures are a group's jobs and those without a known cost; else the parts and the
    amount of that item at that price.
    """
    ended = and_(jobs.c.ended_at >= since, jobs.c.ended_at < until)
    is_priced = jobs.c.cost_micro_cents_usd.is_not(None)
    first, second = _key(by, sqlite=sqlite)
    keys = first.label("key1"), second.label("key2")
    by_key: tuple[ColumnElement[Any], ...] = (literal_column("key1"), literal_column("key2"))
    unpriced = case((and_(jobs.c.started_at.is_not(None), ~is_priced), 1), else_=0)
    counts = (
        select(
            *keys,
            cast(null(), Text).label("item"),
            cast(null(), BigInteger).label("price"),
            func.count().label("figure1"),
            func.sum(unpriced).label("figure2"),
        )
        .where(ended)
        .group_by(*by_key)
    )
    each = func.json_each if sqlite else func.jsonb_array_elements
    charge = each(jobs.c.charges).table_valued("value", name="charge").c.value

    def part(name: str) -> ColumnElement[Any]:
        return func.json_extract(charge, f"$.{name}") if sqlite else charge.op("->>")(name)

    def number(name: str) -> ColumnElement[int]:
        return part(name) if sqlite else cast(part(name), BigInteger)

    lines = (
        select(
            *keys,
            part("item").label("item"),
            number("price").label("price"),
            func.sum(number("parts")).label("figure1"),
            func.sum(number("amount")).label("figure2"),
        )
        .select_from(jobs.join(charge.table, true()))
        .where(ended, is_priced)
        .group_by(*by_key, literal_column("item"), literal_column("price"))
    )
    return union_all(counts, lines)


def spending_of(found: Iterable[RowMapping], by: GroupBy) -> Spending:
    """Return what the query has found."""
    counts: dict[tuple[Any, Any], tuple[int, int]] = {}
    lines: dict[tuple[Any, Any], list[Line]] = defaultdict(list)
    for one in found:
        key = one["key1"], one["key2"]
        figures = int(one["figure1"]), int(one["figure2"])
        if one["item"] is None:
            counts[key] = figures
        else:
            lines[key].append(Line.of_parts(Item(one["item"]), figures[0], int(one["price"]), figures[1]))
    return Spending.of(
        CostGroup(group=_name(*key, by), jobs=jobs, unpriced=unpriced, cost=Cost.of(lines[key]))
        for key, (jobs, unpriced) in counts.items()
    )


def _key(by: GroupBy, *, sqlite: bool) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    nothing = cast(null(), Text)
    if by is GroupBy.REQUESTER:
        return jobs.c.request_source_type + "", jobs.c.request_source_name + ""
    if by is GroupBy.TAG:
        return _tags(sqlite=sqlite), nothing
    return jobs.c[by.value] + "", nothing


def _tags(*, sqlite: bool) -> ColumnElement[Any]:
    """Return a job's tags in their order as a JSON text, without those in which our own bookkeeping lies."""
    each = func.json_each if sqlite else func.jsonb_array_elements_text
    tag = each(jobs.c.tags).table_valued("value", name="tag").c.value
    all_of = func.json_group_array(tag) if sqlite else cast(func.json_agg(tag), Text)
    kept = and_(*(~tag.startswith(prefix) for prefix in (SOURCE_TAG, PARENT_TAG)))
    return select(all_of).where(kept).correlate(jobs).scalar_subquery()


def _name(first: str | None, second: str | None, by: GroupBy) -> str | None:
    if by is GroupBy.REQUESTER:
        return requester_name(str(first), second)
    if by is GroupBy.TAG:
        return tags_name(json.loads(first or "[]"))
    return first
