"""Longest over shortest distance: put n points into the plane so that their distances differ little.

Improve `place`, which returns the points. The score is minus the square of the longest distance over that of the
shortest, in rational arithmetic. For n = 16 the best known is 12.88923. Programs may import scipy, for its optimizers.
"""
# /// script
# dependencies = ["numpy", "scipy"]
#
# [tool.overnight]
# title = "Longest over shortest distance, 16 points"
# origin = "AlphaEvolve, arXiv 2025"
# inputs = [16]
# score_name = "minus the squared ratio"
#
# [tool.overnight.limits]
# wall_s = 20
# memory_mib = 512
#
# [tool.overnight.known]
# start = -18
# best = -12.88922990769
# label = "best published placement of 16 points"
# source = "AlphaEvolve (2025) had 12.889266; to more digits by polishing that construction, as of the date"
# date = "2026-08"
# honesty = -12.89714
# honesty_label = "gradient descent on a smoothed ratio from 10 starts"
# baseline = "descent"
# ///

import itertools
from collections.abc import Sequence
from fractions import Fraction

import funsearch
import numpy as np

STARTS, STEPS, RATE = 10, 2000, 0.02


@funsearch.run
def evaluate(n: int) -> float:
    """Return minus the squared ratio of the longest distance to the shortest."""
    return value_of(place(n), n)


def value_of(placed: Sequence[Sequence[float]], n: int, dimension: int = 2) -> float:
    """Return minus the squared ratio for given points."""
    points = [[Fraction(float(value)) for value in point] for point in placed]
    if len(points) != n or any(len(point) != dimension for point in points):
        raise ValueError(f"place must return {n} points of {dimension} coordinates")
    squares = [sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) for a, b in itertools.combinations(points, 2)]
    if min(squares) == 0:
        raise ValueError("two points are the same")
    return -float(max(squares) / min(squares))


def descent(n: int) -> float:
    """Return the best score of some random starts after gradient descent on a smoothed ratio."""
    draw = np.random.default_rng(1)
    return max(value_of(descend(draw.normal(size=(n, 2))).tolist(), n) for _ in range(STARTS))


def descend(x: np.ndarray) -> np.ndarray:
    """Descend by Adam with a rate that falls to 0, on a ratio of the means of powers that grow."""
    first, second = np.triu_indices(len(x), 1)
    mean, square = np.zeros_like(x), np.zeros_like(x)
    for step in range(1, STEPS + 1):
        between = x[first] - x[second]
        logs = np.log((between**2).sum(axis=1))
        power = 5 * 400 ** (step / STEPS)
        far, near = np.exp(power * (logs - logs.max())), np.exp(power * (logs.min() - logs))
        pull = (far / far.sum() - near / near.sum())[:, None] * between / np.exp(logs)[:, None]
        slope = np.zeros_like(x)
        np.add.at(slope, first, pull)
        np.add.at(slope, second, -pull)
        mean, square = 0.9 * mean + 0.1 * slope, 0.99 * square + 0.01 * slope**2
        size = np.sqrt(square / (1 - 0.99**step)) + 1e-12
        x = x - RATE * (1 - step / STEPS) * mean / (1 - 0.9**step) / size
    return x


@funsearch.draw
def picture(n: int) -> str:
    """Draw the points, with the shortest distances and the longest ones."""
    placed = [(float(x), float(y)) for x, y in place(n)]
    ratio = -value_of(placed, n)
    points = np.array(placed)
    low, high = points.min(axis=0), points.max(axis=0)
    points = 20 + 340 * (points - low) / max(high - low)
    squares = {(i, j): sum((points[i] - points[j]) ** 2) for i, j in itertools.combinations(range(n), 2)}
    drawing = funsearch.svg.Picture(
        380, 400, f"{n} points; the longest distance is {ratio**0.5:.6f} times the shortest"
    )
    for (i, j), square in squares.items():
        if square > max(squares.values()) * 0.9999:
            drawing.line(*points[i], *points[j], stroke=funsearch.svg.SOFT)
        if square < min(squares.values()) * 1.0001:
            drawing.line(*points[i], *points[j], stroke=funsearch.svg.ORANGE, stroke_width=2)
    for x, y in points:
        drawing.circle(x, y, 4, fill=funsearch.svg.BLUE)
    drawing.text(10, 390, f"squared ratio {ratio:.6f}")
    return str(drawing)


@funsearch.evolve
def place(n: int) -> list[tuple[float, float]]:
    """Return the places of the points.

    Args:
        n: How many.

    Returns:
        x and y of each point.
    """
    side = 1
    while side * side < n:
        side += 1
    return [(float(i % side), float(i // side)) for i in range(n)]
