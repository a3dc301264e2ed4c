"""Flow runs of one night start and end one at a time.

Each start or end is a few writes of Prefect's server. With SQLite, two that meet wait for each other for about two
seconds, whereas one takes some hundredths.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class FlowRunChanges:
    """The right of a thread to start or end a flow run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holder: int | None = None

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Let no other thread start or end a flow run within the context, except within `others_allowed`."""
        self._acquire()
        try:
            yield
        finally:
            self._release()

    @contextlib.contextmanager
    def others_allowed(self) -> Iterator[None]:
        """Let other threads start and end flow runs within the context, where this one had them wait."""
        if self._holder != threading.get_ident():
            yield
            return
        self._release()
        try:
            yield
        finally:
            self._acquire()

    def _acquire(self) -> None:
        self._lock.acquire()
        self._holder = threading.get_ident()

    def _release(self) -> None:
        self._holder = None
        self._lock.release()
