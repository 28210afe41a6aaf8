"""Datasets dropped in a publication, and publications that a guard refuses."""

from collections.abc import Sequence
from uuid import uuid4

import pytest
from plane_samples import make_dataset, rows_of

from prefect_narrative.planes import Plane, Write
from prefect_narrative.planes.errors import DatasetExistsError, DatasetNotFoundError, OvertakenError, WrongKindError
from prefect_narrative.planes.plane import Description


def test_a_dropped_dataset_is_gone_from_its_snapshot_on_and_exactly_once(plane: Plane) -> None:
    before = make_dataset(plane, "orders", "SELECT 1 AS a", properties={"tags": ["old"]}).snapshot_id
    make_dataset(plane, "totals", "SELECT 2 AS a", kind="view")
    job = uuid4()
    plane.claim(job, 1)
    writes = [Write("orders", "drop"), Write("totals", "drop", kind="view")]
    dropped = plane.publish(job, 1, writes, {"dropped": 2})
    assert (dropped.found, dropped.result) == (False, {"dropped": 2, "snapshot_id": dropped.snapshot_id})
    assert list(plane.datasets()) == []
    assert list(plane.descriptions()) == []
    assert rows_of(plane, "SELECT a FROM orders", at=before) == [(1,)]
    make_dataset(plane, "orders", "SELECT 3 AS a")
    assert plane.dataset("orders").properties == {}
    again = plane.publish(job, 2, writes, {"dropped": 2})
    assert (again.found, again.result) == (True, dropped.result)
    assert rows_of(plane, "SELECT a FROM orders") == [(3,)]


def test_what_can_not_be_dropped(plane: Plane) -> None:
    make_dataset(plane, "orders", "SELECT 1 AS a")
    standing = plane.dataset("orders").table_id
    for error, write in (
        (DatasetNotFoundError, Write("order", "drop")),
        (WrongKindError, Write("orders", "drop", kind="view")),
        (OvertakenError, Write("orders", "drop", replaces=standing + 1)),
    ):
        job = uuid4()
        plane.claim(job, 1)
        with pytest.raises(error):
            plane.publish(job, 1, [write], {})
    assert rows_of(plane, "SELECT a FROM orders") == [(1,)]


def test_a_guard_sees_what_is_there_under_the_lock_and_may_refuse(plane: Plane) -> None:
    make_dataset(plane, "orders", "SELECT 1 AS a", kind="view", properties={"tags": ["x"]})
    seen: list[Description] = []

    def guard(found: Sequence[Description]) -> None:
        seen.extend(found)
        raise DatasetExistsError("no")

    job = uuid4()
    plane.claim(job, 1)
    with pytest.raises(DatasetExistsError, match="no"):
        plane.publish(job, 1, [Write("orders", "drop", kind="view")], {}, guard)
    assert seen == [Description("orders", "view", plane.dataset("orders").table_id, {"tags": ["x"]})]
    assert list(plane.descriptions()) == seen
    assert plane.publish(job, 1, [Write("orders", "drop", kind="view")], {}, lambda found: None).found is False
