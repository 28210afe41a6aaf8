"""The prices that an operator has set, read for a job while it works."""

import logging
import threading
from concurrent.futures import Future
from contextlib import nullcontext
from contextvars import copy_context
from datetime import timedelta
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.context import SyncClientContext
from prefect.exceptions import ObjectNotFound

from prefect_narrative.costs import Cost, Prices, cost_of
from prefect_narrative.costs.prices import PRICE_LIST, PRICE_LIST_TYPE
from prefect_narrative.jobs.charging import quantities_of
from prefect_narrative.jobs.record import Usage

logger = logging.getLogger(__name__)

PATIENCE = timedelta(seconds=1)
"""How long the end of a job waits for prices that were asked for at its beginning."""


def read_prices() -> Prices:
    """Return the prices of the price list; the defaults where nobody has made one.

    Raises:
        PriceMissingError: the list lacks a price.
        InvalidPriceError: it has one that can't be.
        httpx.HTTPError: Prefect can't be reached or refuses.
    """
    shared = SyncClientContext.get()
    # The engine's client is open for as long as the flow runs, and serves any thread; to make one takes longer than to
    # ask.
    with get_client(sync_client=True) if shared is None else nullcontext(shared.client) as client:
        return _read(client)


def _read(client: SyncPrefectClient) -> Prices:
    try:
        document = client.read_block_document_by_name(PRICE_LIST, PRICE_LIST_TYPE)
    except ObjectNotFound:
        return Prices.default()
    return Prices.from_usd(document.data)


class Pricing:
    """What one attempt of a job costs, by prices that a thread reads meanwhile: the job does not wait for them.

    Args:
        type: The job's type.
    """

    def __init__(self, type: str) -> None:
        self._type = type
        self._prices: Future[Prices] = Future()
        run = copy_context().run
        threading.Thread(target=run, args=(self._read,), name="narrative-prices", daemon=True).start()

    def _read(self) -> None:
        try:
            self._prices.set_result(read_prices())
        except BaseException as error:
            self._prices.set_exception(error)

    def cost(self, usage: Usage) -> Cost | None:
        """Return what it costs to have used this; None, with the reason in the log, where there are no prices."""
        try:
            prices = self._prices.result(PATIENCE.total_seconds())
        except Exception as error:  # the outcome of a job must not depend on what it costs
            logger.warning("What this job costs is not known: %s", _told(error))
            return None
        return cost_of(quantities_of(self._type, usage), prices)


def _told(error: Any) -> str:
    if isinstance(error, TimeoutError):
        return "Prefect did not tell the prices in time."
    remedy = getattr(error, "remedy", None)
    return f"{error} {remedy}" if remedy else f"the price list could not be read: {error!r}"
