"""Loads the query engine's extensions, from their wheels where possible."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_narrative.planes.errors import ExtensionMissingError, shortened
from prefect_narrative.planes.names import literal

if TYPE_CHECKING:
    import duckdb


def wheel_path(name: str, engine_version: str) -> Path | None:
    """Return where the wheel of an extension keeps its binary for this version of the engine, or None."""
    spec = find_spec(f"duckdb_extension_{name}")
    if spec is None:
        return None
    for folder in spec.submodule_search_locations or ():
        path = Path(folder) / "extensions" / f"v{engine_version}" / f"{name}.duckdb_extension"
        if path.is_file():
            return path
    return None


def load_extension(connection: "duckdb.DuckDBPyConnection", name: str) -> None:
    """Load an extension: from its wheel, else by name, else by installing it from DuckDB's repository.

    Raises:
        ExtensionMissingError: none of the three worked; with what each of them said.
    """
    import duckdb  # noqa: PLC0415  (the engine is loaded by those who open a plane only)

    path = wheel_path(name, duckdb.__version__)
    attempts = [f"LOAD {name}", f"INSTALL {name}; LOAD {name}"]
    if path is not None:
        attempts.insert(0, f"LOAD {literal(str(path))}")
    said = []
    for statement in attempts:
        try:
            connection.execute(statement)
        except duckdb.Error as error:
            said.append(f"{statement}: {shortened(str(error), 120)}")
        else:
            return
    raise ExtensionMissingError(
        f"DuckDB {duckdb.__version__} could not load its extension {name!r}. " + " | ".join(said),
        detail={"extension": name, "engine_version": duckdb.__version__},
    )
