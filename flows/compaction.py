"""Compaction during a night: files of old generations are merged while the search runs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from schemas.errors import Outage, OvernightError
from tasks.history.compact import MIN_AT_END, MIN_DURING_NIGHT, compact
from tasks.history.files import RunFiles


class Compaction:
    """Compaction of one run in a thread of its own.

    A failure only makes queries slower, so it is noted. After an outage the next compaction is attempted as usual;
    after any other failure none is.

    Args:
        files: Files of the run, whose lock is held.
        note: Function that takes an error message.
    """

    def __init__(self, files: RunFiles, note: Callable[[str], None]) -> None:
        self._files = files
        self._note = note
        self._has_failed = False
        self._thread = ThreadPoolExecutor(1, "overnight-compact")
        self._running: Future[None] | None = None

    def committed(self) -> None:
        """Start a compaction if enough generations have accumulated and none is running; return at once."""
        if self._running is None or self._running.done():
            self._running = self._thread.submit(self._compact, MIN_DURING_NIGHT)

    def close(self) -> None:
        """Compact the remaining generations, unless they are few, and wait until that is done."""
        self._thread.submit(self._compact, MIN_AT_END)
        self._thread.shutdown()

    def _compact(self, minimum: int) -> None:
        if self._has_failed:
            return
        try:
            compact(self._files, minimum)
        except OvernightError as error:
            self._has_failed = not isinstance(error, Outage)
            self._note(error.message)
