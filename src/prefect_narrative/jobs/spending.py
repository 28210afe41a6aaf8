"""What the jobs of a period cost, by group; each job counts in exactly one group, so that amounts add up."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Self

from prefect_narrative.costs import Cost
from prefect_narrative.jobs.record import PARENT_TAG, SOURCE_TAG, Job, Value

OTHERS = "(others)"
"""The name of the group of all that is left; no type or dataset can be called so."""


class GroupBy(StrEnum):
    """What the jobs of a period are grouped by."""

    TYPE = "type"
    """The job type."""
    DATASET = "dataset"
    """The dataset written or described; jobs without one are a group of their own."""
    REQUESTER = "requester"
    """Who asked: by which door, and the name where it is known, such as `schedule by_city`."""
    TAG = "tag"
    """All tags that people or deployments gave: a job with the tags a and b counts under `a, b`, and nowhere else."""


class CostGroup(Value):
    """The jobs of one group."""

    group: str | None
    """What they have in common; None: they have no dataset, or no tags."""
    jobs: int
    """How many jobs ended."""
    unpriced: int
    """Of these, how many started and have no known cost: they are not in the sum."""
    cost: Cost
    """What the others cost."""

    def __add__(self, other: "CostGroup") -> "CostGroup":
        """Return both together, under the first one's name."""
        return CostGroup(
            group=self.group,
            jobs=self.jobs + other.jobs,
            unpriced=self.unpriced + other.unpriced,
            cost=self.cost + other.cost,
        )


class Spending(Value):
    """What the jobs of a period cost."""

    jobs: int
    """How many jobs ended in the period, whatever became of them."""
    unpriced: int
    """Of these, how many started and have no known cost: they are not in the sum."""
    cost: Cost
    """What the others cost together: the sum of the groups."""
    groups: tuple[CostGroup, ...]
    """The dearest first."""

    @classmethod
    def of(cls, found: Iterable[CostGroup]) -> Self:
        """Return what groups come to; those of the same name become one."""
        groups: dict[str | None, CostGroup] = {}
        for one in found:
            groups[one.group] = groups[one.group] + one if one.group in groups else one
        order = sorted(groups.values(), key=lambda one: (-one.cost.cost_micro_cents_usd, one.group or ""))
        return cls(
            jobs=sum(one.jobs for one in order),
            unpriced=sum(one.unpriced for one in order),
            cost=Cost.of(line for one in order for line in one.cost.breakdown),
            groups=tuple(order),
        )

    def limited(self, most: int) -> "Spending":
        """Return the same with at most so many groups: what is cheaper than the others is one, called (others)."""
        if len(self.groups) <= most:
            return self
        others = sum(self.groups[most - 1 :], CostGroup(group=OTHERS, jobs=0, unpriced=0, cost=Cost.of(())))
        return self.model_copy(update={"groups": (*self.groups[: most - 1], others)})


def group_of(job: Job, by: GroupBy) -> str | None:
    """Return the name of the group in which a job counts."""
    if by is GroupBy.TYPE:
        return job.type
    if by is GroupBy.DATASET:
        return job.dataset
    if by is GroupBy.REQUESTER:
        return requester_name(job.request_source.type, job.request_source.name)
    return tags_name(tag for tag in job.tags if not tag.startswith((SOURCE_TAG, PARENT_TAG)))


def requester_name(type: str, name: str | None) -> str:
    """Return the name of a requester's group."""
    return type if name is None else f"{type} {name}"


def tags_name(tags: Iterable[str]) -> str | None:
    """Return the name of the group of jobs that have exactly these tags."""
    return ", ".join(tags) or None
