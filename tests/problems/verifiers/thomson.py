"""Thomson's problem: n equal charges on a sphere, with as little energy as possible.

Improve `construct`, which returns vectors of any length but 0; their directions count. The score is minus the sum of
the reciprocal distances. Distances below 1e-3 are refused, so that rounding changes the score by less than one part in
10^12.
"""
# /// script
# dependencies = ["numpy"]
#
# [tool.overnight]
# title = "Thomson's problem, 12 charges"
# inputs = [12]
# score_name = "minus the energy"
#
# [tool.overnight.known]
# start = -50.7865379
# ///

import math
from collections.abc import Sequence

import funsearch
import numpy as np


@funsearch.run
def evaluate(n: int) -> float:
    """Return minus the energy."""
    return value_of(construct(n), n)


def value_of(placed: Sequence[Sequence[float]], n: int) -> float:
    """Return minus the energy of given vectors."""
    vectors = np.array([[float(value) for value in vector] for vector in placed])
    if vectors.shape != (n, 3):
        raise ValueError(f"expected {n} vectors of three numbers")
    lengths = np.hypot(np.hypot(vectors[:, 0], vectors[:, 1]), vectors[:, 2])
    if not np.all((lengths > 1e-100) & (lengths < 1e100)):
        raise ValueError("a vector is 0, too long or no number")
    points = vectors / lengths[:, None]
    apart = np.sqrt(((points[:, None] - points) ** 2).sum(axis=2))[np.triu_indices(n, 1)]
    if not np.all(apart > 1e-3):
        raise ValueError("two charges are nearer than 1e-3")
    return -math.fsum(1 / apart)


@funsearch.evolve
def construct(n: int) -> list[tuple[float, float, float]]:
    """Return the vectors: along a spiral."""
    heights = [1 - (2 * i + 1) / n for i in range(n)]
    return [(math.cos(i) * (1 - z * z) ** 0.5, math.sin(i) * (1 - z * z) ** 0.5, z) for i, z in enumerate(heights)]
