"""Kissing number: as many spheres of one size as touch a sphere of that size in d dimensions, without overlap.

Improve `construct`, which returns a vector of whole numbers for each sphere, the direction of its centre. No two may
be nearer than the longest is long: scaled to one length they are then no nearer than that. Everything is checked in
whole numbers.
"""
# /// script
# dependencies = ["numpy"]
#
# [tool.overnight]
# title = "Kissing number in 11 dimensions"
# inputs = [11]
# score_name = "spheres"
#
# [tool.overnight.known]
# start = 22
# ///

import operator
from collections.abc import Sequence

import funsearch
import numpy as np

MOST, DIGITS = 2000, 40


@funsearch.run
def evaluate(dimension: int) -> int:
    """Return the number of spheres."""
    return value_of(construct(dimension), dimension)


def value_of(placed: Sequence[Sequence[int]], dimension: int) -> int:
    """Return the number of given spheres."""
    rows = [[operator.index(value) for value in vector] for vector in placed]
    if not 1 <= len(rows) <= MOST or any(len(row) != dimension for row in rows):
        raise ValueError(f"expected up to {MOST} vectors of {dimension} whole numbers")
    if any(abs(value) >= 10**DIGITS for row in rows for value in row):
        raise ValueError(f"an entry has more than {DIGITS} digits")
    vectors = np.array(rows, dtype=object)
    products = vectors @ vectors.T
    squares = products.diagonal()
    apart = squares[:, None] + squares - 2 * products
    np.fill_diagonal(apart, max(squares))
    if min(squares) == 0 or apart.min() < max(squares):
        raise ValueError("two spheres overlap, or one has no direction")
    return len(rows)


@funsearch.evolve
def construct(dimension: int) -> list[list[int]]:
    """Return the directions of the spheres."""
    return [[sign * (i == j) for j in range(dimension)] for i in range(dimension) for sign in (1, -1)]
