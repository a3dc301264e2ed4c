"""Number of samples in flight: few in a small search, so that each prompt sees more results; more in a large one."""

from __future__ import annotations

_WINDOWS = ((250, 4), (5_000, 8))
"""Largest numbers of samples, and the window up to each."""

_LARGE = 16
"""Window for more samples, or where their number is not known."""


def window_for(expected_samples: int | None) -> int:
    """Return the number of samples in flight for a run that is expected to take so many."""
    if expected_samples is None:
        return _LARGE
    return next((window for limit, window in _WINDOWS if expected_samples <= limit), _LARGE)
