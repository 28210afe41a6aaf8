"""Runs the engine in a thread of its own, so that a signal reaches the main thread while a query is running."""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from prefect_narrative.planes.errors import PlaneClosedError

T = TypeVar("T")

REPEAT_SECONDS = 0.02
"""How often a query that does not stop is interrupted again."""


class _Task:
    """One call for the worker thread."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work
        self.result: Any = None
        self.error: BaseException | None = None
        self.abandoned = False
        self.done = threading.Lock()
        self.done.acquire()

    def run(self) -> None:
        try:
            if not self.abandoned:
                self.result = self.work()
        except BaseException as error:
            self.error = error
        finally:
            self.done.release()


class EngineThread:
    """A thread that does one call at a time while its caller waits in Python.

    Args:
        stop: Interrupts what the engine is doing, if anything; called from any thread, as often as needed.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._queue: SimpleQueue[_Task | None] = SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="narrative-plane", daemon=True)
        self._thread.start()

    def call(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, done in the engine's thread.

        An exception that reaches the caller's thread meanwhile (a signal handler's, KeyboardInterrupt) stops the
        engine; it goes on once the engine has let go.
        """
        if self._closed:
            raise PlaneClosedError
        if threading.current_thread() is self._thread:
            return work()
        task = _Task(work)
        try:
            self._queue.put(task)
            task.done.acquire()
        except BaseException:
            task.abandoned = True
            self._drain()
            raise
        if task.error is not None:
            try:
                raise task.error
            finally:
                task.error = None  # else the traceback and the task keep each other alive
        return task.result  # type: ignore[no-any-return]

    def _drain(self) -> None:
        """Interrupt until the thread has come to the end of its queue; a second signal does not end the wait."""
        barrier = _Task(lambda: None)
        self._queue.put(barrier)
        while True:
            try:
                self._stop()
                if barrier.done.acquire(timeout=REPEAT_SECONDS):
                    return
            except BaseException:  # noqa: S112  (the first exception is the one that goes on)
                continue

    def close(self) -> None:
        """End the thread after what it is doing."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            if threading.current_thread() is not self._thread:
                self._thread.join()

    def _serve(self) -> None:
        while (task := self._queue.get()) is not None:
            task.run()
