"""Several greedy searches side by side, of which the worse are given up as a budget is used.

arXiv 2607.18235, and "bet and run": Friedrich et al., AAAI 2017.
"""

from __future__ import annotations

from overnight.schemas.algorithm import Plan, PromptResult, Turn
from overnight.schemas.algorithm_settings import HalvingSettings
from overnight.schemas.program import Program
from overnight.tasks.select.greedy import draw_greedily
from overnight.tasks.select.pool import PoolAlgorithm


class Halving(PoolAlgorithm[HalvingSettings]):
    """Greedy searches in niches of their own; the number of those that go on falls with the samples told of.

    A niche that is given up stays as it is, and is asked no more. Children of prompts that were in flight then still
    join it.

    Attributes:
        going_on: Names of the niches that have not been given up.
    """

    records_expansions = True

    def __init__(self, settings: HalvingSettings, start: Program, seed: int) -> None:
        super().__init__(settings, start, seed)
        self.going_on = list(self._pools)
        self._samples = 0

    def ask(self, turn: Turn) -> Plan:
        """Plan a prompt of the niche whose turn it is; each generation begins with another one."""
        niche = self.going_on[(turn.generation + turn.index) % len(self.going_on)]
        return Plan(niche, draw_greedily(self._pools[niche], self._settings, self._random(turn)))

    def _learn(self, result: PromptResult) -> None:
        """Register children, and give up niches after the prompt that uses up a quarter of the budget."""
        super()._learn(result)
        self._samples += result.samples
        count = niches_at(self._samples / self._settings.budget, len(self._pools))
        if len(self.going_on) > count:
            ranked = sorted(self.going_on, key=lambda name: self._pools[name].best.score, reverse=True)
            kept = set(ranked[:count])
            self.going_on = [name for name in self.going_on if name in kept]


create = Halving


def niches_at(share: float, founded: int) -> int:
    """Return how many niches go on after a share of the budget: all, then 5/12 of them rounded up, then 2, then 1."""
    if share < 0.25:
        return founded
    if share < 0.5:
        return -(-5 * founded // 12)
    return min(2, founded) if share < 0.75 else 1
