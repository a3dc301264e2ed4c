"""Equidistant vertices: a convex polygon, each vertex of which has `count` others at nearly one distance.

Improve `construct`, which returns the vertices in order. A vertex's error is the smallest spread of `count` of its
distances; the score is minus the largest error, over the square of the shortest side and times the diameter. The
polygon has to be strictly convex, in rational arithmetic. Rounding changes the score by less than 1e-9.
"""
# /// script
# [tool.overnight]
# title = "Convex polygon with equidistant vertices"
# inputs = [[4, 20]]
# score_name = "minus the largest error"
#
# [tool.overnight.known]
# start = -1.496903
# ///

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

import funsearch

SMALLEST = 1e-3
"""The shortest side over the diameter is more, so that rounding does not matter."""


@funsearch.run
def evaluate(count: int, n: int) -> float:
    """Return minus the largest error."""
    return value_of(construct(count, n), count, n)


def value_of(placed: Sequence[tuple[float, float]], count: int, n: int) -> float:
    """Return minus the largest error for given vertices."""
    points = [(float(x), float(y)) for x, y in placed]
    if len(points) != n or not all(abs(value) < 1e6 for point in points for value in point):
        raise ValueError(f"expected {n} points, nearer than 10^6")
    check_convex([(Fraction(x), Fraction(y)) for x, y in points])
    diameter = max(math.dist(a, b) for a, b in itertools.combinations(points, 2))
    side = min(math.dist(points[i - 1], points[i]) for i in range(n))
    if side <= SMALLEST * diameter:
        raise ValueError("a side is too short")
    worst = 0.0
    for vertex in points:
        distances = sorted(math.dist(vertex, point) for point in points if point is not vertex)
        worst = max(worst, min(b - a for a, b in zip(distances, distances[count - 1 :], strict=False)))
    return -worst * diameter / side**2


def check_convex(points: list[tuple[Fraction, Fraction]]) -> None:
    """Raise an error unless every vertex lies strictly on one side of every edge that does not touch it."""
    sides = set()
    for i, (ax, ay) in enumerate(points):
        bx, by = points[i - 1]
        others = [point for j, point in enumerate(points) if j not in (i, (i - 1) % len(points))]
        turns = [(bx - ax) * (y - ay) - (x - ax) * (by - ay) for x, y in others]
        sides |= {(turn > 0) - (turn < 0) for turn in turns}
    if len(sides) != 1 or 0 in sides:
        raise ValueError("the polygon is not strictly convex, or its vertices are not in order")


@funsearch.evolve
def construct(count: int, n: int) -> list[tuple[float, float]]:
    """Return the vertices: of a regular polygon."""
    return [(math.cos(2 * math.pi * i / n), math.sin(2 * math.pi * i / n)) for i in range(n)]
