"""MAP-Elites over features of code: the best program of each cell is kept and improved.

Mouret and Clune, arXiv 1504.04909. The grid and the draw of its parents are after OpenEvolve, the centroids and the
softmax after LEVI (arXiv 2605.09764).
"""

from __future__ import annotations

import ast
import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from random import Random
from statistics import fmean, pstdev

from overnight.schemas.algorithm import Plan, PromptResult, Turn
from overnight.schemas.algorithm_settings import Feature, MapElitesSettings
from overnight.schemas.program import Program
from overnight.tasks.program import python_source
from overnight.tasks.select.pool import NICHE, PoolAlgorithm, shown_with, sigmoid, softmax_weights

_LOOPS = (ast.For, ast.AsyncFor, ast.While, ast.comprehension)
_BRANCHES = (ast.If, ast.IfExp, ast.match_case, ast.ExceptHandler)
_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.MatMult, ast.USub)
_NESTED = (ast.For, ast.AsyncFor, ast.While, ast.If, ast.Match, ast.Try, ast.With)
"""Nodes whose blocks are one level deeper."""


def features_of(body: str) -> Mapping[Feature, int]:
    """Return the numbers of loops, branches and arithmetic operators of a body, its levels of nesting and its length.

    Of a body that is no Python, all but the length are 0.
    """
    counts: dict[Feature, int] = {"loops": 0, "branches": 0, "operators": 0, "nesting": 0, "length": len(body)}
    try:
        tree = python_source.parse_shallow(body)
    except python_source.SourceError:
        return counts
    for node in ast.walk(tree):
        counts["loops"] += isinstance(node, _LOOPS)
        counts["branches"] += isinstance(node, _BRANCHES)
        counts["operators"] += isinstance(node, _ARITHMETIC)
    counts["nesting"] = _nesting(tree)
    return counts


def _nesting(tree: ast.AST) -> int:
    """Return the largest number of loops and conditions around a statement; an `elif` is no level deeper."""
    deepest = 0
    open_nodes: list[tuple[ast.AST, int]] = [(tree, 0)]
    while open_nodes:
        node, level = open_nodes.pop()
        inner = level + isinstance(node, _NESTED)
        deepest = max(deepest, inner)
        for child in ast.iter_child_nodes(node):
            is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
            open_nodes.append((child, level if is_elif else inner))
    return deepest


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
    """A grid over the range of the points seen so far."""

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
        first: Number of points from which the centroids are made.
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
            sigmoid((value - mean) / deviation if deviation else 0.0)
            for value, (mean, deviation) in zip(point, self._units, strict=True)
        )


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


_TEMPERATURES = (0.3, 0.7, 1.0, 1.2)
"""Temperatures of the softmax over scores from 0 to 1; one is drawn for each prompt."""

_ANY_CELL, _BEST_CELLS = 0.2, 0.7
"""Shares of prompts with a base from any cell, and from the best fifth of the cells; in the others, any program."""

_MIN_INPUTS = 3
"""Number of inputs from which the score on each is a feature."""

_BINS = 10
"""Intervals of an axis of the grid."""

_LARGEST = 1e100
"""Scores further from 0 are cut off as features, since the squares of larger ones overflow."""


class MapElites(PoolAlgorithm[MapElitesSettings]):
    """MAP-Elites with one niche, since what is confirmed is a new best of all cells."""

    def __init__(self, settings: MapElitesSettings, start: Program, seed: int) -> None:
        super().__init__(settings, start, seed)
        self._is_grid = settings.variant == "grid"
        self._inputs = len(start.scores) if len(start.scores) >= _MIN_INPUTS else 0
        centroids_from = Random(f"{seed}/centroids")
        self._cells: Cells = (
            Grid(_BINS) if self._is_grid else Centroids(settings.centroids, settings.first_programs, centroids_from)
        )
        self._add(start)

    def ask(self, turn: Turn) -> Plan:
        """Draw the base, and what is shown beside it uniformly from the best programs of the cells."""
        rng = self._random(turn)
        base = self._draw_by_share(rng) if self._is_grid else self._draw_by_score(rng)
        elites = self._elites
        return Plan(NICHE, shown_with(base, rng.sample(elites, len(elites)), self._settings.parents))

    @property
    def _elites(self) -> list[Program]:
        return list(self._cells.elites.values())

    def _draw_by_share(self, rng: Random) -> Program:
        """Draw from all cells, from the best fifth of them, or from all programs, by the shares of OpenEvolve."""
        share = rng.random()
        if share < _ANY_CELL:
            return rng.choice(self._elites)
        if share < _ANY_CELL + _BEST_CELLS:
            ranked = sorted(self._elites, key=lambda program: program.score, reverse=True)
            return rng.choice(ranked[: -(-len(ranked) // 5)])
        return rng.choice(self._pool.programs)

    def _draw_by_score(self, rng: Random) -> Program:
        """Draw a cell by a softmax over the scores of the best programs, scaled to between 0 and 1."""
        elites = self._elites
        return rng.choices(elites, softmax_weights(scaled([one.score for one in elites]), rng.choice(_TEMPERATURES)))[0]

    def _learn(self, result: PromptResult) -> None:
        super()._learn(result)
        for child in result.children:
            self._add(child)

    def _add(self, program: Program) -> None:
        self._cells.add(self._point(program), program)

    def _point(self, program: Program) -> Point:
        features = features_of(program.body)
        if self._is_grid:
            return tuple(float(features[axis]) for axis in self._settings.axes)
        scores = (*program.scores, *[0.0] * self._inputs)[: self._inputs]
        return (*map(float, features.values()), *(min(max(score, -_LARGEST), _LARGEST) for score in scores))


create = MapElites


def scaled(scores: list[float]) -> list[float]:
    """Return scores scaled to between 0 and 1; all 0 where they are equal."""
    low = min(scores)
    spread = max(scores) / 2 - low / 2  # halves, since a difference of the largest floats overflows
    return [(score / 2 - low / 2) / spread if spread else 0.0 for score in scores]
