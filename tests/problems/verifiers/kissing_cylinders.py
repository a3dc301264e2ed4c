"""Kissing cylinders: n endless cylinders of radius 1, each of which touches all others.

Improve `construct`, which returns a point and a direction of each axis. The score is minus the sum over all pairs of
(d^2 - 4)^2, where d is the distance of two axes; rational arithmetic. Parallel axes and points where two cylinders are
nearest outside of the ball with the radius 200 are refused.
"""
# /// script
# [tool.overnight]
# title = "7 kissing cylinders"
# inputs = [7]
# score_name = "minus the error of the distances"
#
# [tool.overnight.known]
# start = -336
# ///

import itertools
from collections.abc import Sequence
from fractions import Fraction

import funsearch

RADIUS = 200
Vector = list[Fraction]


@funsearch.run
def evaluate(n: int) -> float:
    """Return minus the error of the distances."""
    return value_of(construct(n), n)


def value_of(placed: Sequence[Sequence[Sequence[float]]], n: int) -> float:
    """Return minus the error for given axes."""
    axes = [tuple([Fraction(float(value)) for value in vector] for vector in axis) for axis in placed]
    if len(axes) != n or any([len(vector) for vector in axis] != [3, 3] for axis in axes):
        raise ValueError(f"expected a point and a direction, of three numbers each, of {n} axes")
    return -float(sum(error(*a, *b) for a, b in itertools.combinations(axes, 2)))


def error(p: Vector, v: Vector, q: Vector, w: Vector) -> Fraction:
    """Return (d^2 - 4)^2 for two axes, each with a point and a direction."""
    normal, between = cross(v, w), [b - a for a, b in zip(p, q, strict=True)]
    size = dot(normal, normal)
    if size * 10**6 <= dot(v, v) * dot(w, w):
        raise ValueError("two axes are parallel or nearly so, or one has no direction")
    # The nearest points of the axes are p + s v and q + t w.
    s, t = (dot(cross(between, other), normal) / size for other in (w, v))
    for point, direction, at in ((p, v, s), (q, w, t)):
        if sum((a + at * b) ** 2 for a, b in zip(point, direction, strict=True)) > RADIUS**2:
            raise ValueError("two cylinders are nearest too far away")
    return (dot(between, normal) ** 2 / size - 4) ** 2


def cross(a: Vector, b: Vector) -> Vector:
    """Return the cross product."""
    return [a[i - 2] * b[i - 1] - a[i - 1] * b[i - 2] for i in range(3)]


def dot(a: Vector, b: Vector) -> Fraction:
    """Return the inner product."""
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))


@funsearch.evolve
def construct(n: int) -> list[list[list[float]]]:
    """Return a point and a direction of each axis: all through one point."""
    return [[[0.0, 0.0, 0.0], [1.0, i, i * i]] for i in range(n)]
