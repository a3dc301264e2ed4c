"""Parts that algorithms share: niches that keep every program, and how they learn from results, told or replayed."""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import ClassVar, Generic, TypeVar

from overnight.schemas.algorithm import Change, Expand, Join, Plan, PromptResult, Turn
from overnight.schemas.algorithm_settings import AlgorithmSettings
from overnight.schemas.program import Program

Signature = tuple[float, ...]
Settings = TypeVar("Settings", bound=AlgorithmSettings)

_LARGEST = 700.0
"""Exponents further from 0 than this are cut off: larger ones overflow, and lower ones are 0 in double precision."""

_NEARLY = 1e-6
"""Part of a score by which that of another program differs at most which is nearly the same."""

NICHE = "0"
"""Name of the niche of an algorithm that has one."""


class Pool:
    """All programs of a niche.

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
        self.programs.append(program)
        self.by_signature.setdefault(program.scores, []).append(program)
        if program.score > self.best.score:
            self.best = program

    def shortest_as(self, program: Program) -> Program:
        """Return the shortest of the programs with the signature of one; the first of equals."""
        return min(self.by_signature[program.scores], key=lambda one: len(one.body))

    @property
    def ranked(self) -> list[Program]:
        """The first program of each signature, best first."""
        firsts = [programs[0] for programs in self.by_signature.values()]
        return sorted(firsts, key=lambda program: program.score, reverse=True)


class PoolAlgorithm(ABC, Generic[Settings]):
    """A search algorithm whose niches keep every program; what remains is what it plans.

    It learns from results in the same way whether it is told of them or they are replayed.
    """

    records_expansions: ClassVar[bool] = False

    def __init__(self, settings: Settings, start: Program, seed: int) -> None:
        self._settings = settings
        self._seed = seed
        self._pools = {name: Pool(start) for name in settings.founded_niches}

    @property
    def niches(self) -> Mapping[str, Pool]:
        return self._pools

    @property
    def best(self) -> Program:
        return max((pool.best for pool in self._pools.values()), key=lambda program: program.score)

    @abstractmethod
    def ask(self, turn: Turn) -> Plan:
        """Plan one prompt."""

    def tell(self, generation: int, results: Sequence[PromptResult], *, reset: bool) -> list[Change]:  # noqa: ARG002
        for result in results:
            self._learn(result)
        return changes_of(results, expansions=self.records_expansions)

    def replay(self, changes: Sequence[Change], programs: Mapping[str, Program]) -> None:
        for result in results_in(changes, programs):
            self._learn(result)

    def _learn(self, result: PromptResult) -> None:
        for child in result.children:
            self._pools[result.niche].add(child)

    @property
    def _pool(self) -> Pool:
        return self._pools[NICHE]

    def _random(self, turn: Turn) -> Random:
        """Return the source of everything that is random in one plan."""
        return Random(f"{self._seed}/{turn.generation}/{turn.index}/ask")


def shown_with(base: Program, others: Iterable[Program], parents: int) -> tuple[Program, ...]:
    """Return the programs that a prompt shows: a base, and before it others in ascending order of score.

    The others come in order of preference, but those with nearly the same scores, which teach least, are last. Only
    programs with a signature of their own are shown, and none that is better than the base, since the base of a prompt
    is the best program that it shows.
    """
    chosen: list[Program] = []
    signatures = {base.scores}
    for program in sorted(others, key=lambda one: _is_nearly(one, base)):
        if len(chosen) + 1 >= parents:
            break
        if program.score <= base.score and program.scores not in signatures:
            chosen.append(program)
            signatures.add(program.scores)
    return (*sorted(chosen, key=lambda program: program.score), base)


def _is_nearly(program: Program, base: Program) -> bool:
    pairs = zip(program.scores, base.scores, strict=False)
    return all(math.isclose(one, other, rel_tol=_NEARLY) for one, other in pairs)


def changes_of(results: Sequence[PromptResult], *, expansions: bool) -> list[Change]:
    """Return the changes that register the children of prompts.

    With expansions, the base of each prompt is recorded, too.
    """
    changes: list[Change] = []
    for result in results:
        if expansions and result.samples:
            changes.append(Expand(result.niche, result.base_id, result.samples))
        changes += [Join(result.niche, child.id) for child in result.children]
    return changes


def results_in(changes: Sequence[Change], programs: Mapping[str, Program]) -> Iterator[PromptResult]:
    """Yield the results that changes were made of.

    Programs that joined without an expansion are each the child of a prompt without base and samples.
    """
    result: PromptResult | None = None
    for change in changes:
        if isinstance(change, Join) and result and result.niche == change.niche:
            result = replace(result, children=(*result.children, programs[change.program_id]))
            continue
        if result:
            yield result
        result = None
        if isinstance(change, Expand):
            result = PromptResult(change.niche, change.program_id, change.samples)
        elif isinstance(change, Join):
            yield PromptResult(change.niche, "", 0, (programs[change.program_id],))
    if result:
        yield result


def softmax_weights(scores: Sequence[float], temperature: float) -> list[float]:
    """Return weights proportional to exp(score / temperature), the highest 1."""
    best = max(scores)
    temperature = min(max(temperature, sys.float_info.min), sys.float_info.max)
    return [math.exp(max((score - best) / temperature, -_LARGEST)) for score in scores]


def sigmoid(x: float) -> float:
    """Return 1 / (1 + e^−x)."""
    return 1 / (1 + math.exp(-min(max(x, -_LARGEST), _LARGEST)))
