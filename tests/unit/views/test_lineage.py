"""Which views read what, and that no view is made from itself."""

import pytest

from prefect_narrative.planes.errors import DatasetNotFoundError
from prefect_narrative.planes.plane import Description
from prefect_narrative.views.definition import ReadVersion, ViewDefinition
from prefect_narrative.views.lineage import Lineage, ViewCycleError, check_sources


def dataset(name: str) -> Description:
    return Description(name, "dataset", 1)


def view(name: str, *sources: str) -> Description:
    read = tuple(ReadVersion(name=source, table_id=1, snapshot_id=1) for source in sources)
    definition = ViewDefinition(query="SELECT 1", columns=(), sources=read)
    return Description(name, "view", 1, definition.as_properties())


SHOP = (
    dataset("orders"),
    dataset("sales.regions"),
    dataset("unread"),
    view("totals", "orders"),
    view("by_region", "totals", "sales.regions"),
    view("top", "by_region"),
    view("report", "top", "totals"),
    view("the_time"),
)


def test_up_and_down_the_nearest_first() -> None:
    lineage = Lineage.of(SHOP)
    assert lineage.sources("by_region") == ("sales.regions", "totals")
    assert lineage.sources("orders") == lineage.sources("nothing") == ()
    assert lineage.readers("totals") == ("by_region", "report")
    assert lineage.ancestors("report") == ("top", "totals", "by_region", "orders", "sales.regions")
    assert lineage.dependants("orders") == ("totals", "by_region", "report", "top")
    assert lineage.dependants("unread") == lineage.dependants("report") == lineage.ancestors("the_time") == ()
    assert lineage.path("report", "orders") == ("report", "totals", "orders")
    assert lineage.path("report", "sales.regions") == ("report", "top", "by_region", "sales.regions")
    assert lineage.path("totals", "report") is None


def test_a_view_whose_definition_can_not_be_read_hides_no_other() -> None:
    odd = (Description("odd", "view", 1, {}), Description("odder", "view", 1, {"definition": "?"}))
    assert Lineage.of((*SHOP, *odd)).sources("odd") == ()
    assert Lineage.of((*SHOP, *odd)).readers("totals") == ("by_region", "report")


@pytest.mark.parametrize(
    ("name", "sources", "cycle"),
    [
        ("totals", ["totals"], ["totals", "totals"]),
        ("totals", ["orders", "report"], ["totals", "report", "totals"]),
        ("totals", ["top"], ["totals", "top", "by_region", "totals"]),
        ("by_region", ["report"], ["by_region", "report", "top", "by_region"]),
    ],
    ids=["itself", "direct", "over-two", "over-another"],
)
def test_a_cycle_is_refused_with_its_way(name: str, sources: list[str], cycle: list[str]) -> None:
    with pytest.raises(ViewCycleError) as refused:
        check_sources(name, sources, SHOP)
    assert refused.value.detail == {"cycle": cycle}
    assert ", which reads ".join(cycle) in str(refused.value)


def test_what_a_view_may_read() -> None:
    check_sources("new", ["report", "orders", "the_time"], SHOP)
    check_sources("report", ["top"], SHOP)
    with pytest.raises(DatasetNotFoundError, match="Nearest: totals"):
        check_sources("new", ["total"], SHOP)
