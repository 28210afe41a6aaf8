"""What the client does with inputs that no request can carry."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.responses import DeploymentResponse

from prefect_narrative.client import Client, RefusedInputError
from prefect_narrative.settings import Settings


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with Client(Settings(home=tmp_path)) as opened:
        yield opened


@pytest.mark.parametrize("value", [float("nan"), datetime(2026, 3, 1, tzinfo=UTC), b"x", {1, 2}, "\ud800"], ids=repr)
def test_an_input_that_is_not_json_is_refused_before_anything_is_sent(client: Client, value: Any) -> None:
    nobody = cast("SyncPrefectClient", None)
    with pytest.raises(RefusedInputError, match="JSON"):
        client._ask(nobody, cast("DeploymentResponse", None), {"name": value}, "key")
