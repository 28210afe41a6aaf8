"""The block in which an operator says where a data plane lives and how much of the machine it may use."""

from typing import TYPE_CHECKING, ClassVar

from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from pydantic import Field

from prefect_narrative.errors import FailureKind, NarrativeError
from prefect_narrative.settings import Settings

if TYPE_CHECKING:
    from prefect_narrative.planes.plane import Plane

DEFAULT_PLANE = "default"
PLANE_NAME = r"^[a-z0-9]+(-[a-z0-9]+)*$"


class PlaneNotFoundError(NarrativeError, LookupError):
    """There is no data plane of that name."""

    kind: ClassVar[FailureKind] = FailureKind.INPUT
    code: ClassVar[str] = "plane_not_found"
    remedy = "Create a block of the type Narrative Data Plane with that name, or leave data_plane at its default."


class DataPlane(Block):
    """Where datasets live and queries run.

    Jobs name a plane by this block's name; its data lies below `NARRATIVE_HOME/planes/<name>` on the worker's machine.

    Example:
        Open a plane that an operator has made:
        ```python
        from prefect_narrative.blocks import DataPlane

        block = DataPlane.load("BLOCK_NAME")
        with block.open("BLOCK_NAME") as plane:
            print(plane.datasets())
        ```
    """

    _block_type_name = "Narrative Data Plane"
    _block_type_slug = "narrative-data-plane"
    # Prefect takes only an http(s) address here; this one is the icon that its own file system blocks show.
    _logo_url = "https://raw.githubusercontent.com/PrefectHQ/prefect/420d0d6a78bb6df1fc18bcf188fdad43c1d22ea9/assets/block-logos/filesystem.png"  # type: ignore[assignment]
    _documentation_url = "https://docs.prefect.io/v3/concepts/blocks"  # type: ignore[assignment]
    _description = "Where the platform's datasets live and queries run."

    memory_limit: str | None = Field(
        default=None,
        title="Memory limit",
        description="Memory that one job's query engine may use before it spills to disk, such as 4GB. "
        "Empty: the worker's NARRATIVE_MEMORY_LIMIT.",
        pattern=r"^\d+(\.\d+)?\s?(KB|MB|GB|TB|KiB|MiB|GiB|TiB)$",
        examples=["4GB"],
    )
    threads: int | None = Field(
        default=None,
        title="Threads",
        description="Threads of one job's query engine. Empty: the worker's NARRATIVE_THREADS, else all cores.",
        ge=1,
        le=1024,
    )

    def open(self, name: str, settings: Settings | None = None) -> "Plane":
        """Attach the plane called `name` and return it, to be closed by the caller."""
        from prefect_narrative.planes import open_plane  # noqa: PLC0415  blocks are imported everywhere; engines are not

        settings = settings or Settings()
        own = {field: value for field in ("memory_limit", "threads") if (value := getattr(self, field)) is not None}
        return open_plane(name, settings.plane_directory(name), settings.model_copy(update=own))


def load_plane(name: str = DEFAULT_PLANE, settings: Settings | None = None) -> "Plane":
    """Attach the data plane of a name: as its block says, and the default one also where nobody made a block for it.

    Raises:
        PlaneNotFoundError: there is no block of that name.
    """
    with get_client(sync_client=True) as client:
        try:
            document = client.read_block_document_by_name(name, DataPlane.get_block_type_slug())
        except ObjectNotFound as exc:
            if name != DEFAULT_PLANE:
                raise PlaneNotFoundError(f"There is no data plane called {name!r}.") from exc
            return DataPlane().open(name, settings)
    return DataPlane.model_validate(document.data).open(name, settings)
