"""A niche that keeps every program that is registered, and an algorithm's one niche of that kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import ClassVar, Generic, TypeVar

from schemas.algorithm import Change, Plan, PromptResult, Turn
from schemas.algorithm_settings import AlgorithmSettings
from schemas.program import Program
from tasks.select.results import changes_of, results_in

Signature = tuple[float, ...]
Settings = TypeVar("Settings", bound=AlgorithmSettings)

NICHE = "0"
"""Name of the niche of an algorithm that has one."""


class Pool:
    """All programs of a niche.

    Args:
        first: Its first program.

    Attributes:
        best: The best program; the first of equals.
        programs: In order of arrival.
        by_signature: The same by signature, in order of the first arrival.
    """

    def __init__(self, first: Program) -> None:
        self.best = first
        self.programs: list[Program] = []
        self.by_signature: dict[Signature, list[Program]] = {}
        self.add(first)

    def add(self, program: Program) -> None:
        """Register a program."""
        self.programs.append(program)
        self.by_signature.setdefault(program.scores, []).append(program)
        if program.score > self.best.score:
            self.best = program

    @property
    def ranked(self) -> list[Program]:
        """The first program of each signature, best first."""
        firsts = [programs[0] for programs in self.by_signature.values()]
        return sorted(firsts, key=lambda program: program.score, reverse=True)


class OnePoolAlgorithm(ABC, Generic[Settings]):
    """A search algorithm with one niche, which keeps every program; what remains is what it plans.

    It learns from results in the same way whether it is told of them or they are replayed.

    Args:
        settings: Settings of the algorithm.
        start: The specification's own program.
        seed: Seed of the run.
    """

    records_expansions: ClassVar[bool] = False

    def __init__(self, settings: Settings, start: Program, seed: int) -> None:
        self._settings = settings
        self._seed = seed
        self._pool = Pool(start)

    @property
    def niches(self) -> Mapping[str, Pool]:
        """The one niche."""
        return {NICHE: self._pool}

    @property
    def best(self) -> Program:
        """The best program; the first of equals."""
        return self._pool.best

    @abstractmethod
    def ask(self, turn: Turn) -> Plan:
        """Plan one prompt."""

    def tell(self, generation: int, results: Sequence[PromptResult], *, reset: bool) -> list[Change]:  # noqa: ARG002
        """Register the children of prompts. Nothing is ever reset."""
        for result in results:
            self._learn(result)
        return changes_of(results, expansions=self.records_expansions)

    def replay(self, changes: Sequence[Change], programs: Mapping[str, Program]) -> None:
        """Apply recorded changes."""
        for result in results_in(changes, programs):
            self._learn(result)

    def _learn(self, result: PromptResult) -> None:
        """Register the children of one prompt."""
        for child in result.children:
            self._pool.add(child)

    def _random(self, turn: Turn) -> Random:
        return random_of(self._seed, turn)


def random_of(seed: int, turn: Turn) -> Random:
    """Return the source of everything that is random in one plan."""
    return Random(f"{seed}/{turn.generation}/{turn.index}/ask")


def shown_with(base: Program, others: Iterable[Program], parents: int) -> tuple[Program, ...]:
    """Return the programs that a prompt shows: a base, and before it others in ascending order of score.

    Args:
        base: The program that is to be improved.
        others: What else may be shown, in order of preference. Each must have a signature of its own, and none may be
            better than the base, since the base of a prompt is the best program that it shows.
        parents: Number of programs to show.
    """
    chosen: list[Program] = []
    signatures = {base.scores}
    for program in others:
        if len(chosen) + 1 >= parents:
            break
        if program.score <= base.score and program.scores not in signatures:
            chosen.append(program)
            signatures.add(program.scores)
    return (*sorted(chosen, key=lambda program: program.score), base)
