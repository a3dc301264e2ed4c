"""The population: islands of clusters of programs, as an ask/tell core without I/O.

Romera-Paredes et al., *Nature* 625 (2023), Methods, "Programs database"; what the default mode does otherwise than the
paper is said at each place.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from schemas.population import Change, Join, Reset
from schemas.program import Program, Selection
from schemas.settings import Search

Signature = tuple[float, ...]

_GREEDY = 700.0
"""Exponents further below the best than this are 0 in double precision."""


@dataclass(slots=True)
class Cluster:
    """Programs of one island with the same scores on every input."""

    score: float
    programs: list[Program] = field(default_factory=list)

    def draw(self, temperature: float, rng: random.Random) -> Program:
        """One program, shorter ones likelier: softmax of −(length − min) / (max + 1e-6).

        The formula as printed in the paper favours long programs; this is what its code does.
        """
        lengths = [len(program.body) for program in self.programs]
        shortest, longest = min(lengths), max(lengths)
        weights = [math.exp(-(length - shortest) / (longest + 1e-6) / temperature) for length in lengths]
        return rng.choices(self.programs, weights)[0]


@dataclass(slots=True)
class Island:
    """A sub-population that meets others only when it is reset.

    Attributes:
        clusters: By signature, in order of first arrival.
        registered: Programs registered since the island was founded; drives the temperature.
        best: The best program; the first of equals.
    """

    clusters: dict[Signature, Cluster] = field(default_factory=dict)
    registered: int = 0
    best: Program | None = None

    def register(self, program: Program) -> None:
        cluster = self.clusters.setdefault(program.scores, Cluster(program.score))
        cluster.programs.append(program)
        self.registered += 1
        if self.best is None or program.score > self.best.score:
            self.best = program

    @property
    def size(self) -> int:
        return sum(len(cluster.programs) for cluster in self.clusters.values())


class Population:
    """All islands. `ask` for the parents of a generation, `tell` it what became of their children.

    Everything random comes from `seed` and the generation's number, so the state is a function of what was told.

    Args:
        settings: Of the search.
        start: The specification's own program; the first of every island.
        seed: Of the run.
    """

    def __init__(self, settings: Search, start: Program, seed: int) -> None:
        self._settings = settings
        self._seed = seed
        self.start = start
        self.islands = [Island() for _ in range(settings.islands)]
        for island in self.islands:
            island.register(start)

    @property
    def best(self) -> Program:
        """The best program alive; the first of equals."""
        return max((island.best or self.start for island in self.islands), key=lambda program: program.score)

    def ask(self, generation: int) -> list[Selection]:
        """An island and its parents for each prompt of the generation."""
        rng = random.Random(f"{self._seed}/{generation}/ask")
        return [self._select(rng) for _ in range(self._settings.prompts)]

    def tell(self, generation: int, children: Sequence[tuple[int, Program]], *, reset: bool) -> list[Change]:
        """Registers scored children on the islands of their parents, then resets the worse half if told to.

        Args:
            generation: Its number.
            children: Island and program, in the order of the generation.
            reset: Whether the worse half of the islands is emptied and reseeded now.

        Returns:
            What changed, in order; `replay` of it on the population before gives this one.
        """
        changes: list[Change] = [Join(island, program.id) for island, program in children]
        for island, program in children:
            self.islands[island].register(program)
        if reset and len(self.islands) > 1:
            changes += self._reset(random.Random(f"{self._seed}/{generation}/reset"))
        return changes

    def replay(self, changes: Sequence[Change], programs: Mapping[str, Program]) -> None:
        """Does again what `tell` returned, from a record.

        Args:
            changes: In order.
            programs: Every program that the changes name, by id.
        """
        for change in changes:
            match change:
                case Join(island, program_id):
                    self.islands[island].register(programs[program_id])
                case Reset(island, founder_id):
                    self._found(island, programs[founder_id])

    def _select(self, rng: random.Random) -> Selection:
        number = rng.randrange(len(self.islands))
        island = self.islands[number]
        clusters = self._draw_clusters(island, rng)
        parents = [cluster.draw(self._settings.length_temperature, rng) for cluster in clusters]
        return Selection(number, tuple(sorted(parents, key=lambda program: program.score)))

    def _draw_clusters(self, island: Island, rng: random.Random) -> list[Cluster]:
        clusters = list(island.clusters.values())
        count = min(self._settings.parents, len(clusters))
        weights = softmax_weights([cluster.score for cluster in clusters], self._temperature(island, clusters))
        if self._settings.mode == "paper":
            return rng.choices(clusters, weights, k=count)
        return _draw_without_replacement(clusters, weights, count, rng)

    def _temperature(self, island: Island, clusters: Sequence[Cluster]) -> float:
        """T0 (1 − (n mod N)/N), in the unit of the island's scores in the default mode.

        T0 is absolute in the paper, so a problem with scores like 512 is searched greedily and one with scores like
        0.04 uniformly. The unit is the distance from the best cluster to the median one; where that ties with the
        best, to the next one below it.
        """
        period = self._settings.cluster_period
        temperature = self._settings.cluster_temperature * (1 - (island.registered % period) / period)
        if self._settings.mode == "paper":
            return temperature
        ranked = sorted((cluster.score for cluster in clusters), reverse=True)
        below = next((score for score in ranked[len(ranked) // 2 :] if score < ranked[0]), None)
        return temperature if below is None else temperature * (ranked[0] - below)

    def _reset(self, rng: random.Random) -> list[Change]:
        # The paper adds noise of 1e-6 to break ties, which in scores of its own size would be more than that.
        ranked = sorted(
            range(len(self.islands)),
            key=lambda number: ((self.islands[number].best or self.start).score, rng.random()),
        )
        worse = len(ranked) // 2
        changes: list[Change] = []
        for number in ranked[:worse]:
            founder = self.islands[rng.choice(ranked[worse:])].best or self.start
            self._found(number, founder)
            changes.append(Reset(number, founder.id))
        return changes

    def _found(self, number: int, founder: Program) -> None:
        self.islands[number] = Island()
        self.islands[number].register(founder)


def softmax_weights(scores: Sequence[float], temperature: float) -> list[float]:
    """Weights proportional to exp(score / temperature), the highest 1."""
    best = max(scores)
    temperature = min(max(temperature, sys.float_info.min), sys.float_info.max)
    return [math.exp(max((score - best) / temperature, -_GREEDY)) for score in scores]


def _draw_without_replacement(
    clusters: Sequence[Cluster], weights: Sequence[float], count: int, rng: random.Random
) -> list[Cluster]:
    left = list(range(len(clusters)))
    drawn = []
    for _ in range(count):
        place = rng.choices(range(len(left)), [weights[index] for index in left])[0]
        drawn.append(clusters[left.pop(place)])
    return drawn
