"""Sets the clock of a Python process back; Python imports this by itself where its folder is on the path."""

import ctypes
import gc
import os
import time
from datetime import datetime, timedelta
from typing import Any

BEHIND = float(os.environ.get("NARRATIVE_FAULTS_SET_BACK_SECONDS", "0"))


def set_back(seconds: float) -> None:
    """Have `time` and `datetime` tell an earlier time from now on.

    A class in place of `datetime` would not be taken for it by all who look; so its own methods are replaced, which a
    class written in C keeps out of reach.
    """
    real_time, real_time_ns, behind = time.time, time.time_ns, timedelta(seconds=seconds)
    time.time = lambda: real_time() - seconds
    time.time_ns = lambda: real_time_ns() - int(seconds * 1_000_000_000)
    (methods,) = gc.get_referents(datetime.__dict__)
    real_now, real_utcnow = methods["now"], methods["utcnow"]

    def now(cls: type[datetime], tz: Any = None) -> datetime:
        return real_now.__get__(None, cls)(tz) - behind  # type: ignore[no-any-return]

    def utcnow(cls: type[datetime]) -> datetime:
        return real_utcnow.__get__(None, cls)() - behind  # type: ignore[no-any-return]

    methods["now"], methods["utcnow"] = classmethod(now), classmethod(utcnow)
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(datetime))


if BEHIND:
    set_back(BEHIND)
