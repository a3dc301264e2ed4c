"""Heilbronn's problem: put n points into a triangle so that no three of them form a small triangle.

Improve `place`, which returns the points. They lie in the triangle (0, 0), (1, 0), (0, 1), its border included. The
score is the area of the smallest triangle with corners among the points, over that of the whole one, in rational
arithmetic: that quotient is the same in a triangle of any shape. For n = 11 the best known is 0.036529889.
Programs may import scipy, for its optimizers.
"""
# /// script
# dependencies = ["numpy", "scipy"]
#
# [tool.overnight]
# title = "Heilbronn's problem, 11 points in a triangle"
# origin = "AlphaEvolve, arXiv 2025"
# inputs = [11]
# score_name = "smallest triangle, of the whole"
#
# [tool.overnight.limits]
# wall_s = 20
# memory_mib = 512
#
# [tool.overnight.known]
# start = 0.00300526
# best = 0.0365298899
# label = "AlphaEvolve, 11 points"
# source = "Novikov et al., AlphaEvolve (2025): 0.0365; to more digits by polishing that construction, as of the date"
# date = "2026-08"
# honesty = 0.0327675
# honesty_label = "annealing from 6 random starts, a few seconds"
# baseline = "climb"
# ///

import itertools
from collections.abc import Sequence
from fractions import Fraction

import funsearch
import numpy as np

STARTS, STEPS, SLACK = 6, 20_000, 0.0005
Point = tuple[Fraction, Fraction]


@funsearch.run
def evaluate(n: int) -> float:
    """Return the area of the smallest triangle with corners among n points; the whole has 1."""
    return value_of(place(n), n)


def value_of(placed: Sequence[tuple[float, float]], n: int) -> float:
    """Return the smallest area for given points."""
    points = [(Fraction(float(x)), Fraction(float(y))) for x, y in placed]
    if len(points) != n:
        raise ValueError(f"place must return {n} points, got {len(points)}")
    return float(smallest_area(points))


def smallest_area(points: list[Point]) -> Fraction:
    """Return the smallest triangle's area over that of the whole, exactly."""
    if not all(x >= 0 and y >= 0 and x + y <= 1 for x, y in points):
        raise ValueError("a point is outside of the triangle (0, 0), (1, 0), (0, 1)")
    return min(area(*three) for three in itertools.combinations(points, 3))


def area(a: Point, b: Point, c: Point) -> Fraction:
    """Return the area of a triangle over that of the whole one, which is 1/2."""
    return abs((b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1]))


def climb(n: int) -> float:
    """Return the best score of some random starts after steps that make the smallest area hardly smaller."""
    draw = np.random.default_rng(1)
    a, b, c = np.array(list(itertools.combinations(range(n), 3))).T

    def smallest(p: np.ndarray) -> float:
        (x, y), (x2, y2) = (p[b] - p[a]).T, (p[c] - p[a]).T
        return float(np.abs(x * y2 - x2 * y).min())

    found = []
    for _ in range(STARTS):
        points = draw.dirichlet((1, 1, 1), n)[:, :2]
        now = smallest(points)
        for left in np.linspace(1, 0, STEPS):
            moved, one = points.copy(), int(draw.integers(n))
            moved[one] = np.maximum(moved[one] + draw.normal(size=2) * (0.2 * left**2 + 0.0001), 0)
            moved[one] /= max(1.0, moved[one].sum() * (1 + 1e-15))
            new = smallest(moved)
            if new > now - SLACK * left * draw.random():
                points, now = moved, new
        found.append(value_of(points.tolist(), n))
    return max(found)


@funsearch.draw
def picture(n: int) -> str:
    """Draw the points in a triangle with equal sides, and the smallest of the triangles between them."""
    points = [(Fraction(float(x)), Fraction(float(y))) for x, y in place(n)]
    smallest = smallest_area(points)
    title = f"{n} points in a triangle; the smallest triangle between them is {float(smallest):.6f} of the whole"
    drawing = funsearch.svg.Picture(380, 350, title)

    def at(point: tuple[float, float]) -> tuple[float, float]:
        x, y = float(point[0]), float(point[1])
        return 10 + 360 * (x + y / 2), 320 - 360 * 3**0.5 / 2 * y

    drawing.polygon(map(at, [(0, 0), (1, 0), (0, 1)]), stroke=funsearch.svg.SOFT)
    for three in itertools.combinations(points, 3):
        if area(*three) <= smallest * Fraction(1001, 1000):
            drawing.polygon(map(at, three), stroke=funsearch.svg.ORANGE, fill=funsearch.svg.ORANGE, fill_opacity=0.2)
    for point in points:
        drawing.circle(*at(point), 4, fill=funsearch.svg.BLUE)
    drawing.text(10, 342, f"smallest triangle {float(smallest):.6f}")
    return str(drawing)


@funsearch.evolve
def place(n: int) -> list[tuple[float, float]]:
    """Return the places of the points.

    Args:
        n: How many.

    Returns:
        x and y of each point, 0 or more and together at most 1.
    """
    shares = [(i + 0.5) / n for i in range(n)]
    return [(share**2, (1 - share) ** 2) for share in shares]
