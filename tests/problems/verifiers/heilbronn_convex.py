"""Heilbronn's problem in a convex region: n points, no three of which form a small triangle.

Improve `construct`, which returns the points. The score is the area of the smallest triangle with corners among them
over that of their convex hull, in rational arithmetic.
"""
# /// script
# [tool.overnight]
# title = "Heilbronn's problem, 13 points in a convex region"
# inputs = [13]
# score_name = "smallest triangle, of the hull"
#
# [tool.overnight.known]
# start = 0.01762215
# ///

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

import funsearch

Point = tuple[Fraction, Fraction]


@funsearch.run
def evaluate(n: int) -> float:
    """Return the smallest triangle's area over that of the hull."""
    return value_of(construct(n), n)


def value_of(placed: Sequence[tuple[float, float]], n: int) -> float:
    """Return the quotient for given points."""
    points = sorted((Fraction(float(x)), Fraction(float(y))) for x, y in placed)
    if len(points) != n:
        raise ValueError(f"expected {n} points, got {len(points)}")
    smallest = min(abs(twice_area(*three)) for three in itertools.combinations(points, 3))
    if smallest == 0:
        return 0.0
    corners = chain(points) + chain(points[::-1])
    return float(smallest / sum(twice_area(corners[0], *two) for two in itertools.pairwise(corners)))


def twice_area(a: Point, b: Point, c: Point) -> Fraction:
    """Return twice the area of a triangle, positive if its corners go round to the left."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])


def chain(points: list[Point]) -> list[Point]:
    """Return one half of the convex hull of sorted points, without its last corner."""
    corners: list[Point] = []
    for point in points:
        while len(corners) > 1 and twice_area(corners[-2], corners[-1], point) <= 0:
            corners.pop()
        corners.append(point)
    return corners[:-1]


@funsearch.evolve
def construct(n: int) -> list[tuple[float, float]]:
    """Return x and y of each point."""
    return [(math.cos(2 * math.pi * i / n), math.sin(2 * math.pi * i / n)) for i in range(n)]
