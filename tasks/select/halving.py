"""Several greedy searches side by side, of which the worse are given up as a budget is used.

arXiv 2607.18235, and "bet and run": Friedrich et al., AAAI 2017.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from schemas.algorithm import Change, Plan, PromptResult, Turn
from schemas.algorithm_settings import HalvingSettings
from schemas.program import Program
from tasks.select.greedy import draw_greedily
from tasks.select.pool import Pool, random_of
from tasks.select.results import changes_of, results_in


class Halving:
    """Greedy searches in niches of their own; the number of those that go on falls with the samples told of.

    A niche that is given up stays as it is, and is asked no more. Children of prompts that were in flight then still
    join it.

    Args:
        settings: Settings of the algorithm.
        start: The specification's own program; the first of every niche.
        seed: Seed of the run.
    """

    def __init__(self, settings: HalvingSettings, start: Program, seed: int) -> None:
        self._settings = settings
        self._seed = seed
        self._pools = {name: Pool(start) for name in settings.founded_niches}
        self._going_on = list(self._pools)
        self._samples = 0

    @property
    def niches(self) -> Mapping[str, Pool]:
        """All niches, those given up too."""
        return self._pools

    @property
    def best(self) -> Program:
        """The best program of all niches; the first of equals."""
        return max((pool.best for pool in self._pools.values()), key=lambda program: program.score)

    @property
    def going_on(self) -> Sequence[str]:
        """Names of the niches that have not been given up."""
        return self._going_on

    def ask(self, turn: Turn) -> Plan:
        """Plan a prompt of the niche whose turn it is; each generation begins with another one."""
        niche = self._going_on[(turn.generation + turn.index) % len(self._going_on)]
        return Plan(niche, draw_greedily(self._pools[niche], self._settings, random_of(self._seed, turn)))

    def tell(self, generation: int, results: Sequence[PromptResult], *, reset: bool) -> list[Change]:  # noqa: ARG002
        """Register the children of prompts, and give up niches after the one that uses up a quarter of the budget."""
        for result in results:
            self._learn(result)
        return changes_of(results, expansions=True)

    def replay(self, changes: Sequence[Change], programs: Mapping[str, Program]) -> None:
        """Apply recorded changes. Which niches are given up follows from the samples of the expansions."""
        for result in results_in(changes, programs):
            self._learn(result)

    def _learn(self, result: PromptResult) -> None:
        for child in result.children:
            self._pools[result.niche].add(child)
        self._samples += result.samples
        count = niches_at(self._samples / self._settings.budget, len(self._pools))
        if len(self._going_on) > count:
            ranked = sorted(self._going_on, key=lambda name: self._pools[name].best.score, reverse=True)
            kept = set(ranked[:count])
            self._going_on = [name for name in self._going_on if name in kept]


create = Halving
"""Make the algorithm from its settings, the start program and the seed of the run."""


def niches_at(share: float, founded: int) -> int:
    """Return how many niches go on after a share of the budget: all, then 5/12 of them rounded up, then 2, then 1."""
    if share < 0.25:
        return founded
    if share < 0.5:
        return -(-5 * founded // 12)
    return min(2, founded) if share < 0.75 else 1
