"""Cubes in a cube: place n unit cubes, turned as you like, in as small a cube with upright sides.

Improve `construct`, which returns x, y, z of each centre and three angles in degrees: it is turned about the x axis,
then y, then z. If some overlap, all centres are moved apart by the smallest common factor, so that no tolerance is
needed: rounding, below 1e-12, changes the side and never whether cubes overlap.
"""
# /// script
# dependencies = ["numpy"]
#
# [tool.overnight]
# title = "11 cubes in a cube"
# inputs = [11]
# score_name = "minus the side"
#
# [tool.overnight.known]
# start = -3
# ///

import itertools
from collections.abc import Sequence

import funsearch
import numpy as np


@funsearch.run
def evaluate(n: int) -> float:
    """Return minus the side of the cube."""
    return value_of(construct(n), n)


def value_of(placed: Sequence[Sequence[float]], n: int) -> float:
    """Return minus the side for given cubes."""
    rows = np.array([[float(value) for value in row] for row in placed])
    if rows.shape != (n, 6) or not np.all(np.abs(rows) < 1e6):
        raise ValueError(f"expected three coordinates and three angles of {n} cubes")
    centres, axes = rows[:, :3], [turned(*np.radians(row[3:] % 360)) for row in rows]
    factor = max(
        1.0, *(apart(centres[j] - centres[i], axes[i], axes[j]) for i, j in itertools.combinations(range(n), 2))
    )
    reach = np.array([np.abs(own).sum(axis=1) / 2 for own in axes])
    sides = (factor * centres + reach).max(axis=0) - (factor * centres - reach).min(axis=0)
    return -float(sides.max()) * (1 + 1e-12)


def turned(x: float, y: float, z: float) -> np.ndarray:
    """Return the axes of a turned cube as columns."""
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def apart(between: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Return the factor on the way between two centres with which a plane separates the two cubes."""
    crossed = np.cross(first.T[:, None], second.T).reshape(-1, 3)
    lengths = np.linalg.norm(crossed, axis=1)
    normals = np.vstack([first.T, second.T, crossed[lengths > 1e-6] / lengths[lengths > 1e-6, None]])
    halves = (np.abs(normals @ first).sum(axis=1) + np.abs(normals @ second).sum(axis=1)) / 2
    distances = np.abs(normals @ between)
    if distances.max() < 1e-6:
        raise ValueError("two cubes have the same centre")
    return float((halves[distances > 1e-9] / distances[distances > 1e-9]).min())


@funsearch.evolve
def construct(n: int) -> list[tuple[float, ...]]:
    """Return the centre and the angles of each cube."""
    return [(i % 3, i // 3 % 3, i // 9, 0.0, 0.0, 0.0) for i in range(n)]
