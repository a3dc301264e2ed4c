"""An event loop whose time stands still while the process does, for time-outs of requests."""

from __future__ import annotations

import asyncio
import time

_TICK_S = 0.5
"""Seconds after which the clock is read, also where nothing happens."""

_JUMP_S = 2.0
"""Seconds between two readings beyond which the process did not run meanwhile: it was stopped, or the machine was."""


class RunningTimeLoop(asyncio.SelectorEventLoop):
    """Event loop whose time counts only while the process runs.

    A process that is stopped for longer than a time-out finds the answer in its socket when it goes on. By the
    monotonic clock, the time would be up before it looks there, and the answer, which is paid for, thrown away.
    """

    def __init__(self) -> None:
        self._read_at = time.monotonic()
        self._stood_still_s = 0.0
        super().__init__()
        self.call_soon(self._tick)

    def time(self) -> float:
        """Return the seconds of the monotonic clock, less those in which the process did not run."""
        now = time.monotonic()
        passed, self._read_at = now - self._read_at, now
        if passed > _JUMP_S:
            self._stood_still_s += passed
        return now - self._stood_still_s

    def _tick(self) -> None:
        self.call_later(_TICK_S, self._tick)
