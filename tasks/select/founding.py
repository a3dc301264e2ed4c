"""Search without a start program: the first prompts ask for whole functions; the first with a score founds the niches.

Until then the search shows what stands for the start program, a signature and a docstring, and each prompt asks for
another kind of program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from overnight.schemas.algorithm import Algorithm, Change, Expand, Join, Niche, Plan, PromptResult, Reset, Turn
from overnight.schemas.operators import Operator
from overnight.schemas.program import Program
from overnight.tasks.select.pool import Pool

WAYS = (
    "a simple, direct one that surely works",
    "an exhaustive one, which tries all possibilities as far as the time allows",
    "a greedy one, which takes what looks best at each step",
    "one by local search: begin with any solution, and improve it by small changes",
    "one by a method that is known in the literature for this kind of problem",
    "one by a closed formula or a direct construction",
    "one that divides the problem into smaller ones, and keeps their results",
    "one that chooses at random with a fixed seed, many times, and keeps the best",
)
"""Kinds of programs that the first prompts ask for, in turn."""


class Founding:
    """An algorithm that is made once the first program has a score; until then, prompts ask for whole functions.

    Answers to the first prompts belong in turn to the niches that are founded. `found` makes the algorithm with a
    program in place of the start program, for which the stub stands.
    """

    def __init__(self, found: Callable[[Program], Algorithm], stub: Program, niches: Sequence[str]) -> None:
        self._found = found
        self._stub = stub
        self._names = tuple(niches)
        self._founder: Program | None = None
        self._algorithm: Algorithm | None = None

    @property
    def niches(self) -> Mapping[str, Niche]:
        """All niches by name; before the first scored program, each has what stands for the start program."""
        return self._algorithm.niches if self._algorithm else {name: Pool(self._stub) for name in self._names}

    @property
    def best(self) -> Program:
        """The best program, or what stands for one."""
        return self._algorithm.best if self._algorithm else self._stub

    def ask(self, turn: Turn) -> Plan:
        """Plan one prompt: of the algorithm, or for a first program of another kind."""
        if self._algorithm:
            return self._algorithm.ask(turn)
        place = turn.generation - 1 + turn.index
        niche = self._names[place % len(self._names)]
        return Plan(niche, (self._stub,), operator=Operator.FRESH, tactic=WAYS[place % len(WAYS)])

    def tell(self, generation: int, results: Sequence[PromptResult], *, reset: bool) -> list[Change]:
        """Register the scored children of prompts; the first of all founds every niche."""
        changes: list[Change] = []
        first = next((child for result in results for child in result.children), None)
        if self._algorithm is None and first:
            changes += [Join(name, first.id) for name in self._begin(first)]
        if self._algorithm is None:
            return changes
        left = [replace(one, base_id=self._base(one.base_id), children=self._others(one)) for one in results]
        return changes + self._algorithm.tell(generation, left, reset=reset)

    def replay(self, changes: Sequence[Change], programs: Mapping[str, Program]) -> None:
        """Apply recorded changes; the first program that joined, and is still there, founded every niche."""
        first = next((one.program_id for one in changes if isinstance(one, Join)), None)
        if self._algorithm is None and first:
            self._begin(programs[first])
        if self._algorithm and self._founder:
            left = [self._rebased(one) for one in changes]
            founder = self._founder.id
            is_founding = {one for one in left if isinstance(one, Join) and one.program_id == founder}
            self._algorithm.replay([one for one in left if one not in is_founding], programs)

    def _begin(self, founder: Program) -> Sequence[str]:
        self._founder, self._algorithm = founder, self._found(founder)
        return self._names

    def _base(self, program_id: str) -> str:
        """Return the base of a prompt: the founder, where it showed what stands for the start program."""
        return self._founder.id if self._founder and program_id == self._stub.id else program_id

    def _others(self, result: PromptResult) -> tuple[Program, ...]:
        return tuple(child for child in result.children if child is not self._founder)

    def _rebased(self, change: Change) -> Change:
        match change:
            case Expand(_, program_id):
                return replace(change, program_id=self._base(program_id))
            case Reset(_, founder_id):
                return replace(change, founder_id=self._base(founder_id))
            case _:
                return change
