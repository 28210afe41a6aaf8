"""What a refresh leaves to be published."""

from dataclasses import dataclass

from prefect_narrative.planes.plane import Write


def counted(rows: int) -> str:
    """Return a number of rows for a sentence."""
    return "1 row" if rows == 1 else f"{rows} rows"


@dataclass(frozen=True)
class Outcome:
    """What a refresh makes of a view's rows: staged, seen by nobody before it is published."""

    write: Write
    inserted_rows: int
    deleted_rows: int
    rows: int
    """Rows in the view afterwards."""
    told: str = ""
    """What became of the rows, in a sentence, where counts alone do not say it."""
    seconds: float = 0.0
    """What making them took."""
