"""Kakeya sets over finite fields: few points of the space with p^3 points that contain a line in every direction.

Coordinates are whole numbers modulo a prime p. Improve `point`, which says for each direction through which point its
line runs: the points of these lines are the set, and the direction (a, b, c) leads from x to x + (a, b, c), and so on.
The score is minus the number of points. The best known sets have about a quarter of the space: 53 points for p = 5,
128 for p = 7, 437 for p = 11. Each direction is given once, its last entry that is not 0 being 1.
"""
# /// script
# dependencies = ["numpy"]
#
# [tool.overnight]
# title = "Kakeya sets in three dimensions, p = 5, 7 and 11"
# origin = "AlphaEvolve at scale, arXiv 2025"
# inputs = [5, 7, 11]
# reducer = "sum"
# score_name = "minus the points of the three sets"
#
# [tool.overnight.limits]
# wall_s = 20
# memory_mib = 512
#
# [tool.overnight.known]
# start = -1799
# best = -618
# label = "the Station, 53 + 128 + 437 points; AlphaEvolve (2025) had 438"
# source = "arXiv 2608.23691 (2026), and github.com/dualverse-ai/station_data_v2, artifacts/finite_kakeya"
# date = "2026-08"
# honesty = -634
# honesty_label = "the squares of Saraf and Sudan (2008)"
# baseline = "of_squares"
# ///

import itertools
import operator
from collections.abc import Callable, Iterable, Sequence

import funsearch
import numpy as np

Vector = tuple[int, ...]


@funsearch.run
def evaluate(p: int) -> int:
    """Return minus the size of the set that `point` leads to."""
    return value_of(lines(point, p), p)


def value_of(chosen: Iterable[Sequence[int]], p: int, dimension: int = 3) -> int:
    """Return minus the size of a given set; an error if it has no line in some direction."""
    points = {tuple(operator.index(value) for value in one) for one in chosen}
    if not all(len(one) == dimension and 0 <= min(one) <= max(one) < p for one in points):
        raise ValueError(f"expected points of {dimension} whole numbers from 0 to {p - 1}")
    inside = np.zeros((p,) * dimension, dtype=bool)
    inside[tuple(np.array(sorted(points), dtype=np.int64).reshape(-1, dimension).T)] = True
    for direction in directions(p, dimension):
        shifted = [np.roll(inside, [k * step for step in direction], range(dimension)) for k in range(p)]
        if not np.all(shifted, axis=0).any():
            raise ValueError(f"there is no line in the direction {direction}")
    return -len(points)


def directions(p: int, dimension: int) -> list[Vector]:
    """Return each direction once, its last entry that is not 0 being 1."""
    return [
        (*head, 1, *(0,) * (dimension - 1 - len(head)))
        for size in range(dimension)
        for head in itertools.product(range(p), repeat=size)
    ]


def lines(through: Callable[[Vector, int], Sequence[int]], p: int) -> set[Vector]:
    """Return all points of the lines through the points that a function says."""
    found = set()
    for direction in directions(p, 3):
        start = [operator.index(value) for value in through(direction, p)]
        if len(start) != 3:
            raise ValueError(f"point must return three whole numbers, got {len(start)}")
        found |= {tuple((x + k * step) % p for x, step in zip(start, direction, strict=True)) for k in range(p)}
    return found


def of_squares(p: int) -> int:
    """Return the score where x + z^2 and y + z^2 are squares on nearly all lines."""
    quarter = pow(4, -1, p)
    return value_of(lines(lambda v, _: (v[0] ** 2 * quarter, v[1] ** 2 * quarter * v[2], 0), p), p)


@funsearch.draw
def picture(p: int) -> str:
    """Draw the set in layers, one for each last coordinate."""
    points = lines(point, p)
    columns = (p + 2) // 3
    side = 380 / columns / (p + 1)
    drawing = funsearch.svg.Picture(400, 3 * (p + 1) * side + 40, f"A Kakeya set of {len(points)} points among {p**3}")
    corners = [(10 + z % columns * (p + 1) * side, 10 + z // columns * (p + 1) * side) for z in range(p)]
    drawing.squares([(corners[z][0] + x * side, corners[z][1] + y * side) for x, y, z in sorted(points)], side)
    for x, y in corners:
        drawing.rect(x, y, p * side, p * side, stroke=funsearch.svg.SOFT)
    drawing.text(10, 3 * (p + 1) * side + 28, f"{len(points)} of {p**3} points")
    return str(drawing)


@funsearch.evolve
def point(direction: tuple[int, int, int], p: int) -> tuple[int, int, int]:
    """Return a point of the line in a direction.

    Args:
        direction: Three whole numbers from 0 to p - 1; the last that is not 0 is 1.
        p: The prime.

    Returns:
        Three whole numbers, taken modulo p.
    """
    return (0, 0, 0)
