"""FunSearch's islands with two departures: scores have no fixed unit, and a prompt shows different clusters."""

from __future__ import annotations

import random

from overnight.tasks.select.funsearch import Cluster, FunSearch
from overnight.tasks.select.pool import Pool


class Islands(FunSearch):
    """Islands whose parents are drawn without replacement, at a temperature in the unit of their scores."""

    def _draw_clusters(self, island: Pool, rng: random.Random) -> list[Cluster]:
        left, weights, drawn = list(island.by_signature.values()), self._weights(island), []
        while left and len(drawn) < self._settings.parents:
            place = rng.choices(range(len(left)), weights)[0]
            drawn.append(left.pop(place))
            del weights[place]
        return drawn

    def _temperature(self, island: Pool) -> float:
        """Return the paper's temperature times the spread of the island's scores.

        T0 is absolute in the paper, so a problem with scores like 512 is searched greedily and one with scores like
        0.04 uniformly. The unit is the distance from the best cluster to the median one; where that ties with the best,
        to the next one below it.
        """
        temperature = super()._temperature(island)
        ranked = [program.score for program in island.ranked]
        below = next((score for score in ranked[len(ranked) // 2 :] if score < ranked[0]), None)
        return temperature if below is None else temperature * (ranked[0] - below)


create = Islands
