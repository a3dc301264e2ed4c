"""Optimisers of a score over a few numbers: golden section for one, CMA-ES for more.

A number is a coordinate, in which a step means the same for small and large ones. Optimisers are asked for by the
number of evaluations that they may take, and evaluate as many points at a time as they can.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from overnight.tasks.tune.literals import Literal

RADIUS = 1.0
"""Largest distance of a coordinate from its start, in both directions: a factor of 10, of the number or of its odds."""

_DIGITS = 12
"""Significant digits of the values that are tried."""

_MAX_EXPONENT = 300
"""Largest power of 10 of a value."""


@dataclass(frozen=True, slots=True)
class Coordinate:
    """The coordinate of one number: its decimal logarithm; of a probability, that of its odds.

    Attributes:
        origin: Value of the number in the program.
        is_probability: Whether it stays between 0 and 1.
    """

    origin: int | float
    is_probability: bool = False

    @property
    def start(self) -> float:
        return math.log10(self.origin / (1 - self.origin) if self.is_probability else self.origin)

    @property
    def bounds(self) -> tuple[float, float]:
        return self.start - RADIUS, self.start + RADIUS

    def value(self, coordinate: float) -> int | float:
        """Return the value at a coordinate: above 0, and whole if the number is."""
        low, high = self.bounds
        power = 10 ** max(-_MAX_EXPONENT, min(_MAX_EXPONENT, min(high, max(low, coordinate))))
        value = power / (1 + power) if self.is_probability else power
        return max(1, round(value)) if isinstance(self.origin, int) else float(f"{value:.{_DIGITS}g}")

    def beside(self, coordinate: float) -> list[float]:
        """Return the coordinates of the whole numbers beside the one at a coordinate; none for floats."""
        if not isinstance(self.origin, int):
            return []
        value = self.value(coordinate)
        beside = [math.log10(one) for one in (value - 1, value + 1) if one >= 1]
        return [one for one in beside if self.bounds[0] <= one <= self.bounds[1]]

    @property
    def trials(self) -> tuple[int | float, int | float]:
        """Values by which the number's effect is tried: a tenth more, of a whole number at least 1 more; then half."""
        more, half = (self.value(self.start + math.log10(factor)) for factor in (1.1, 0.5))
        if isinstance(self.origin, int):
            return max(more, self.origin + 1), half
        return more, half


def coordinate_of(literal: Literal) -> Coordinate:
    return Coordinate(literal.value, literal.is_probability)


Point = tuple[float, ...]
Rate = Callable[[Sequence[Point]], Sequence[float | None]]
"""Returns the score of each point, higher is better; `None` where it failed."""

GOLDEN_EVALUATIONS = 12
_GOLDEN = (math.sqrt(5) - 1) / 2

_SIGMA = 0.2
"""Standard deviation of the first generation."""

_MIN_SIGMA = 1e-3
_PATIENCE = 6
"""Generations without gain after which the search ends; with 3, one in four ends before it has learnt the scales."""

_DIAGONAL_FROM = 7
"""Number of coordinates from which on their covariances are not learnt: there are not enough evaluations for that."""


@dataclass(frozen=True, slots=True)
class Found:
    """The best point so far with its score."""

    point: Point
    score: float

    def better_of(self, points: Sequence[Point], scores: Sequence[float | None]) -> Found:
        """Return the best of this one and others; the first of equals."""
        found = self
        for point, score in zip(points, scores, strict=True):
            if score is not None and score > found.score:
                found = Found(point, score)
        return found


def evaluations_for(coordinates: int) -> int:
    """Return the number of evaluations that a search takes at most."""
    return GOLDEN_EVALUATIONS if coordinates == 1 else 30 + 10 * coordinates


def maximise(rate: Rate, start: Found, bounds: Sequence[tuple[float, float]], *, evaluations: int, seed: int) -> Found:
    """Return the best point found. At most so many points are rated."""
    if len(bounds) == 1:
        return _search_interval(rate, start, bounds[0], evaluations)
    return _evolve(rate, start, bounds, evaluations, seed)


def climb(rate: Rate, start: Found, neighbours: Callable[[Point], Sequence[Point]], *, evaluations: int) -> Found:
    """Move to the best neighbour, as long as it is better; return the last point. At most so many points are rated."""
    found = start
    while points := neighbours(found.point)[: max(0, evaluations)]:
        evaluations -= len(points)
        better = found.better_of(points, rate(points))
        if better is found:
            break
        found = better
    return found


def _search_interval(rate: Rate, start: Found, bounds: tuple[float, float], evaluations: int) -> Found:
    """Shrink an interval by golden section; failures count as lower than anything."""
    low, high = bounds
    points = [(high - _GOLDEN * (high - low),), (low + _GOLDEN * (high - low),)]
    if evaluations < len(points):
        return start
    left, right = scores = list(rate(points))
    found = start.better_of(points, scores)
    for _ in range(evaluations - len(points)):
        (below,), (above,) = points
        if rank(left) >= rank(right):
            high, right = above, left
            points = [(high - _GOLDEN * (high - low),), (below,)]
            (left,) = new = rate(points[:1])
            found = found.better_of(points[:1], new)
        else:
            low, left = below, right
            points = [(above,), (low + _GOLDEN * (high - low),)]
            (right,) = new = rate(points[1:])
            found = found.better_of(points[1:], new)
    return found


def _evolve(rate: Rate, start: Found, bounds: Sequence[tuple[float, float]], evaluations: int, seed: int) -> Found:
    """Run CMA-ES (Hansen, arXiv 1604.00772); failures rank last."""
    strategy = _new_strategy(start.point, bounds, seed)
    found, stale = start, 0
    while evaluations >= strategy.popsize and stale < _PATIENCE and strategy.sigma >= _MIN_SIGMA:
        asked = strategy.ask()
        points = [tuple(map(float, point)) for point in asked]
        scores = rate(points)
        evaluations -= len(points)
        better = found.better_of(points, scores)
        found, stale = better, stale + 1 if better is found else 0
        if all(score is None for score in scores):
            strategy.sigma /= 2  # nothing to learn but that it is too far
        else:
            strategy.tell(asked, _costs(scores))
    return found


def _new_strategy(start: Point, bounds: Sequence[tuple[float, float]], seed: int) -> Any:
    # Without matplotlib, importing the library warns that it cannot plot.
    warnings.filterwarnings("ignore", message="Could not import matplotlib", module="cma")
    import cma
    import numpy as np

    dimensions = len(start)
    options = {
        "popsize": 4 + int(3 * math.log(dimensions)),
        "bounds": [list(side) for side in zip(*bounds, strict=True)],
        "CMA_diagonal": dimensions >= _DIAGONAL_FROM,
        "CMA_mirrors": True,
        # A generator of its own: the library's default would seed and use the one that the whole process shares.
        "seed": np.nan,
        "randn": lambda *shape: generator.standard_normal(shape),
        "verbose": -10,  # and no file that steers it is read from the working directory
        "verb_log": 0,
    }
    generator = np.random.default_rng(seed)
    return cma.CMAEvolutionStrategy(list(start), _SIGMA, options)


def _costs(scores: Sequence[float | None]) -> list[float]:
    """Return numbers of which lower is better, for a search that compares them only."""
    order = sorted({rank(score) for score in scores}, reverse=True)
    return [float(order.index(rank(score))) for score in scores]


def rank(score: float | None) -> float:
    """Return a number that orders scores, failures behind all others."""
    return float("-inf") if score is None else score
