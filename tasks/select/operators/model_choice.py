"""Adaptive choice of models: an asymmetric upper confidence bound on relative gain for the price.

After ShinkaEvolve (arXiv 2509.19349, section 3.3, and its public code): a gain of g units rewards with e^g − 1, a
failure with 0; rewards are discounted; the model with the highest bound gets most prompts, the others share the rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from statistics import fmean, median

_DISCOUNT = 0.95
_EXPLORATION = 1.0
_OTHERS = 0.2
"""Share of prompts that go to another model than that with the highest bound."""

_PRICE_WEIGHT = 0.5
"""Weight of the price, against that of the reward."""

_REMEMBERED = 200
"""Answers of which the price is remembered, for each model."""


@dataclass(frozen=True)
class Price:
    """Price of an answer, or of all answers to a prompt: in tokens of both kinds, and in USD if that is known."""

    tokens: float
    usd: float | None = None

    def over(self, answers: int) -> Price:
        return Price(self.tokens / answers, None if self.usd is None else self.usd / answers)


@dataclass
class _Arm:
    reward: float = 0.0
    count: float = 0.0
    answers: int = 0
    since_best: int = 0
    prices: list[Price] = field(default_factory=list)


class ModelChoice:
    """Chooses models by what they gained and cost.

    The weights are the shares with which it begins, and later those of the others.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._weights = dict(weights)
        self._arms = {name: _Arm() for name in weights}
        self._highest = 0.0

    def choose(self, rng: Random) -> str:
        unseen = [name for name, arm in self._arms.items() if not arm.answers]
        if unseen:
            return self._drawn(unseen, rng)
        bounds = self.bounds()
        first = max(bounds, key=bounds.__getitem__)
        others = [name for name in bounds if name != first]
        return self._drawn(others, rng) if others and rng.random() < _OTHERS else first

    @property
    def other(self) -> str:
        """Name of the model for a search that stagnates: the one with fewest answers since the last new best program.

        Of equals it is the one whose answers cost most. A different proposer gets a search off a plateau more often
        than more of the same (GEPA's comparison on Frontier-CS, 2026).
        """
        means = self._mean_prices()
        return max(means, key=lambda name: (-self._arms[name].since_best, means[name]))

    def note_best(self) -> None:
        for arm in self._arms.values():
            arm.since_best = 0

    def bounds(self) -> dict[str, float]:
        """Return the upper confidence bound of each model that has answered, with its cheapness."""
        total = sum(arm.answers for arm in self._arms.values())
        cheapness = self._cheapness(total)
        return {
            name: (1.0 - _PRICE_WEIGHT) * self._bound(arm, total) + _PRICE_WEIGHT * cheapness[name]
            for name, arm in self._arms.items()
        }

    def tell(self, name: str, gains: Sequence[float], price: Price) -> None:
        """Count the answers to one prompt: the gain of each, 0 for those that failed, and the price of all.

        Where a fallback of the model answered, the answers count for it all the same: they are what asking it brings.
        One that is not in the list is not counted.
        """
        arm = self._arms.get(name)
        if arm is None or not gains:
            return
        for each in self._arms.values():
            each.reward *= _DISCOUNT
            each.count *= _DISCOUNT
        self._highest *= _DISCOUNT
        for gain in gains:
            arm.reward += math.expm1(gain)
            arm.count += 1.0
            arm.answers += 1
            arm.since_best += 1
        self._highest = max(self._highest, arm.reward / arm.count)
        arm.prices = [*arm.prices, price.over(len(gains))][-_REMEMBERED:]

    def _drawn(self, names: Sequence[str], rng: Random) -> str:
        return rng.choices(names, [self._weights[name] for name in names])[0]

    def _bound(self, arm: _Arm, total: int) -> float:
        mean = arm.reward / arm.count / self._highest if self._highest > 0 and arm.count > 0 else 0.0
        return mean + _EXPLORATION * math.sqrt(2.0 * math.log(max(2, total)) / arm.answers)

    def _mean_prices(self) -> dict[str, float]:
        """Return the mean price of an answer of each model: in USD, or in tokens of all if any price is unknown."""
        is_known = all(price.usd is not None for arm in self._arms.values() for price in arm.prices)
        return {
            name: fmean((price.usd if is_known else price.tokens) or 0.0 for price in arm.prices) if arm.prices else 0.0
            for name, arm in self._arms.items()
        }

    def _cheapness(self, total: int) -> dict[str, float]:
        """Return 1 for the model that costs least, and less for the others; a price that is uncertain counts less."""
        means = self._mean_prices()
        middle = median(means.values())
        span = max(means.values()) - min(means.values())
        ratios = {
            name: middle / max(means[name] - 0.1 * span * math.sqrt(2.0 * math.log(max(2, total)) / arm.answers), 1e-7)
            if arm.answers
            else 0.0
            for name, arm in self._arms.items()
        }
        highest = max(ratios.values())
        return {name: ratio / highest if highest > 0 else 0.0 for name, ratio in ratios.items()}
