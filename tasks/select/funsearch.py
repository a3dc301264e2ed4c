"""FunSearch's programs database as published.

Romera-Paredes et al., *Nature* 625 (2023), Methods, "Programs database".
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from schemas.algorithm import Change, Join, Plan, PromptResult, Reset, Turn
from schemas.algorithm_settings import IslandsSettings
from schemas.program import Program

Signature = tuple[float, ...]

_GREEDY = 700.0
"""Exponents further below the best than this are 0 in double precision."""


@dataclass(slots=True)
class Cluster:
    """Programs of one island with the same scores on every input."""

    score: float
    programs: list[Program] = field(default_factory=list)

    def draw(self, temperature: float, rng: random.Random) -> Program:
        """Draw a program, shorter ones likelier: softmax of −(length − min) / (max + 1e-6).

        The formula as printed in the paper favours long programs; this is what its code does.
        """
        lengths = [len(program.body) for program in self.programs]
        shortest, longest = min(lengths), max(lengths)
        weights = [math.exp(-(length - shortest) / (longest + 1e-6) / temperature) for length in lengths]
        return rng.choices(self.programs, weights)[0]


@dataclass(slots=True)
class Island:
    """A sub-population that exchanges programs with others only when it is reset.

    Attributes:
        clusters: By signature, in order of first arrival.
        registered: Programs registered since the island was founded; drives the temperature.
        best: The best program; the first of equals.
    """

    best: Program
    clusters: dict[Signature, Cluster] = field(default_factory=dict)
    registered: int = 0

    def __post_init__(self) -> None:
        self.register(self.best)

    def register(self, program: Program) -> None:
        """Add a program to the cluster of its signature."""
        cluster = self.clusters.setdefault(program.scores, Cluster(program.score))
        cluster.programs.append(program)
        self.registered += 1
        if program.score > self.best.score:
            self.best = program

    @property
    def programs(self) -> list[Program]:
        """All living programs, cluster by cluster."""
        return [program for cluster in self.clusters.values() for program in cluster.programs]


class FunSearch:
    """FunSearch's programs database: islands of clusters, reset now and then.

    Everything random comes from `seed` and a generation's number, so that the state is a function of what was told.

    Args:
        settings: Settings of the algorithm.
        start: The specification's own program; the first of every island.
        seed: Seed of the run.
    """

    def __init__(self, settings: IslandsSettings, start: Program, seed: int) -> None:
        self._settings = settings
        self._seed = seed
        self._start = start
        self._turn: Turn | None = None
        self._rng = random.Random()
        self.islands = [Island(start) for _ in range(settings.islands)]

    @property
    def niches(self) -> Mapping[str, Island]:
        """The islands, by number."""
        return {str(number): island for number, island in enumerate(self.islands)}

    @property
    def best(self) -> Program:
        """The best living program; the first of equals."""
        return max((island.best for island in self.islands), key=lambda program: program.score)

    def ask(self, turn: Turn) -> Plan:
        """Draw an island and its parents.

        The plans of a generation share one source of random numbers, from which they draw in their order.
        """
        if turn != self._turn:
            self._turn, self._rng = Turn(turn.generation, 0), random.Random(f"{self._seed}/{turn.generation}/ask")
            for _ in range(turn.index):
                self._plan(self._rng)
        self._turn = Turn(turn.generation, turn.index + 1)
        return self._plan(self._rng)

    def tell(self, generation: int, results: Sequence[PromptResult], *, reset: bool) -> list[Change]:
        """Register scored children on the islands of their parents, then reset the worse half if told to."""
        changes: list[Change] = []
        for result in results:
            for child in result.children:
                self._island(result.niche).register(child)
                changes.append(Join(result.niche, child.id))
        if reset and len(self.islands) > 1:
            changes += self._reset(random.Random(f"{self._seed}/{generation}/reset"))
        return changes

    def replay(self, changes: Sequence[Change], programs: Mapping[str, Program]) -> None:
        """Apply recorded changes."""
        for change in changes:
            match change:
                case Join(niche, program_id):
                    self._island(niche).register(programs[program_id])
                case Reset(niche, founder_id):
                    self.islands[int(niche)] = Island(programs[founder_id])

    def _island(self, niche: str) -> Island:
        return self.islands[int(niche)]

    def _plan(self, rng: random.Random) -> Plan:
        number = rng.randrange(len(self.islands))
        clusters = self._draw_clusters(self.islands[number], rng)
        parents = [cluster.draw(self._settings.length_temperature, rng) for cluster in clusters]
        return Plan(str(number), tuple(sorted(parents, key=lambda program: program.score)))

    def _draw_clusters(self, island: Island, rng: random.Random) -> list[Cluster]:
        """Draw clusters with replacement, by a softmax of their scores."""
        clusters = list(island.clusters.values())
        weights = softmax_weights([cluster.score for cluster in clusters], self._temperature(island))
        return rng.choices(clusters, weights, k=min(self._settings.parents, len(clusters)))

    def _temperature(self, island: Island) -> float:
        """Return T0 (1 − (n mod N)/N), n the programs registered on the island."""
        period = self._settings.cluster_period
        return self._settings.cluster_temperature * (1 - (island.registered % period) / period)

    def _reset(self, rng: random.Random) -> list[Change]:
        # The paper adds noise of 1e-6 to break ties, which in scores of its own size would be more than that.
        ranked = sorted(range(len(self.islands)), key=lambda number: (self.islands[number].best.score, rng.random()))
        worse = len(ranked) // 2
        changes: list[Change] = []
        for number in ranked[:worse]:
            founder = self.islands[rng.choice(ranked[worse:])].best
            self.islands[number] = Island(founder)
            changes.append(Reset(str(number), founder.id))
        return changes


create = FunSearch
"""Make the algorithm from its settings, the start program and the seed of the run."""


def softmax_weights(scores: Sequence[float], temperature: float) -> list[float]:
    """Return weights proportional to exp(score / temperature), the highest 1."""
    best = max(scores)
    temperature = min(max(temperature, sys.float_info.min), sys.float_info.max)
    return [math.exp(max((score - best) / temperature, -_GREEDY)) for score in scores]
