"""MAP-Elites over features of code: the best program of each cell is kept and improved.

Mouret and Clune, arXiv 1504.04909. The grid and the draw of its parents are after OpenEvolve, the centroids and the
softmax after LEVI (arXiv 2605.09764).
"""

from __future__ import annotations

from random import Random

from schemas.algorithm import Plan, PromptResult, Turn
from schemas.algorithm_settings import MapElitesSettings
from schemas.program import Program
from tasks.select.cells import Cells, Centroids, Grid, Point
from tasks.select.features import features_of
from tasks.select.funsearch import softmax_weights
from tasks.select.pool import NICHE, OnePoolAlgorithm, shown_with

_TEMPERATURES = (0.3, 0.7, 1.0, 1.2)
"""Temperatures of the softmax over scores from 0 to 1; one is drawn for each prompt."""

_ANY_CELL, _BEST_CELLS = 0.2, 0.7
"""Shares of prompts with a base from any cell, and from the best fifth of the cells; in the others, any program."""

_MIN_INPUTS = 3
"""Number of inputs from which the score on each is a feature."""

_LARGEST = 1e100
"""Scores further from 0 are cut off as features, since the squares of larger ones overflow."""


class MapElites(OnePoolAlgorithm[MapElitesSettings]):
    """MAP-Elites with one niche, since what is confirmed is a new best of all cells."""

    def __init__(self, settings: MapElitesSettings, start: Program, seed: int) -> None:
        super().__init__(settings, start, seed)
        self._is_grid = settings.variant == "grid"
        self._inputs = len(start.scores) if len(start.scores) >= _MIN_INPUTS else 0
        centroids_from = Random(f"{seed}/centroids")
        self._cells: Cells = (
            Grid(settings.bins)
            if self._is_grid
            else Centroids(settings.centroids, settings.first_programs, centroids_from)
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
"""Make the algorithm from its settings, the start program and the seed of the run."""


def scaled(scores: list[float]) -> list[float]:
    """Return scores scaled to between 0 and 1; all 0 where they are equal."""
    low = min(scores)
    spread = max(scores) / 2 - low / 2  # halves, since a difference of the largest floats overflows
    return [(score / 2 - low / 2) / spread if spread else 0.0 for score in scores]
