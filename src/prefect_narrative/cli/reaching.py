"""Prefect's own errors, told as ours, where a command calls Prefect without our client."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect.exceptions import PrefectHTTPStatusError

from prefect_narrative.client import PrefectRefusedError, PrefectUnavailableError


@contextmanager
def reaching() -> Iterator[None]:
    """Raise our errors where Prefect can't be reached or refuses.

    Raises:
        PrefectRefusedError: the credentials are wrong or missing.
        PrefectUnavailableError: the server is down, or no server is configured.
    """
    try:
        yield
    except PrefectHTTPStatusError as exc:
        if exc.response.status_code in {401, 403}:
            raise PrefectRefusedError(f"Prefect refused with {exc.response.status_code}.") from exc
        raise PrefectUnavailableError(f"Prefect answered {exc.response.status_code}.") from exc
    except httpx.HTTPError as exc:
        raise PrefectUnavailableError(f"Prefect's API can't be reached: {exc}") from exc
    except ValueError as exc:
        if "PREFECT_API_URL" not in str(exc):
            raise
        raise PrefectUnavailableError("No Prefect server is configured, and no `narrative up` runs.") from exc
