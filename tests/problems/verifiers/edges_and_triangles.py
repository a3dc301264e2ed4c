"""Edges and triangles: weights of blocks that show how few triangles a graph with many edges can have.

Improve `construct`, which returns rows of `length` weights each, from 0 to 1 and not all 0; they are scaled to the sum
1. A row is a graph with the edge density x = 2 times the sum of the products of two weights, and the triangle density
y = 6 times that of three. Between neighbours (x, y), the curve rises with slope 3 and no higher than the right one.
The score is minus the area below the curve from (0, 0) to (1, 1), less 10 times the widest gap; rational arithmetic.
"""
# /// script
# [tool.overnight]
# title = "Edges and triangles"
# inputs = [20]
# score_name = "minus area and gap"
#
# [tool.overnight.known]
# start = -5.2244651
# ///

import itertools
from collections.abc import Sequence
from fractions import Fraction

import funsearch

MOST = 2000


@funsearch.run
def evaluate(length: int) -> float:
    """Return minus the area and 10 times the widest gap."""
    return value_of(construct(length), length)


def value_of(rows: Sequence[Sequence[float]], length: int) -> float:
    """Return the score for given rows."""
    blocks = [[Fraction(float(weight)) for weight in row] for row in rows]
    if len(blocks) > MOST or any(len(row) != length or not 0 <= min(row) <= max(row) <= 1 for row in blocks):
        raise ValueError(f"expected at most {MOST} rows of {length} weights from 0 to 1")
    # Where two rows have the same x, the lower y counts.
    curve = dict(
        sorted([*map(densities, blocks), (Fraction(0), Fraction(0)), (Fraction(1), Fraction(1))], reverse=True)
    )
    points = sorted(curve.items())
    area = sum(below(*a, *b) for a, b in itertools.pairwise(points))
    return -float(area + 10 * max(b[0] - a[0] for a, b in itertools.pairwise(points)))


def densities(row: list[Fraction]) -> tuple[Fraction, Fraction]:
    """Return the densities of edges and triangles, by Newton's identities."""
    if not any(row):
        raise ValueError("the weights of a row are all 0")
    one, two, three = (sum(weight**k for weight in row) for k in (1, 2, 3))
    return 1 - two / one**2, 1 - 3 * two / one**2 + 2 * three / one**3


def below(x: Fraction, y: Fraction, x2: Fraction, y2: Fraction) -> Fraction:
    """Return the area below the curve between two neighbours."""
    rising = min(x2 - x, max(y2 - y, Fraction(0)) / 3)
    top = y + 3 * rising
    return (y + top) / 2 * rising + top * (x2 - x - rising)


@funsearch.evolve
def construct(length: int) -> list[list[float]]:
    """Return the rows of weights."""
    return [[1.0] * k + [0.0] * (length - k) for k in range(2, length + 1)]
