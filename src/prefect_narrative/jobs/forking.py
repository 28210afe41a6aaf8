"""No SQLite connection may be open while its process forks.

SQLite keeps what it knows of a file's locks in the memory of the process. A fork copies that knowledge but not the
locks: the child would believe that it holds what it does not, and the parent could remove the log that the child writes
to. So a fork waits for the work in hand, closes what is open, and both sides open connections of their own.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from weakref import WeakSet

LONGEST_WAIT_SECONDS = 10.0
"""How long a fork waits for other threads' work with the job table; then it goes ahead without more ado."""


class ForkGate:
    """Keeps forks and work with connections apart.

    Args:
        close: Closes every connection that is not at work.
    """

    def __init__(self, close: Callable[[], None]) -> None:
        self._close = close
        self._changed = threading.Condition()
        self._at_work = 0
        self._is_shut = False
        _gates.add(self)

    @contextmanager
    def work(self) -> Iterator[None]:
        """Hold forks off while a connection is in use."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_shut)
            self._at_work += 1
        try:
            yield
        finally:
            with self._changed:
                self._at_work -= 1
                self._changed.notify_all()

    def shut(self) -> None:
        """Let no work begin, wait for the work in hand, and close the connections."""
        self._changed.acquire()
        self._is_shut = True
        self._changed.wait_for(lambda: self._at_work == 0, timeout=LONGEST_WAIT_SECONDS)
        self._close()

    def open(self, *, child: bool) -> None:
        """Let work begin again; in a child there is none in hand, since other threads are not there."""
        if child:
            self._at_work = 0
        self._is_shut = False
        self._changed.notify_all()
        self._changed.release()


_gates: WeakSet[ForkGate] = WeakSet()
_shut: list[ForkGate] = []


def _before() -> None:
    for gate in list(_gates):
        gate.shut()
        _shut.append(gate)


def _after(*, child: bool) -> None:
    while _shut:
        _shut.pop().open(child=child)


os.register_at_fork(
    before=_before, after_in_parent=lambda: _after(child=False), after_in_child=lambda: _after(child=True)
)
