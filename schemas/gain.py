"""The difference of two scores, without what is rounding alone."""

from __future__ import annotations

import math

_ROUNDING = 1e-12
"""Relative difference up to which two scores differ by the rounding of sums of floating-point numbers only."""


def gain_of(before: float, after: float) -> float:
    """Return how much higher a score is than one before; 0 where they differ by rounding only."""
    return 0.0 if math.isclose(before, after, rel_tol=_ROUNDING) else after - before
