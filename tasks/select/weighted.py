"""ShinkaEvolve's weighted choice of parents: good programs that had few children so far.

arXiv 2509.19349, section 3.1; the unit of the distance to the median is that of its code.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Sequence
from statistics import median

from overnight.schemas.algorithm import Plan, PromptResult, Turn
from overnight.schemas.algorithm_settings import WeightedSettings
from overnight.schemas.program import Program
from overnight.tasks.select.pool import NICHE, PoolAlgorithm, shown_with, sigmoid

_SHARPNESS = 10.0
"""Factor λ in the sigmoid, as in its code."""

_LEAST_UNIT = 1e-6
"""Lower limit on the median absolute deviation of the scores."""


class Weighted(PoolAlgorithm[WeightedSettings]):
    """Weighted choice from an archive of the best programs."""

    records_expansions = True

    def __init__(self, settings: WeightedSettings, start: Program, seed: int) -> None:
        super().__init__(settings, start, seed)
        self._archive = [start]
        self._children: Counter[str] = Counter()

    def ask(self, turn: Turn) -> Plan:
        """Draw the base by its weight, and what is shown beside it uniformly from the archive."""
        rng = self._random(turn)
        base = rng.choices(self._archive, self._weights())[0]
        others = rng.sample(self._archive, len(self._archive))
        return Plan(NICHE, shown_with(base, others, self._settings.parents))

    def _weights(self) -> list[float]:
        children = [self._children[program.id] for program in self._archive]
        return weights([program.score for program in self._archive], children, _SHARPNESS)

    def _learn(self, result: PromptResult) -> None:
        super()._learn(result)
        self._children[result.base_id] += result.samples
        for child in result.children:
            insort(self._archive, child, key=lambda program: -program.score)
        del self._archive[self._settings.archive :]


create = Weighted


def weights(scores: Sequence[float], children: Sequence[int], sharpness: float) -> list[float]:
    """Return sigmoid(λ (f − a) / s) / (1 + n) for each program, λ being the sharpness.

    Of the scores f, a is the median, and s the median absolute deviation, at least 1e-6; n counts failed children, too.
    """
    scale = max(1.0, *map(abs, scores))  # differences of the largest floats overflow
    scaled = [score / scale for score in scores]
    centre = median(scaled)
    unit = max(median(abs(score - centre) for score in scaled), _LEAST_UNIT / scale)
    return [
        sigmoid(sharpness * ((score - centre) / unit)) / (1 + count)
        for score, count in zip(scaled, children, strict=True)
    ]
