"""Hexagons in a hexagon: place n regular hexagons of side 1, turned as you like, in as small a regular one.

Improve `construct`, which returns x, y and the angle in degrees of each, and at the end those of the outer one. If some
overlap, all centres are moved apart by the smallest common factor; the outer side is then what holds them. So no
tolerance is needed: rounding, below 1e-12, changes the side and never whether hexagons overlap.
"""
# /// script
# dependencies = ["numpy"]
#
# [tool.overnight]
# title = "Hexagons in a hexagon"
# inputs = [11]
# score_name = "minus the side of the outer hexagon"
#
# [tool.overnight.known]
# start = -4.6666667
# ///

import itertools
from collections.abc import Sequence

import funsearch
import numpy as np

SIXTH = np.pi / 3


@funsearch.run
def evaluate(n: int) -> float:
    """Return minus the side of the outer hexagon."""
    return value_of(construct(n), n)


def value_of(placed: Sequence[Sequence[float]], n: int) -> float:
    """Return minus the side for given hexagons."""
    rows = np.array([[float(value) for value in row] for row in placed])
    if rows.shape != (n + 1, 3) or not np.all(np.abs(rows) < 1e6):
        raise ValueError(f"expected x, y and an angle of {n} hexagons and of the outer one")
    centres, outer = rows[:-1, :2] - rows[-1, :2], np.radians(rows[-1, 2] % 60)
    turned = np.radians(rows[:-1, 2] % 60)
    hexagons = list(zip(centres, turned, strict=True))
    factor = max(1.0, *(apart(b - a, s, t) for (a, s), (b, t) in itertools.combinations(hexagons, 2)))
    # A side of the outer hexagon is sqrt(3)/2 of its side length away from its centre.
    reach = max(
        factor * centre @ axis + half_width(angle, np.arctan2(axis[1], axis[0]))
        for centre, angle in hexagons
        for axis in across(outer).T
    )
    return -float(reach / np.cos(SIXTH / 2)) * (1 + 1e-12)


def across(angle: float) -> np.ndarray:
    """Return the unit normals of a hexagon's sides, shape (2, 6)."""
    angles = angle + SIXTH * (np.arange(6) + 0.5)
    return np.array([np.cos(angles), np.sin(angles)])


def half_width(angle: float, direction: float) -> float:
    """Return how far a hexagon of side 1 reaches from its centre in a direction."""
    return float(np.cos((direction - angle + SIXTH / 2) % SIXTH - SIXTH / 2))


def apart(between: np.ndarray, first: float, second: float) -> float:
    """Return the factor on the way between two centres with which a normal of one separates the two hexagons."""
    factors = [np.inf]
    for axis in np.hstack([across(first), across(second)]).T:
        direction, distance = np.arctan2(axis[1], axis[0]), between @ axis
        if distance > 1e-9:
            factors.append((half_width(first, direction) + half_width(second, direction)) / distance)
    if min(factors) > 1e6:
        raise ValueError("two hexagons have the same centre")
    return min(factors)


@funsearch.evolve
def construct(n: int) -> list[tuple[float, float, float]]:
    """Return x, y and the angle of each hexagon, and of the outer one."""
    rows = [(1.5 * (i % 3), 3**0.5 * (i // 3 + i % 3 / 2), 0.0) for i in range(n)]
    return [*rows, (1.5, 3**0.5 * (n - 1) / 6, 0.0)]
