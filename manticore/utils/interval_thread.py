"""A thread that does something once an interval, as long as a context is open."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class IntervalThread(ABC):
    """A context in which a thread calls `tick` after each interval, until it returns True.

    Args:
        name: name of the thread.
        interval: seconds between two calls.
    """

    def __init__(self, name: str, interval: float) -> None:
        self.interval = interval
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def tick(self) -> bool:
        """Called after each interval, in the thread. Returns whether that was the last time."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self.interval):
            if self.tick():
                return
