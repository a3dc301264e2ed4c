"""Circle packing: put 32 circles into the unit square without overlap so that the sum of their radii is large.

Improve `place`, which returns the circles. If some overlap each other or the square's border, all are shrunk by the
same factor until none does. Then everything is checked in rational arithmetic, without any tolerance. Programs
may import scipy, for its optimizers.
"""
# /// script
# dependencies = ["numpy", "scipy"]
#
# [tool.overnight]
# title = "Circle packing, 32 circles in a square"
# origin = "AlphaEvolve, arXiv 2025"
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
# source = "E. Specht, packomania.com/csqv; AlphaEvolve (2025) had 2.635 and 2.937"
# date = "2026-09-30"
# honesty = 2.92005
# honesty_label = "gradient descent with a growing penalty from 20 starts"
# baseline = "descent"
# ///

import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import funsearch
import numpy as np

STARTS, STEPS, RATE = 20, 3000, 0.01

MARGIN = 1 - 2.0**-46
"""Factor by which shrunk circles are made smaller still, so that rounding never makes two overlap."""


@funsearch.run
def evaluate(n: int) -> float:
    """Return the sum of the radii of n circles that do not overlap."""
    return value_of(place(n), n)


def value_of(placed: Sequence[Sequence[float]], n: int) -> float:
    """Return the sum of the radii of given circles, shrunk until none overlap."""
    circles = [(float(x), float(y), float(r)) for x, y, r in placed]
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
    """Return the factor by which all radii must be multiplied so that circles no more than touch."""
    factors = [1.0]
    factors += [min(x, y, 1 - x, 1 - y) / r for x, y, r in circles if r > 0]
    for (x, y, r), (x2, y2, r2) in itertools.combinations(circles, 2):
        if r + r2 > 0:
            factors.append(math.hypot(x - x2, y - y2) / (r + r2))
    return min(factors)


def overlap(circles: list[tuple[float, float, float]]) -> str:
    """Return what is wrong with the circles, in rational arithmetic; an empty text if nothing is."""
    exact = [(Fraction(x), Fraction(y), Fraction(r)) for x, y, r in circles]
    for number, (x, y, r) in enumerate(exact):
        if r < 0 or min(x, y, 1 - x, 1 - y) < r:
            return f"circle {number} is not inside the square"
    for (i, (x, y, r)), (j, (x2, y2, r2)) in itertools.combinations(enumerate(exact), 2):
        if (x - x2) ** 2 + (y - y2) ** 2 < (r + r2) ** 2:
            return f"circles {i} and {j} overlap"
    return ""


def descent(n: int) -> float:
    """Return the best score of some random starts after gradient descent with a penalty on overlap that grows."""
    draw = np.random.default_rng(1)
    starts = [np.c_[draw.random((n, 2)), np.full(n, 0.4 / math.sqrt(n))] for _ in range(STARTS)]
    ends = [np.clip(descend(start, penalty_slope), 0, 1) for start in starts]
    return max(value_of(end.tolist(), n) for end in ends)


def penalty_slope(circles: np.ndarray, progress: float) -> np.ndarray:
    """Return the gradient of minus all radii plus half a weight times the squares of all overlaps, shape (n, 3)."""
    weight, centres, radii = 10 * 1000**progress, circles[:, :2], circles[:, 2:]
    apart = centres[:, None] - centres
    distances = np.sqrt((apart**2).sum(axis=2)) + np.eye(len(circles)) + 1e-12
    overlaps = np.maximum(radii + radii.T - distances, 0)
    np.fill_diagonal(overlaps, 0)
    low, high = np.maximum(radii - centres, 0), np.maximum(centres + radii - 1, 0)
    push = high - low - (apart * (overlaps / distances)[:, :, None]).sum(axis=1)
    return np.c_[weight * push, weight * (overlaps.sum(axis=1) + (low + high).sum(axis=1)) - 1]


def descend(x: np.ndarray, gradient: Callable[[np.ndarray, float], np.ndarray]) -> np.ndarray:
    """Descend by Adam with a rate that falls to 0; `gradient` is also told the progress, from 0 to 1."""
    mean, square = np.zeros_like(x), np.zeros_like(x)
    for step in range(1, STEPS + 1):
        slope = gradient(x, step / STEPS)
        mean, square = 0.9 * mean + 0.1 * slope, 0.99 * square + 0.01 * slope**2
        size = np.sqrt(square / (1 - 0.99**step)) + 1e-12
        x = x - RATE * (1 - step / STEPS) * mean / (1 - 0.9**step) / size
    return x


@funsearch.draw
def picture(n: int) -> str:
    """Draw the circles that count, after they were shrunk, with those that were given as outlines if that is more."""
    placed = [(float(x), float(y), float(r)) for x, y, r in place(n)]
    factor = MARGIN * fitting(placed) if overlap(placed) else 1.0
    total = sum(factor * r for _, _, r in placed)
    drawing = funsearch.svg.Picture(380, 400, f"{n} circles in a square, their radii together {total:.6f}")
    drawing.rect(10, 10, 360, 360, stroke=funsearch.svg.SOFT)
    for x, y, r in placed:
        at = 10 + 360 * x, 370 - 360 * y
        drawing.circle(*at, 360 * factor * r, fill=funsearch.svg.BLUE, fill_opacity=0.35, stroke=funsearch.svg.BLUE)
        if factor < 0.999:
            drawing.circle(*at, 360 * r, stroke=funsearch.svg.ORANGE, stroke_dasharray="3 3")
    drawing.text(10, 390, f"radii together {total:.6f}")
    return str(drawing)


@funsearch.evolve
def place(n: int) -> list[tuple[float, float, float]]:
    """Return the places of the circles and their radii.

    Args:
        n: How many.

    Returns:
        x, y and r of each circle; the square runs from 0 to 1.
    """
    side = 1
    while side * side < n:
        side += 1
    return [((i % side + 0.5) / side, (i // side + 0.5) / side, 0.5 / side) for i in range(n)]
