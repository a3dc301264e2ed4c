"""FunSearch's programs database as published.

Romera-Paredes et al., *Nature* 625 (2023), Methods, "Programs database". An island is a pool, and a cluster the list of
its programs that share a signature.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence

from overnight.schemas.algorithm import Change, Join, Plan, PromptResult, Reset, Turn
from overnight.schemas.algorithm_settings import IslandsSettings
from overnight.schemas.program import Program
from overnight.tasks.select.pool import Pool, PoolAlgorithm, softmax_weights

Cluster = list[Program]

_HIGHEST = 0.1
"""Temperature T0 of the softmax over the clusters of an island when it is founded, as in the paper."""

_PERIOD = 30_000
"""Programs on an island after which its temperature starts again at T0, as in the paper."""

_LENGTH_TEMPERATURE = 1.0
"""Temperature of the softmax that prefers short programs, as in the paper."""


class FunSearch(PoolAlgorithm[IslandsSettings]):
    """Islands of clusters, which exchange programs only when the worse ones are reset.

    The plans of a generation share one source of random numbers, from which they draw in their order.
    """

    def __init__(self, settings: IslandsSettings, start: Program, seed: int) -> None:
        super().__init__(settings, start, seed)
        self._turn: Turn | None = None
        self._rng = random.Random()

    def ask(self, turn: Turn) -> Plan:
        """Draw an island and its parents."""
        if turn != self._turn:
            self._rng = random.Random(f"{self._seed}/{turn.generation}/ask")
            for _ in range(turn.index):
                self._plan()
        self._turn = Turn(turn.generation, turn.index + 1)
        return self._plan()

    def tell(self, generation: int, results: Sequence[PromptResult], *, reset: bool) -> list[Change]:
        """Register scored children on the islands of their parents, then reset the worse half if told to."""
        changes = super().tell(generation, results, reset=reset)
        return changes + self._reset(random.Random(f"{self._seed}/{generation}/reset")) if reset else changes

    def replay(self, changes: Sequence[Change], programs: Mapping[str, Program]) -> None:
        for change in changes:
            match change:
                case Join(niche, program_id):
                    self._pools[niche].add(programs[program_id])
                case Reset(niche, founder_id):
                    self._pools[niche] = Pool(programs[founder_id])

    def _plan(self) -> Plan:
        niche = str(self._rng.randrange(len(self._pools)))
        clusters = self._draw_clusters(self._pools[niche], self._rng)
        parents = [draw_program(cluster, _LENGTH_TEMPERATURE, self._rng) for cluster in clusters]
        return Plan(niche, tuple(sorted(parents, key=lambda program: program.score)))

    def _draw_clusters(self, island: Pool, rng: random.Random) -> list[Cluster]:
        """Draw clusters with replacement, by a softmax of their scores."""
        clusters = list(island.by_signature.values())
        return rng.choices(clusters, self._weights(island), k=min(self._settings.parents, len(clusters)))

    def _weights(self, island: Pool) -> list[float]:
        return softmax_weights(
            [programs[0].score for programs in island.by_signature.values()], self._temperature(island)
        )

    def _temperature(self, island: Pool) -> float:
        return temperature_after(len(island.programs))

    def _reset(self, rng: random.Random) -> list[Change]:
        # The paper adds noise of 1e-6 to break ties, which in scores of its own size would be more than that.
        ranked = sorted(self._pools, key=lambda niche: (self._pools[niche].best.score, rng.random()))
        worse = len(ranked) // 2
        changes: list[Change] = []
        for niche in ranked[:worse]:
            founder = self._pools[rng.choice(ranked[worse:])].best
            self._pools[niche] = Pool(founder)
            changes.append(Reset(niche, founder.id))
        return changes


create = FunSearch


def temperature_after(programs: int, highest: float = _HIGHEST, period: int = _PERIOD) -> float:
    """Return T0 (1 − (n mod N)/N), n the programs registered on an island since it was founded."""
    return highest * (1 - (programs % period) / period)


def draw_program(programs: Cluster, temperature: float, rng: random.Random) -> Program:
    """Draw a program of a cluster, shorter ones likelier: softmax of −(length − min) / (max + 1e-6).

    The formula as printed in the paper favours long programs; this is what its code does.
    """
    lengths = [len(program.body) for program in programs]
    shortest, longest = min(lengths), max(lengths)
    weights = [math.exp(-(length - shortest) / (longest + 1e-6) / temperature) for length in lengths]
    return rng.choices(programs, weights)[0]
