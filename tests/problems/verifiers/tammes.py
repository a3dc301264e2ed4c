"""Tammes' problem: n points on a sphere, the nearest two of which are as far apart as possible.

Improve `construct`, which returns vectors of any length but 0; their directions count. The score is the smallest
distance on the unit sphere, rounded down, from whole numbers: its error is below 1e-15.
"""
# /// script
# [tool.overnight]
# title = "Tammes' problem, 12 points"
# inputs = [12]
# score_name = "smallest distance"
#
# [tool.overnight.known]
# start = 0.5825351
# ///

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

import funsearch

UNIT = 2**120


@funsearch.run
def evaluate(n: int) -> float:
    """Return the smallest distance."""
    return value_of(construct(n), n)


def value_of(placed: Sequence[Sequence[float]], n: int) -> float:
    """Return the smallest distance for given vectors."""
    vectors = [[Fraction(float(value)) for value in vector] for vector in placed]
    if len(vectors) != n or any(len(vector) != 3 or not any(vector) for vector in vectors):
        raise ValueError(f"expected {n} vectors of three numbers, none of them 0")
    return min(distance(a, b) for a, b in itertools.combinations(vectors, 2))


def distance(a: list[Fraction], b: list[Fraction]) -> float:
    """Return the distance of two directions on the unit sphere, 2^-120 or so below the exact one."""
    product = dot(a, b)
    square = product**2 / (dot(a, a) * dot(b, b))
    cosine = Fraction(math.isqrt(int(square * UNIT**2)) + (product > 0), UNIT) * (1 if product > 0 else -1)
    return float(Fraction(math.isqrt(int(max(2 - 2 * cosine, 0) * UNIT**2)), UNIT))


def dot(a: list[Fraction], b: list[Fraction]) -> Fraction:
    """Return the inner product."""
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))


@funsearch.evolve
def construct(n: int) -> list[tuple[float, float, float]]:
    """Return the vectors: along a spiral."""
    heights = [1 - (2 * i + 1) / n for i in range(n)]
    return [(math.cos(i) * (1 - z * z) ** 0.5, math.sin(i) * (1 - z * z) ** 0.5, z) for i, z in enumerate(heights)]
