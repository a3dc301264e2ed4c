"""The happy ending problem: place points so that few of them are the corners of a convex polygon.

Among 2^(k-2) + 1 points, no three of which lie on a line, some k should always be the corners of a convex k-gon: Erdős
and Szekeres proved it for k = 5, Szekeres and Peters for k = 6 with 17 points. Improve `place`, which returns the
points. The score is minus the number of convex hexagons among 17 of them, counted in rational arithmetic, so that it
cannot be better than -1.
"""
# /// script
# dependencies = ["numpy"]
#
# [tool.overnight]
# title = "Few convex hexagons among 17 points"
# origin = "AlphaEvolve at scale, arXiv 2025"
# inputs = [6]
# score_name = "minus the convex hexagons"
#
# [tool.overnight.limits]
# wall_s = 20
# memory_mib = 512
#
# [tool.overnight.known]
# start = -906
# best = -1
# label = "one is always there"
# source = "G. Szekeres and L. Peters, ANZIAM Journal 48 (2006)"
# date = "2006-10"
# proven = true
# honesty = -79
# honesty_label = "200 steps of all sizes from a random start; 1,500 steps: -2; more: -1"
# baseline = "climb"
# ///

import itertools
from collections.abc import Sequence
from fractions import Fraction

import funsearch
import numpy as np

STEPS = 200
Point = tuple[Fraction, Fraction]


@funsearch.run
def evaluate(k: int) -> int:
    """Return minus the number of convex k-gons among 2^(k-2) + 1 points."""
    return value_of(place(2 ** (k - 2) + 1), k)


def value_of(placed: Sequence[tuple[float, float]], k: int) -> int:
    """Return minus the number for given points."""
    points = sorted((Fraction(float(x)), Fraction(float(y))) for x, y in placed)
    if len(points) != 2 ** (k - 2) + 1:
        raise ValueError(f"place must return {2 ** (k - 2) + 1} points, got {len(points)}")
    turns = {three: turn(*(points[i] for i in three)) for three in itertools.combinations(range(len(points)), 3)}
    if 0 in turns.values():
        raise ValueError("three points lie on a line, or two are the same")
    return -convex_polygons(turns, len(points), k)


def turn(a: Point, b: Point, c: Point) -> int:
    """Return 1 if the way from a over b to c turns left, -1 if right, else 0."""
    area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
    return (area > 0) - (area < 0)


def convex_polygons(turns: dict[tuple[int, int, int], int], count: int, k: int) -> int:
    """Count convex k-gons among points sorted from left to right, from their turns.

    Such a polygon is a chain from its leftmost corner to its rightmost that only turns left, and one that only turns
    right; both have these two corners.
    """
    total = 0
    for first in range(count):
        below, above = (chains_from(first, side, turns, count, k) for side in (1, -1))
        for last in range(first + 1, count):
            total += sum(below[last][length] * above[last][k + 2 - length] for length in range(2, k + 1))
    return total


def chains_from(first: int, side: int, turns: dict[tuple[int, int, int], int], count: int, k: int) -> list[list[int]]:
    """Return how many chains that turn to one side lead from a corner to each other, for each number of corners."""
    ways = {(first, last): [int(length == 2) for length in range(k + 1)] for last in range(first + 1, count)}
    for middle in range(first + 1, count):
        for last in range(middle + 1, count):
            ways[middle, last] = [0] * (k + 1)
            for before in range(first, middle):
                if turns[before, middle, last] == side:
                    for length in range(2, k):
                        ways[middle, last][length + 1] += ways[before, middle][length]
    ends: list[list[int]] = [[0] * (k + 1) for _ in range(count)]
    for (_, last), numbers in ways.items():
        ends[last] = [a + b for a, b in zip(ends[last], numbers, strict=True)]
    return ends


def climb(k: int) -> int:
    """Return the best score after steps of all sizes that move one point and make the score no worse."""
    draw = np.random.default_rng(1)
    points = draw.random((2 ** (k - 2) + 1, 2))
    now = value_of(points.tolist(), k)
    for _ in range(STEPS):
        moved, one, size = points.copy(), draw.integers(len(points)), 10 ** draw.uniform(-4, 0)
        near = moved[draw.integers(len(points))] if draw.random() < 0.3 else moved[one]
        moved[one] = near + size * draw.normal(size=2)
        new = value_of(moved.tolist(), k)
        if new >= now:
            points, now = moved, new
    return now


@funsearch.draw
def picture(k: int) -> str:
    """Draw the points, and one convex polygon among them."""
    placed = [(float(x), float(y)) for x, y in place(2 ** (k - 2) + 1)]
    found = -value_of(placed, k)
    points = np.array(sorted(placed))
    low, high = points.min(axis=0), points.max(axis=0)
    points = 15 + 350 * (points - low) / (high - low)
    drawing = funsearch.svg.Picture(
        380, 400, f"{len(points)} points, among them {found} convex polygons of {k} corners"
    )
    for corners in itertools.combinations(points.tolist(), k):
        first, *rest = corners
        round_it = [first, *sorted(rest, key=lambda p: np.arctan2(p[1] - first[1], p[0] - first[0]))]
        exact = [(Fraction(x), Fraction(y)) for x, y in round_it]
        if all(turn(exact[i - 2], exact[i - 1], exact[i]) == 1 for i in range(k)):
            drawing.polygon(round_it, fill=funsearch.svg.ORANGE, fill_opacity=0.2, stroke=funsearch.svg.ORANGE)
            break
    for x, y in points:
        drawing.circle(x, y, 4, fill=funsearch.svg.BLUE)
    drawing.text(10, 390, f"{found} convex polygons with {k} corners")
    return str(drawing)


@funsearch.evolve
def place(n: int) -> list[tuple[float, float]]:
    """Return the places of the points.

    Args:
        n: How many.

    Returns:
        x and y of each point; no three on a line.
    """
    return [(i, (i * i) % n + i * i / 1000) for i in range(n)]
