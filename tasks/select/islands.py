"""FunSearch's islands with two departures: scores have no fixed unit, and a prompt shows different clusters."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tasks.select.funsearch import Cluster, FunSearch, Island, softmax_weights


class Islands(FunSearch):
    """Islands whose parents are drawn without replacement, at a temperature in the unit of their scores."""

    def _draw_clusters(self, island: Island, rng: random.Random) -> list[Cluster]:
        clusters = list(island.clusters.values())
        weights = softmax_weights([cluster.score for cluster in clusters], self._temperature(island))
        return _draw_without_replacement(clusters, weights, min(self._settings.parents, len(clusters)), rng)

    def _temperature(self, island: Island) -> float:
        """Return the paper's temperature times the spread of the island's scores.

        T0 is absolute in the paper, so a problem with scores like 512 is searched greedily and one with scores like
        0.04 uniformly. The unit is the distance from the best cluster to the median one; where that ties with the best,
        to the next one below it.
        """
        temperature = super()._temperature(island)
        ranked = sorted((cluster.score for cluster in island.clusters.values()), reverse=True)
        below = next((score for score in ranked[len(ranked) // 2 :] if score < ranked[0]), None)
        return temperature if below is None else temperature * (ranked[0] - below)


create = Islands
"""Make the algorithm from its settings, the start program and the seed of the run."""


def _draw_without_replacement(
    clusters: Sequence[Cluster], weights: Sequence[float], count: int, rng: random.Random
) -> list[Cluster]:
    left = list(range(len(clusters)))
    drawn = []
    for _ in range(count):
        place = rng.choices(range(len(left)), [weights[index] for index in left])[0]
        drawn.append(clusters[left.pop(place)])
    return drawn
