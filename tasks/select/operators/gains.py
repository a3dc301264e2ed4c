"""The unit of gains: how much an improvement is worth, whatever the scale of the scores."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from statistics import median

_LARGEST = 5.0
"""Limit on a gain, in units; one lucky answer must not decide all later choices."""

_INTERVAL = 25
"""Scores after which the unit is computed again."""

_FEWEST = 5
"""Distinct scores below which there is no unit; any improvement is then worth 1."""


class Gains:
    """Measures improvements in units of the run.

    The unit is the median absolute difference of the distinct scores so far to their median, but not less than the
    declared noise.

    Args:
        start: Score of the start program.
        noise: Difference between two scores of one program that must be expected.
    """

    def __init__(self, start: float, noise: float) -> None:
        self._start, self._noise = start, noise
        self._scores = [start]
        self._noted = 0
        self._unit: float | None = None

    def note(self, score: float) -> None:
        """Count the score of a child."""
        place = bisect_left(self._scores, score)
        if place == len(self._scores) or self._scores[place] != score:
            insort(self._scores, score)
        self._noted += 1
        if len(self._scores) >= _FEWEST and (self._unit is None or self._noted % _INTERVAL == 0):
            self._unit = self._computed()

    def gain(self, score: float | None, base: float) -> float:
        """Return the gain of a child on its base, or on the start program if that is better: 0 if there is none."""
        if score is None:
            return 0.0
        improvement = score - max(base, self._start)
        if improvement <= self._noise:
            return 0.0
        if self._unit is None or not math.isfinite(self._unit):
            return 1.0
        return min(_LARGEST, improvement / self._unit)

    def rank(self, score: float) -> float:
        """Return the share of the distinct scores that are higher."""
        return 1.0 - bisect_right(self._scores, score) / len(self._scores)

    def _computed(self) -> float:
        middle = median(self._scores)
        deviation = median(abs(score - middle) for score in self._scores)
        return max(deviation, 1e-12 * abs(middle), self._noise) or 1.0
