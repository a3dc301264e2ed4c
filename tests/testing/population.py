"""Islands that are asked for whole generations, with numbers for their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from overnight.schemas.algorithm import Change, Plan, PromptResult, Turn
from overnight.schemas.algorithm_settings import IslandsSettings
from overnight.schemas.program import Program
from overnight.schemas.search_settings import Search
from overnight.tasks.select import create_algorithm
from overnight.tasks.select.funsearch import FunSearch
from overnight.tasks.select.pool import Pool


class Population:
    """An algorithm with islands.

    Args:
        search: Names the algorithm, and how many prompts a generation has.
        start: The start program.
        seed: Seed of the run.
    """

    def __init__(self, search: Search, start: Program, seed: int) -> None:
        self.algorithm = cast("FunSearch", create_algorithm(search.algorithm, start, seed))
        self._prompts = search.prompts

    @property
    def islands(self) -> list[Pool]:
        return list(self.algorithm.niches.values())

    @property
    def best(self) -> Program:
        return self.algorithm.best

    def ask(self, generation: int) -> list[Plan]:
        return [self.algorithm.ask(Turn(generation, index)) for index in range(self._prompts)]

    def tell(self, generation: int, children: Sequence[tuple[int, Program]], *, reset: bool) -> list[Change]:
        results = [PromptResult(str(island), "", 1, (program,)) for island, program in children]
        return self.algorithm.tell(generation, results, reset=reset)

    def replay(self, changes: Sequence[Change], programs: Mapping[str, Program]) -> None:
        self.algorithm.replay(changes, programs)


def islands_in(search: Search) -> int:
    """Return the number of islands of settings whose algorithm has any."""
    assert isinstance(search.algorithm, IslandsSettings)
    return search.algorithm.islands
