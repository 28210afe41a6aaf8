"""All that `narrative` writes: tables and progress for people, one JSON document for programs, nothing hostile."""

import base64
import json
import math
import os
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from prefect_narrative.errors import NarrativeError

if TYPE_CHECKING:
    from rich.console import Console

HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories of characters that steer a terminal, re-order text or can't be written."""
JOINERS = frozenset("\u200c\u200d")
"""Format characters that ordinary words and emoji need."""


def clean(value: object, *, lines: bool = False) -> str:
    """Return a value as text that can't steer a terminal: control characters become visible escapes.

    Args:
        value: Anything; None becomes the empty text.
        lines: Keep line breaks, and tabs as spaces.
    """
    text = "" if value is None else str(value)
    if lines:
        text = text.expandtabs(4)
    return "".join(_visible(character, lines=lines) for character in text)


def _visible(character: str, *, lines: bool) -> str:
    if character.isascii() and character.isprintable():
        return character
    if (lines and character == "\n") or character in JOINERS:
        return character
    if unicodedata.category(character) in HIDDEN_CATEGORIES:
        return character.encode("unicode_escape", "surrogatepass").decode("ascii")
    return character


def cell(value: object) -> str:  # noqa: PLR0911 - one a type
    """Return a value as it stands in a table for people; None becomes a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{round(value, 4):,}" if value == 0 or 0.001 <= abs(value) < 1e15 else f"{value:g}"
    if isinstance(value, Decimal):
        return f"{value:,f}"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ") if value.tzinfo else value.isoformat(" ", "seconds")
    if isinstance(value, (Mapping, list, tuple)):
        return clean(dumps(value))
    return clean(value)


def seconds(value: float | None) -> str:
    """Return a duration for people, such as `0.4 s` or `3 min 20 s`; a dash where it is not known."""
    if value is None:
        return "-"
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def plain(value: Any) -> Any:  # noqa: PLR0911 - one a type
    """Return a value made of JSON's own types.

    Times become ISO 8601, bytes base64, decimals and other values text; a float that JSON lacks becomes its name.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode("ascii")
    return str(value)


def dumps(value: Any, *, indent: int | None = None) -> str:
    """Return a value as JSON in ASCII, which no terminal takes for commands."""
    return json.dumps(plain(value), indent=indent, allow_nan=False)


class Output:
    """Where one command writes to.

    Args:
        as_json: Write one JSON document and nothing else to standard output.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json

    @property
    def live(self) -> bool:
        """Whether a person watches: a terminal that can redraw, and no JSON asked for."""
        return not self.as_json and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def document(self, value: Any, *, indent: int | None = 2) -> None:
        """Write the one JSON document."""
        print(dumps(value, indent=indent), flush=True)  # noqa: T201

    def line(self, text: str = "") -> None:
        """Write a line of the answer, for people."""
        if not self.as_json:
            print(clean(text, lines=True), flush=True)  # noqa: T201

    def note(self, text: str) -> None:
        """Write a line about what happens, to standard error."""
        print(clean(text, lines=True), file=sys.stderr, flush=True)  # noqa: T201

    def error(self, error: NarrativeError) -> None:
        """Write what went wrong and what to do: to standard error, or as the JSON document."""
        if self.as_json:
            told = {"kind": error.kind, "code": error.code, "message": str(error), "remedy": error.remedy}
            self.document({"error": told})
        else:
            self.note(f"error: {error}\nremedy: {error.remedy}")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
        """Write a table: drawn on a terminal, columns of text elsewhere; numbers stand right."""
        if self.as_json:
            return
        texts = [[cell(value) for value in row] for row in rows]
        right = [
            bool(rows) and all(value is None or isinstance(value, (int, float, Decimal)) for value in column)
            for column in zip(*rows, strict=True)
        ] or [False] * len(columns)
        if sys.stdout.isatty():
            self._draw([clean(column) for column in columns], texts, right, title)
            return
        if title:
            self.line(title)
        heads = [clean(column) for column in columns]
        widths = [max(map(len, column)) for column in zip(heads, *texts, strict=True)]
        for row in (heads, *texts):
            parts = [
                text.rjust(width) if stands_right else text.ljust(width)
                for text, width, stands_right in zip(row, widths, right, strict=True)
            ]
            self.line("  ".join(parts).rstrip())

    def fields(self, values: Mapping[str, object]) -> None:
        """Write names and values, one a line; long texts keep their line breaks."""
        width = max((len(name) for name in values), default=0)
        for name, value in values.items():
            text = clean(value, lines=True) if isinstance(value, str) else cell(value)
            self.line(f"{name.ljust(width)}  {text.replace(chr(10), chr(10) + ' ' * (width + 2))}")

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Show that something takes its time: a spinner on a terminal, a line elsewhere, nothing with JSON."""
        if not self.live:
            if not self.as_json:
                self.note(f"{text} ...")
            yield
            return
        from rich.text import Text  # noqa: PLC0415 - only where something is drawn

        with terminal().status(Text(clean(text))):
            yield

    @staticmethod
    def _draw(heads: Sequence[str], texts: Sequence[Sequence[str]], right: Sequence[bool], title: str | None) -> None:
        from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - only where something is drawn
        from rich.console import Console  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        drawn = Table(
            box=SIMPLE_HEAD, title=Text(clean(title)) if title else None, title_justify="left", pad_edge=False
        )
        for head, stands_right in zip(heads, right, strict=True):
            drawn.add_column(Text(head), justify="right" if stands_right else "left", overflow="fold")
        for row in texts:
            drawn.add_row(*(Text(text, style=STYLES.get(text.partition(" for ")[0], "")) for text in row))
        Console(highlight=False, markup=False, emoji=False).print(drawn)


STYLES: Mapping[str, str] = {
    "pending": "yellow",
    "running": "cyan",
    "pending_cancellation": "magenta",
    "completed": "green",
    "failed": "red",
    "cancelled": "magenta",
    "fresh": "green",
    "stale": "yellow",
    "behind": "yellow",
}
"""How the names of states are drawn: those of jobs, and how fresh views are, with or without how long (`for ...`)."""


def terminal() -> "Console":
    """Return the terminal on standard error, where progress is drawn."""
    from rich.console import Console  # noqa: PLC0415 - only where something is drawn

    return Console(stderr=True, highlight=False, markup=False, emoji=False)
