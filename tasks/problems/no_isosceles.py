"""No isosceles triangles: choose as many points of an n x n grid as you can, no three of which form one.

Improve `order`, which is called once and returns points. They are taken in that order whenever no two of the distances
between three chosen points are equal at one of them. So three points at equal steps on a line are excluded, too. The
score is the number of points taken; for n = 64 the best known is 112, with an empty middle and some symmetry.
"""
# /// script
# dependencies = ["numpy"]
#
# [tool.overnight]
# title = "No isosceles triangles, n = 64"
# origin = "AlphaEvolve at scale, arXiv 2025"
# inputs = [64]
# score_name = "points without an isosceles triangle"
#
# [tool.overnight.limits]
# wall_s = 30
# memory_mib = 512
#
# [tool.overnight.known]
# start = 74
# best = 112
# label = "AlphaEvolve, n = 64"
# source = "Georgiev, Gómez-Serrano, Tao and Wagner, arXiv 2511.02864 (2025), and its repository of problems"
# date = "2025-11-03"
# honesty = 82
# honesty_label = "greedy from the corners"
# baseline = "from_corners"
# ///

import operator
from collections.abc import Iterable, Sequence

import funsearch
import numpy as np


@funsearch.run
def evaluate(n: int) -> int:
    """Return the number of points that `order` leads to on an n x n grid."""
    return value_of(solve(n), n)


def value_of(chosen: Sequence[tuple[int, int]], n: int) -> int:
    """Look at every two distances from each point; an error if some are equal, else the number of points."""
    points = [(operator.index(x), operator.index(y)) for x, y in chosen]
    if len(set(points)) != len(points) or not all(0 <= x < n and 0 <= y < n for x, y in points):
        raise ValueError(f"expected different points with coordinates from 0 to {n - 1}")
    for x, y in points:
        distances = [(x - x2) ** 2 + (y - y2) ** 2 for x2, y2 in points]
        if len(set(distances)) != len(points):
            raise ValueError(f"two points are equally far from {x, y}")
    return len(points)


def solve(n: int) -> list[tuple[int, int]]:
    """Take points in the order that `order` returns."""
    points = [(operator.index(x), operator.index(y)) for x, y in order(n)]
    if len(points) > n * n or not all(0 <= x < n and 0 <= y < n for x, y in points):
        raise ValueError(f"expected at most {n * n} points with coordinates from 0 to {n - 1}")
    return take((n * x + y for x, y in points), n)


def take(places: Iterable[int], n: int) -> list[tuple[int, int]]:
    """Take points in an order, given as n x + y, while no three form an isosceles triangle."""
    grid = np.indices((n, n)).reshape(2, -1)
    chosen, blocked = [], np.zeros(n * n, dtype=bool)
    squares = np.empty((0, n * n), dtype=np.int64)
    for place in map(int, places):
        if blocked[place]:
            continue
        new = ((grid - grid[:, [place]]) ** 2).sum(axis=0)
        to_chosen = squares[:, place]
        blocked |= np.isin(new, to_chosen) | (squares == new).any(axis=0) | (squares == to_chosen[:, None]).any(axis=0)
        blocked[place] = True
        squares = np.vstack([squares, new])
        chosen.append((place // n, place % n))
    return chosen


def from_corners(n: int) -> int:
    """Return the score where points count by how far they are from the nearer of the two middle lines."""
    off_middle = np.abs(2 * np.indices((n, n)) - n + 1).min(axis=0).ravel()
    return value_of(take(np.argsort(-off_middle, kind="stable"), n), n)


@funsearch.draw
def picture(n: int) -> str:
    """Draw the chosen points on the grid."""
    points = solve(n)
    side = 360 / n
    drawing = funsearch.svg.Picture(380, 400, f"{len(points)} points of {n} x {n}, no three an isosceles triangle")
    drawing.rect(10, 10, 360, 360, stroke=funsearch.svg.SOFT)
    for x, y in points:
        drawing.circle(10 + (x + 0.5) * side, 370 - (y + 0.5) * side, 0.6 * side, fill=funsearch.svg.BLUE)
    drawing.text(10, 390, f"{len(points)} points")
    return str(drawing)


@funsearch.evolve
def order(n: int) -> list[tuple[int, int]]:
    """Return points in the order in which they are tried; one that cannot be taken is skipped.

    Args:
        n: The side of the grid.

    Returns:
        x and y of each point, whole numbers from 0 to n - 1; at most n * n points.
    """
    priority = {(x, y): 0.0 for x in range(n) for y in range(n)}
    return sorted(priority, key=priority.get, reverse=True)
