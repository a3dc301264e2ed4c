"""Compaction beside a night: the files of old generations are put together while the search goes on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from schemas.errors import Outage, OvernightError
from tasks.history.compact import MIN_AT_END, MIN_DURING_NIGHT, compact
from tasks.history.files import RunFiles


class Compaction:
    """Compacts a run in a thread of its own. A failure costs nothing but speed: it is noted, and only after an outage
    is more tried.

    Args:
        files: Of the run; its lock is held.
        note: Is told what went wrong.
    """

    def __init__(self, files: RunFiles, note: Callable[[str], None]) -> None:
        self._files = files
        self._note = note
        self._has_failed = False
        self._thread = ThreadPoolExecutor(1, "overnight-compact")
        self._running: Future[None] | None = None

    def committed(self) -> None:
        """Begins where there is enough to do and nothing being done; returns at once."""
        if self._running is None or self._running.done():
            self._running = self._thread.submit(self._compact, MIN_DURING_NIGHT)

    def close(self) -> None:
        """At the end of a night: what is left, where it is more than a few. Returns when it is done."""
        self._thread.submit(self._compact, MIN_AT_END)
        self._thread.shutdown()

    def _compact(self, least: int) -> None:
        if self._has_failed:
            return
        try:
            compact(self._files, least)
        except OvernightError as error:
            self._has_failed = not isinstance(error, Outage)
            self._note(error.message)
