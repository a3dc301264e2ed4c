"""Spherical designs: n points on the sphere that average every polynomial up to the degree t as the sphere does.

Improve `construct`, which returns vectors of any length but 0; their directions count. The score is minus the mean,
over all pairs of points, of the sum of (2k + 1) P_k(cosine) for the Legendre polynomials P_k with 1 <= k <= t: it is 0
for a design and less for anything else. Its error by rounding is below 1e-11 for the degrees here.
"""
# /// script
# dependencies = ["numpy"]
#
# [tool.overnight]
# title = "Spherical 3-design with 8 points"
# inputs = [[3, 8]]
# score_name = "minus the defect"
#
# [tool.overnight.known]
# start = -1.4948093
# ///

import math
from collections.abc import Sequence

import funsearch
import numpy as np


@funsearch.run
def evaluate(degree: int, n: int) -> float:
    """Return minus the defect."""
    return value_of(construct(degree, n), degree, n)


def value_of(placed: Sequence[Sequence[float]], degree: int, n: int) -> float:
    """Return minus the defect of given vectors."""
    vectors = np.array([[float(value) for value in vector] for vector in placed])
    if vectors.shape != (n, 3):
        raise ValueError(f"expected {n} vectors of three numbers")
    lengths = np.hypot(np.hypot(vectors[:, 0], vectors[:, 1]), vectors[:, 2])
    if not np.all((lengths > 1e-100) & (lengths < 1e100)):
        raise ValueError("a vector is 0, too long or no number")
    points = vectors / lengths[:, None]
    cosines = np.clip(points @ points.T, -1, 1)
    before, now, total = np.ones_like(cosines), cosines, 0.0
    for k in range(1, degree + 1):
        total += (2 * k + 1) * math.fsum(now.ravel())
        before, now = now, ((2 * k + 1) * cosines * now - k * before) / (k + 1)
    return -max(total, 0.0) / n**2


@funsearch.evolve
def construct(degree: int, n: int) -> list[tuple[float, float, float]]:
    """Return the vectors: along a spiral."""
    heights = [1 - (2 * i + 1) / n for i in range(n)]
    return [(math.cos(i) * (1 - z * z) ** 0.5, math.sin(i) * (1 - z * z) ** 0.5, z) for i, z in enumerate(heights)]
