"""Circles in a rectangle of perimeter 4: place n without overlap so that the sum of their radii is large.

Improve `construct`, which returns x, y and the radius of each. If some overlap, all are shrunk by the same factor;
then all are scaled so that the rectangle round them has width and height 2 together. Overlap is checked in rational
arithmetic, without any tolerance.
"""
# /// script
# [tool.overnight]
# title = "Circles in a rectangle of perimeter 4"
# inputs = [21]
# score_name = "sum of the radii"
#
# [tool.overnight.known]
# start = 2.1
# ///

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

import funsearch

MARGIN = 1 - 2.0**-46
"""Factor by which shrunk circles are made smaller still, so that rounding never makes two overlap."""

Circle = tuple[Fraction, Fraction, Fraction]


@funsearch.run
def evaluate(n: int) -> float:
    """Return the sum of the radii."""
    return value_of(construct(n), n)


def value_of(placed: Sequence[Sequence[float]], n: int) -> float:
    """Return the sum of the radii of given circles, after shrinking and scaling."""
    circles = [(Fraction(float(x)), Fraction(float(y)), Fraction(float(r))) for x, y, r in placed]
    if len(circles) != n or min(r for _, _, r in circles) < 0 or max(r for _, _, r in circles) == 0:
        raise ValueError(f"expected {n} circles, with radii of 0 or more and not all 0")
    if overlap(circles):
        shrink = Fraction(MARGIN * min(fitting(a, b) for a, b in itertools.combinations(circles, 2)))
        circles = [(x, y, shrink * r) for x, y, r in circles]
    if overlap(circles):
        raise ValueError("two circles overlap")
    sides = [max(c[i] + c[2] for c in circles) - min(c[i] - c[2] for c in circles) for i in (0, 1)]
    return float(sum(r for _, _, r in circles) * 2 / sum(sides))


def overlap(circles: list[Circle]) -> bool:
    """Return whether two circles overlap, exactly."""
    return any(
        (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 < (a[2] + b[2]) ** 2 for a, b in itertools.combinations(circles, 2)
    )


def fitting(a: Circle, b: Circle) -> float:
    """Return the factor that makes two circles no more than touch."""
    together = float(a[2] + b[2])
    return 1.0 if together == 0 else min(1.0, math.hypot(a[0] - b[0], a[1] - b[1]) / together)


@funsearch.evolve
def construct(n: int) -> list[tuple[float, float, float]]:
    """Return x, y and the radius of each circle."""
    return [(i % 5, i // 5, 0.5) for i in range(n)]
