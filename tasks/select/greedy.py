"""ε-greedy search: the best program is improved, now and then another one."""

from __future__ import annotations

from random import Random

from overnight.schemas.algorithm import Plan, Turn
from overnight.schemas.algorithm_settings import GreedySettings
from overnight.schemas.program import Program
from overnight.tasks.select.pool import NICHE, Pool, PoolAlgorithm, shown_with


class Greedy(PoolAlgorithm[GreedySettings]):
    """ε-greedy search in one niche."""

    def ask(self, turn: Turn) -> Plan:
        """Plan a prompt with the best program as its base, or, with a small probability, any other."""
        return Plan(NICHE, draw_greedily(self._pool, self._settings, self._random(turn)))


create = Greedy


def draw_greedily(pool: Pool, settings: GreedySettings, rng: Random) -> tuple[Program, ...]:
    """Return the programs that a prompt of greedy search shows.

    The base is the best program with a probability of 1 − ε, or the shortest of those with the same scores. Otherwise a
    signature is drawn, all alike, and one of its programs. Below the base come the next best of other signatures.
    """
    base = pool.shortest_as(pool.best)
    if rng.random() < settings.epsilon:
        base = rng.choice(rng.choice(list(pool.by_signature.values())))
    return shown_with(base, pool.ranked, settings.parents)
