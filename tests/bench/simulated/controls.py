"""Controls: search algorithms and a model that are not for use, but to compare others with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from overnight.schemas.algorithm import Algorithm, Change, Plan, PromptResult, Turn
from overnight.schemas.algorithm_settings import GreedySettings
from overnight.schemas.program import Program
from overnight.tasks.sample.builtin import mutate
from overnight.tasks.select.greedy import Greedy
from overnight.tasks.select.pool import NICHE, PoolAlgorithm, shown_with
from tests.bench.simulated.model import Reply, SimulatedModel

ROUND, SURVIVORS = 20, 3
"""Answers of a round of `scs`, and programs of the round before that its prompts show."""

_BEST = 10
"""Programs among which `top-ten` draws."""


class FromStart(PoolAlgorithm[GreedySettings]):
    """Independent answers: each prompt shows the start program alone."""

    def ask(self, turn: Turn) -> Plan:
        """Plan a prompt."""
        return Plan(NICHE, (self._pool.programs[0],))


class TopTen(PoolAlgorithm[GreedySettings]):
    """The base is drawn from the ten best programs, all alike."""

    def ask(self, turn: Turn) -> Plan:
        """Plan a prompt."""
        ranked = self._pool.ranked
        return Plan(NICHE, shown_with(self._random(turn).choice(ranked[:_BEST]), ranked, self._settings.parents))


class Rounds(PoolAlgorithm[GreedySettings]):
    """Sequential conditioned sampling: a prompt shows three random scored programs of the round before."""

    def __init__(self, settings: GreedySettings, start: Program, seed: int) -> None:
        super().__init__(settings, start, seed)
        self._rounds: dict[int, list[Program]] = {0: [start]}

    def ask(self, turn: Turn) -> Plan:
        """Plan a prompt from the last round before its own in which a program was scored."""
        survivors = self._rounds[max(number for number in self._rounds if number < turn.generation)]
        shown = self._random(turn).sample(survivors, min(SURVIVORS, len(survivors)))
        return Plan(NICHE, tuple(sorted(shown, key=lambda program: program.score)))

    def tell(self, generation: int, results: Sequence[PromptResult], *, reset: bool) -> list[Change]:
        """Register the children of prompts, which belong to the round of their generation."""
        for child in (child for result in results for child in result.children):
            self._rounds.setdefault(generation, []).append(child)
        return super().tell(generation, results, reset=reset)


@dataclass(frozen=True)
class MutateModel(SimulatedModel):
    """The built-in model in place of a persona; it costs no tokens."""

    def answer(self, request: Mapping[str, Any], number: int) -> Reply:
        """Return a mutation of the program that a prompt shows."""
        return Reply(mutate(request["messages"][-1]["content"], seed=self.seed * 1_000_003 + number), 0)


PLAIN: Mapping[str, Any] = {
    "search": {"operators": [], "ledger": 0, "feedback": 0, "repairs": 0, "bandit": False, "novelty": "layout"},
    "tuner": {"enabled": False},
}
"""Settings of all controls: each prompt asks for a better program and tells of nothing but those that it shows."""


@dataclass(frozen=True)
class Control:
    """A control.

    Attributes:
        create: Makes its algorithm.
        model: Kind of the model that is asked.
        search: Settings `search.*` that it needs besides `PLAIN`.
        in_flight: Number of samples in flight; `None` for as many as in a night.
    """

    create: Callable[[GreedySettings, Program, int], Algorithm]
    model: type[SimulatedModel] = SimulatedModel
    search: Mapping[str, Any] = field(default_factory=dict)
    in_flight: int | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """All settings that it has, whatever others have."""
        sampling = {"sampling": {"concurrency": self.in_flight}} if self.in_flight else {}
        return {**PLAIN, **sampling, "search": {**PLAIN["search"], **self.search}}


CONTROLS = {
    "plain": Control(Greedy),
    "iid": Control(FromStart),
    "top-ten": Control(TopTen),
    "scs": Control(Rounds, search={"prompts": ROUND, "samples": 1}, in_flight=1),
    "mutate": Control(Greedy, MutateModel),
}
"""The controls by name; `plain` is greedy search and nothing else."""
