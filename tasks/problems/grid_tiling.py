"""Tiles on a grid: leave one square of every row and column free, so that few rectangles cover all others.

Improve `priority`. From the top row down, the square with the highest priority is left free, among those in columns
without a free square. The rest is covered by rectangles one after another: each begins at the first square that is not
yet covered, in reading order, and goes as far to the right and then as far down as it can. The score is minus the
number of rectangles, for n = 9, 16 and 25 together. Where n is a square, n + 2 √n - 3 are enough and needed (Problem 6
of the International Mathematical Olympiad of 2025): 12, 21 and 32.
"""
# /// script
# dependencies = ["numpy"]
#
# [tool.overnight]
# title = "Tiles on a grid, n = 9, 16 and 25"
# origin = "AlphaEvolve at scale, arXiv 2025"
# inputs = [9, 16, 25]
# reducer = "sum"
# score_name = "minus the rectangles of the three grids"
#
# [tool.overnight.limits]
# wall_s = 10
# memory_mib = 256
#
# [tool.overnight.known]
# start = -94
# best = -65
# label = "12 + 21 + 32 rectangles"
# source = "International Mathematical Olympiad 2025, Problem 6"
# date = "2025-07-16"
# proven = true
# honesty = -65
# honesty_label = "the best multiple of the row"
# baseline = "best_multiple"
# ///

import operator
from collections.abc import Sequence

import funsearch
import numpy as np

Tile = tuple[int, int, int, int]
"""The top row, the left column, the height and the width."""


@funsearch.run
def evaluate(n: int) -> int:
    """Return minus the number of rectangles on an n x n grid."""
    return value_of(tiles(free_columns(n)), n)


def value_of(placed: Sequence[Tile], n: int) -> int:
    """Return minus the number of given rectangles; an error if they overlap or free squares are wrong."""
    covered = np.zeros((n, n), dtype=np.int64)
    exact = [tuple(operator.index(value) for value in tile) for tile in placed]
    for row, column, height, width in exact:
        if not (0 <= row < row + height <= n and 0 <= column < column + width <= n):
            raise ValueError("a rectangle is empty or not on the grid")
        covered[row : row + height, column : column + width] += 1
    if covered.max(initial=0) > 1:
        raise ValueError("two rectangles overlap")
    if not (covered.sum(axis=0) == n - 1).all() or not (covered.sum(axis=1) == n - 1).all():
        raise ValueError("a row or a column has not just one free square")
    return -len(exact)


def free_columns(n: int) -> list[int]:
    """Return the column of the free square of each row."""
    columns: list[int] = []
    for row in range(n):
        priorities = np.array([priority(row, column, n) for column in range(n)], dtype=float)
        columns.append(next(int(column) for column in np.argsort(-priorities, kind="stable") if column not in columns))
    return columns


def tiles(columns: Sequence[int]) -> list[Tile]:
    """Return the rectangles round the free squares, given by their columns."""
    n, found = len(columns), []
    taken = np.zeros((n, n + 1), dtype=bool)
    taken[:, n] = True
    taken[range(n), columns] = True
    for row in range(n):
        while not taken[row].all():
            column = int(taken[row].argmin())
            width = int(taken[row, column:].argmax())
            blocked = taken[row:, column : column + width].any(axis=1)
            height = int(blocked.argmax()) if blocked.any() else n - row
            taken[row : row + height, column : column + width] = True
            found.append((row, column, height, width))
    return found


def best_multiple(n: int) -> int:
    """Return the best score where the free column of a row, both counted from 1, is a multiple modulo n + 1."""
    orders = [[(row + 1) * factor % (n + 1) - 1 for row in range(n)] for factor in range(1, n + 1)]
    return max(value_of(tiles(order), n) for order in orders if sorted(order) == list(range(n)))


@funsearch.draw
def picture(n: int) -> str:
    """Draw the rectangles; what is left between them is free."""
    placed = tiles(free_columns(n))
    side = 360 / n
    drawing = funsearch.svg.Picture(380, 400, f"{len(placed)} rectangles on a grid of {n} x {n} squares")
    drawing.rect(10, 10, 360, 360, stroke=funsearch.svg.SOFT)
    for row, column, height, width in placed:
        corner = 11 + column * side, 11 + row * side
        size = width * side - 2, height * side - 2
        drawing.rect(*corner, *size, fill=funsearch.svg.BLUE, fill_opacity=0.35, stroke=funsearch.svg.BLUE)
    drawing.text(10, 390, f"{len(placed)} rectangles")
    return str(drawing)


@funsearch.evolve
def priority(row: int, column: int, n: int) -> float:
    """Return the priority with which a square is left free.

    Args:
        row: From 0 to n - 1.
        column: From 0 to n - 1.
        n: The side of the grid.

    Returns:
        A number; of the squares of a row, that with the highest one is left free.
    """
    return 0.0
