"""When a program takes so much longer than others that a second machine should run it, too."""

from __future__ import annotations

import threading

_MIN_S = 1.0
"""Seconds before which no program is a straggler: a second start is not free either."""

_MIN_PROGRAMS = 10
"""Programs after which it is known what is usual."""

_WEIGHT = 0.1
"""Weight of a program in the moving average of seconds."""


class Durations:
    """Usual seconds from the start of a program on a machine to its verdict.

    Args:
        factor: Times the usual seconds after which a program is a straggler; 0 for never.
    """

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._usual_s = 0.0
        self._programs = 0
        self._lock = threading.Lock()

    def note(self, seconds: float) -> None:
        """Note how long a program took."""
        with self._lock:
            self._programs += 1
            self._usual_s += max(_WEIGHT, 1 / self._programs) * (seconds - self._usual_s)

    @property
    def straggles_after_s(self) -> float | None:
        """Seconds after which a program is a straggler; `None` if none is, or it is not known yet."""
        with self._lock:
            if not self._factor or self._programs < _MIN_PROGRAMS:
                return None
            return max(_MIN_S, self._factor * self._usual_s)
