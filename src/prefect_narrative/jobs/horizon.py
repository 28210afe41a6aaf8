"""How far a sweep looks back at runs that have ended, and when ahead; kept over the reconciler's down times."""

import logging
import os
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

logger = logging.getLogger(__name__)

OVERLAP = timedelta(minutes=2)
"""How far a sweep looks back beyond the last one: for times that were given before their transaction was seen."""
FAR_BACK = timedelta(days=1)
FAR_BACK_EVERY = timedelta(hours=1)
FIRST_LOOK_BACK = timedelta(days=30)
"""How far the first sweep of all looks back."""
AHEAD_EVERY = timedelta(seconds=30)
NOTE_EVERY = timedelta(seconds=30)


class Horizon:
    """Tells each sweep how far to look. All times of day are by the server's clock, which runs' times are by.

    Args:
        note: The file that says until when runs were seen, for the next reconciler in this home; None: nobody keeps it.
        ticks: Seconds of a clock that only goes forward.
    """

    def __init__(self, note: Path | None = None, *, ticks: Callable[[], float] = time.monotonic) -> None:
        self._note = note
        self._ticks = ticks
        self._swept_at: datetime | None = None
        self._looks_far_back = self._looks_ahead = False
        self._far_back_at = self._ahead_at = self._noted_at = -float("inf")

    @property
    def swept_at(self) -> datetime | None:
        """When the last whole sweep began; None before the first."""
        return self._swept_at

    def begin(self, now: datetime) -> tuple[datetime, bool]:
        """Return since when this sweep looks at runs that have ended, and whether it looks at those of a later time."""
        ticks = self._ticks()
        self._looks_ahead = ticks - self._ahead_at >= AHEAD_EVERY.total_seconds()
        self._looks_far_back = ticks - self._far_back_at >= FAR_BACK_EVERY.total_seconds()
        if self._swept_at is None:
            return min(self._noted() or now - FIRST_LOOK_BACK, now - FAR_BACK), self._looks_ahead
        # Where the server's clock was set back, from the earlier of both.
        since = min(self._swept_at, now) - OVERLAP
        return min(since, now - FAR_BACK) if self._looks_far_back else since, self._looks_ahead

    def end(self, now: datetime) -> None:
        """Keep that the sweep which began at this time has seen everything."""
        ticks = self._ticks()
        self._swept_at = now
        self._far_back_at = ticks if self._looks_far_back else self._far_back_at
        self._ahead_at = ticks if self._looks_ahead else self._ahead_at
        if self._note is not None and ticks - self._noted_at >= NOTE_EVERY.total_seconds():
            self._noted_at = ticks
            self._write(self._note, now)

    def _noted(self) -> datetime | None:
        if self._note is None:
            return None
        try:
            return datetime.fromisoformat(self._note.read_text(encoding="ascii").strip()) - OVERLAP
        except (OSError, ValueError):
            return None

    @staticmethod
    def _write(note: Path, now: datetime) -> None:
        draft = note.with_name(f"{note.name}.{os.getpid()}")
        try:
            draft.write_text(now.isoformat(), encoding="ascii")
            draft.replace(note)
        except OSError as exc:
            logger.warning("%s can't be written, so the next reconciler looks back further: %s", note, exc)
