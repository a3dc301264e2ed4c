"""Ring loading: pairs u, v whose sums can never be split evenly round a ring.

Improve `construct`, which returns m pairs u, v >= 0 with u + v <= 1. Each pair is sent as v or as -u; the load of a
choice is the largest difference between the sum of the first k and of the rest, for 0 < k < m. The score is the
smallest load of all 2^m choices. Numbers are rounded down to multiples of 2^-50; the rest is exact.
"""
# /// script
# dependencies = ["numpy"]
#
# [tool.overnight]
# title = "Ring loading, 15 pairs"
# inputs = [15]
# score_name = "smallest load"
#
# [tool.overnight.known]
# start = 0.5
# ///

from collections.abc import Sequence
from fractions import Fraction

import funsearch
import numpy as np

UNIT = 2**50


@funsearch.run
def evaluate(m: int) -> float:
    """Return the smallest load of all choices."""
    return value_of(construct(m), m)


def value_of(given: Sequence[tuple[float, float]], m: int) -> float:
    """Return the smallest load for given pairs."""
    pairs = [(Fraction(float(u)), Fraction(float(v))) for u, v in given]
    if len(pairs) != m or not 2 <= m <= 20:
        raise ValueError(f"expected {m} pairs, from 2 to 20")
    if not all(u >= 0 and v >= 0 and u + v <= 1 for u, v in pairs):
        raise ValueError("u and v must be 0 or more and together at most 1")
    sums = np.zeros((1, 1), dtype=np.int64)
    for u, v in pairs:
        sent = (int(v * UNIT), -int(u * UNIT))
        sums = np.hstack([np.vstack([sums, sums[-1:] + one]) for one in sent])
    return float(Fraction(int(np.abs(2 * sums[1:-1] - sums[-1]).max(axis=0).min()), UNIT))


@funsearch.evolve
def construct(m: int) -> list[tuple[float, float]]:
    """Return the pairs."""
    return [(0.5, 0.5)] * m
