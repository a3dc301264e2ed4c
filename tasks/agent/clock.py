"""Time of a session: its limit counts from the first request on, and what earlier sessions of the sample used."""

from __future__ import annotations

import time

FIRST_REQUEST_S = 600.0
"""Seconds that an agent has at least until it asks for anything: on a busy machine, some take minutes to start."""

LAST_S = 30.0
"""Seconds that an agent has to end, once it may ask its model no more."""


class Clock:
    """The clock of one session.

    Args:
        limit_s: Most seconds of the sample.
        earlier_s: Seconds of earlier sessions, which were cut short.

    Attributes:
        until: `time.monotonic()` at which the time is over.
    """

    def __init__(self, limit_s: float, earlier_s: float) -> None:
        self._limit_s, self._earlier_s = limit_s, earlier_s
        self._began: float | None = None
        self.until = time.monotonic() + max(limit_s, FIRST_REQUEST_S)

    def start(self) -> None:
        """Begin with the first request; later ones change nothing."""
        if self._began is None:
            self.put_to(self._earlier_s)

    def put_to(self, seconds: float) -> None:
        """Go on from the time of a turn that is repeated: what led to it takes its time once more.

        Near the limit there are some seconds left to do again what was done.
        """
        now = time.monotonic()
        self._began = now - seconds
        self.until = now + min(self._limit_s, max(LAST_S, self._limit_s - seconds))

    @property
    def seconds(self) -> float:
        """Seconds of the sample so far."""
        return self._earlier_s if self._began is None else time.monotonic() - self._began

    @property
    def left_s(self) -> float:
        return self.until - time.monotonic()
