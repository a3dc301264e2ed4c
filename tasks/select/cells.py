"""Cells of a feature space, each of which keeps its best program: a grid, and cells around centroids (CVT)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from random import Random
from statistics import fmean, pstdev

from schemas.program import Program

Point = tuple[float, ...]

_MAX_ROUNDS = 20
"""Rounds of k-means after which the centroids are used as they are."""


class Cells(ABC):
    """Cells whose borders follow from the points seen so far.

    Attributes:
        elites: The best program of each cell, the first of equals, in the order in which the cells were first reached.
    """

    def __init__(self) -> None:
        self.elites: dict[Hashable, Program] = {}
        self._seen: list[tuple[Point, Program]] = []

    def add(self, point: Point, program: Program) -> None:
        """Place a program; where the borders move with it, all programs are placed again."""
        self._seen.append((point, program))
        if self._adapt(point):
            self.elites = {}
            for each in self._seen:
                self._place(*each)
        else:
            self._place(point, program)

    def _place(self, point: Point, program: Program) -> None:
        cell = self._cell(point)
        if cell not in self.elites or program.score > self.elites[cell].score:
            self.elites[cell] = program

    @abstractmethod
    def _adapt(self, point: Point) -> bool:
        """Take a new point into account; return whether the borders moved."""

    @abstractmethod
    def _cell(self, point: Point) -> Hashable:
        """Return the cell of a point."""


class Grid(Cells):
    """A grid over the range of the points seen so far.

    Args:
        bins: Number of intervals of each axis.
    """

    def __init__(self, bins: int) -> None:
        super().__init__()
        self._bins = bins
        self._low: Point = ()
        self._high: Point = ()

    def _adapt(self, point: Point) -> bool:
        low, high = self._low or point, self._high or point
        before = self._low, self._high
        self._low, self._high = tuple(map(min, low, point)), tuple(map(max, high, point))
        return before != (self._low, self._high)

    def _cell(self, point: Point) -> Hashable:
        return tuple(
            min(int((value - low) / (high - low) * self._bins), self._bins - 1) if high > low else 0
            for value, low, high in zip(point, self._low, self._high, strict=True)
        )


class Centroids(Cells):
    """Cells of the points that are nearest to one centroid each.

    The centroids are made by k-means of the first points, whose coordinates are standardised and squashed to between 0
    and 1. Until then, each point is a cell of its own.

    Args:
        cells: Largest number of cells.
        first: Number of points from which the centroids are made.
        rng: Source of the first centroids.
    """

    def __init__(self, cells: int, first: int, rng: Random) -> None:
        super().__init__()
        self._cells = cells
        self._first = first
        self._rng = rng
        self._units: list[tuple[float, float]] = []
        self._centroids: list[Point] = []

    def _adapt(self, point: Point) -> bool:  # noqa: ARG002
        if len(self._seen) != self._first:
            return False
        points = [seen for seen, _ in self._seen]
        self._units = [(fmean(column), pstdev(column)) for column in zip(*points, strict=True)]
        self._centroids = centroids_of([self._squash(one) for one in points], self._cells, self._rng)
        return True

    def _cell(self, point: Point) -> Hashable:
        return nearest(self._squash(point), self._centroids) if self._centroids else point

    def _squash(self, point: Point) -> Point:
        return tuple(
            squashed((value - mean) / deviation if deviation else 0.0)
            for value, (mean, deviation) in zip(point, self._units, strict=True)
        )


def squashed(x: float) -> float:
    """Return 1 / (1 + e^−x)."""
    return 1 / (1 + math.exp(-min(max(x, -700.0), 700.0)))


def nearest(point: Point, centroids: Sequence[Point]) -> int:
    """Return the index of the nearest centroid; of equals the first."""
    return min(range(len(centroids)), key=lambda index: math.dist(point, centroids[index]))


def centroids_of(points: Sequence[Point], count: int, rng: Random) -> list[Point]:
    """Return the centroids of k-means from a start by k-means++; fewer than `count` if fewer points differ."""
    centroids = _spread(points, count, rng)
    for _ in range(_MAX_ROUNDS):
        groups: list[list[Point]] = [[] for _ in centroids]
        for point in points:
            groups[nearest(point, centroids)].append(point)
        pairs = zip(groups, centroids, strict=True)
        moved = [tuple(map(fmean, zip(*group, strict=True))) if group else centroid for group, centroid in pairs]
        if moved == centroids:
            break
        centroids = moved
    return centroids


def _spread(points: Sequence[Point], count: int, rng: Random) -> list[Point]:
    """Draw points by k-means++: the first uniformly, the others by the squared distance to the nearest one drawn."""
    drawn = [rng.choice(points)]
    squares = [math.dist(point, drawn[0]) ** 2 for point in points]
    while len(drawn) < count and any(squares):
        drawn.append(rng.choices(points, squares)[0])
        squares = [min(known, math.dist(point, drawn[-1]) ** 2) for known, point in zip(squares, points, strict=True)]
    return drawn
