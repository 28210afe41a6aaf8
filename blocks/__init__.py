"""Blocks: what an operator fills in. They import no engine, since Prefect imports them everywhere."""

from prefect_narrative.blocks.data_plane import DEFAULT_PLANE, DataPlane, PlaneNotFoundError, load_plane
from prefect_narrative.blocks.prices import PriceList

__all__ = ["DEFAULT_PLANE", "DataPlane", "PlaneNotFoundError", "PriceList", "load_plane"]
