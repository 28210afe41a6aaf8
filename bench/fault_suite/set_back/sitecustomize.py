"""Sets the clock of a Python process back; Python imports this by itself where its folder is on the path."""

import datetime as module
import os
import time
from typing import Any

BEHIND = float(os.environ.get("NARRATIVE_FAULTS_SET_BACK_SECONDS", "0"))
Real = module.datetime


class _Meta(type):
    """Takes every real datetime for one of ours."""

    def __instancecheck__(cls, thing: Any) -> bool:
        return isinstance(thing, Real)

    def __subclasscheck__(cls, kind: type) -> bool:
        return issubclass(kind, Real)


class Late(Real, metaclass=_Meta):
    """A datetime whose present is in the past."""

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        """Return the time by this process's clock."""
        return Real.now(tz) - module.timedelta(seconds=BEHIND)

    @classmethod
    def utcnow(cls) -> Any:
        """Return the time by this process's clock, in UTC, without a zone."""
        return Real.utcnow() - module.timedelta(seconds=BEHIND)


if BEHIND:
    real_time, real_time_ns = time.time, time.time_ns
    time.time = lambda: real_time() - BEHIND
    time.time_ns = lambda: real_time_ns() - int(BEHIND * 1_000_000_000)
    module.datetime = Late  # type: ignore[misc]
