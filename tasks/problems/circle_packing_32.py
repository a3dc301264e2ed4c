"""Circle packing: put 32 circles into the unit square without overlap so that the sum of their radii is large.

Improve `place`, which returns the circles. If some overlap each other or the square's border, all are shrunk by the
same factor until none does. Then everything is checked in rational arithmetic, without any tolerance.
"""
# /// script
# dependencies = ["numpy"]
#
# [tool.overnight]
# title = "Circle packing, 32 circles in a square"
# inputs = [32]
# score_name = "sum of the radii of 32 circles"
#
# [tool.overnight.limits]
# wall_s = 20
# memory_mib = 512
#
# [tool.overnight.known]
# start = 2.66667
# best = 2.939572771205
# label = "best published packing of 32 circles"
# source = "the line that AlphaEvolve (2025) began, as of the date"
# date = "2026-09"
# ///

import itertools
import math
from fractions import Fraction

import funsearch

MARGIN = 1 - 2.0**-46
"""What is taken off besides when circles are shrunk, so that rounding never makes two overlap."""


@funsearch.run
def evaluate(n: int) -> float:
    """The sum of the radii of n circles that do not overlap."""
    circles = [(float(x), float(y), float(r)) for x, y, r in place(n)]
    if len(circles) != n:
        raise ValueError(f"place must return {n} circles, got {len(circles)}")
    if not all(0 <= x <= 1 and 0 <= y <= 1 and 0 <= r <= 1 for x, y, r in circles):
        raise ValueError("x, y and r of a circle must be from 0 to 1")
    if overlap(circles):
        shrink = MARGIN * fitting(circles)
        circles = [(x, y, shrink * r) for x, y, r in circles]
    if found := overlap(circles):
        raise ValueError(found)
    return float(sum(Fraction(r) for _, _, r in circles))


def fitting(circles: list[tuple[float, float, float]]) -> float:
    """The factor by which all radii must be multiplied so that circles no more than touch."""
    factors = [1.0]
    factors += [min(x, y, 1 - x, 1 - y) / r for x, y, r in circles if r > 0]
    for (x, y, r), (x2, y2, r2) in itertools.combinations(circles, 2):
        if r + r2 > 0:
            factors.append(math.hypot(x - x2, y - y2) / (r + r2))
    return min(factors)


def overlap(circles: list[tuple[float, float, float]]) -> str:
    """What is wrong with the circles, in rational arithmetic; empty if nothing is."""
    exact = [(Fraction(x), Fraction(y), Fraction(r)) for x, y, r in circles]
    for number, (x, y, r) in enumerate(exact):
        if r < 0 or min(x, y, 1 - x, 1 - y) < r:
            return f"circle {number} is not inside the square"
    for (i, (x, y, r)), (j, (x2, y2, r2)) in itertools.combinations(enumerate(exact), 2):
        if (x - x2) ** 2 + (y - y2) ** 2 < (r + r2) ** 2:
            return f"circles {i} and {j} overlap"
    return ""


@funsearch.evolve
def place(n: int) -> list[tuple[float, float, float]]:
    """Where the circles go, and how large they are.

    Args:
        n: How many.

    Returns:
        x, y and r of each circle; the square runs from 0 to 1.
    """
    side = 1
    while side * side < n:
        side += 1
    return [((i % side + 0.5) / side, (i // side + 0.5) / side, 0.5 / side) for i in range(n)]
