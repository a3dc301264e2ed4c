"""Requests that models have not answered yet: how many, and since when."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator


class RequestsInFlight:
    """Counts requests from when they are sent until they are answered or fail, from any thread."""

    def __init__(self) -> None:
        self._sent_at: dict[int, float] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Count a request as in flight while the block lasts."""
        with self._lock:
            number = next(self._numbers)
            self._sent_at[number] = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                del self._sent_at[number]

    def count(self) -> int:
        """Return how many requests are in flight."""
        return len(self._sent_at)

    def oldest_s(self) -> float:
        """Return for how many seconds the oldest of them has been in flight; 0 if there is none."""
        with self._lock:
            return time.monotonic() - next(iter(self._sent_at.values())) if self._sent_at else 0.0
