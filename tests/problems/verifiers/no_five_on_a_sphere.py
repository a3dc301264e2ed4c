"""No five on a sphere: as many points of an n x n x n grid, no five of which lie on one sphere or in one plane.

Improve `construct`, which returns the points. All determinants are computed in whole numbers.
"""
# /// script
# dependencies = ["numpy"]
#
# [tool.overnight]
# title = "No five on a sphere, n = 7"
# inputs = [7]
# score_name = "points"
#
# [tool.overnight.known]
# start = 4
# ///

import itertools
import operator
from collections.abc import Sequence

import funsearch
import numpy as np


@funsearch.run
def evaluate(n: int) -> int:
    """Return the number of points."""
    return value_of(construct(n), n)


def value_of(placed: Sequence[Sequence[int]], n: int) -> int:
    """Return the number of given points."""
    points = [tuple(operator.index(value) for value in point) for point in placed]
    if len(set(points)) != len(points) or not all(len(p) == 3 and 0 <= min(p) <= max(p) < n for p in points):
        raise ValueError(f"expected different points of three whole numbers from 0 to {n - 1}")
    if not 1 <= len(points) <= 4 * n <= 400:
        raise ValueError(f"expected 1 to {4 * n} points: five in one of the {n} planes of the grid are too many")
    lifted = np.array([(x, y, z, x * x + y * y + z * z) for x, y, z in points], dtype=np.int64)
    for first in range(len(points) - 4):
        rest = lifted[first + 1 :] - lifted[first]
        fours = np.array(list(itertools.combinations(range(len(rest)), 4)))
        a, b, c, d = (rest[fours[:, k]] for k in range(4))
        # The determinant of four rows, by the minors of the first two and of the last two.
        if not (minors(a, b) * minors(c, d)[::-1] * np.array([[1, -1, 1, 1, -1, 1]]).T).sum(axis=0).all():
            raise ValueError("five points lie on a sphere or in a plane")
    return len(points)


def minors(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the 2 x 2 minors of pairs of rows, for the columns 01, 02, 03, 12, 13 and 23."""
    return np.array([a[:, i] * b[:, j] - a[:, j] * b[:, i] for i, j in itertools.combinations(range(4), 2)])


@funsearch.evolve
def construct(n: int) -> list[tuple[int, int, int]]:
    """Return the points."""
    return [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
