"""Adaptive choice of operators: discounted Thompson sampling.

Each operator has a Beta distribution of its success in each band of bases; after Fialho et al., "Analyzing
bandit-based adaptive operator selection mechanisms" (2010), with the discount of Raj and Kalyani (arXiv 1707.09727).
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from schemas.operators import Operator

SHARES = {
    Operator.REFINE: 0.5,
    Operator.REWRITE: 0.2,
    Operator.CROSS: 0.2,
    Operator.FRESH: 0.05,
    Operator.SIMPLIFY: 0.05,
}
"""Operators among which is chosen, with what is believed of each before there are results."""

_BELIEF = 10.0
"""Weight of that belief, results."""

_DISCOUNT = 0.99
"""Factor of all counts at each result, so that what paid long ago is forgotten."""

_EXPLORATION = 0.1
"""Share of prompts whose operator is drawn by the belief before there were results, whatever was gained since."""

_BANDS = (0.1, 0.5, 1.0)
"""Upper ends of the bands of bases: the best tenth, the upper half, the rest."""


def band_of(rank: float) -> int:
    """Return the band of a base, from the share of scores that are higher."""
    return next(band for band, end in enumerate(_BANDS) if rank <= end)


class OperatorChoice:
    """Chooses operators by what they gained.

    It is chosen by a draw from each operator's distribution; the highest wins.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[Operator, int], list[float]] = {}

    def choose(self, enabled: Sequence[Operator], band: int, rng: Random) -> Operator:
        """Return one of some operators for a base in a band."""
        if rng.random() < _EXPLORATION:
            return rng.choices(enabled, [SHARES[operator] for operator in enabled])[0]
        draws = {operator: rng.betavariate(*self.belief(operator, band)) for operator in enabled}
        return max(draws, key=draws.__getitem__)

    def belief(self, operator: Operator, band: int) -> tuple[float, float]:
        """Return the parameters of the Beta distribution of an operator's success in a band."""
        successes, failures = self._counts.get((operator, band), (0.0, 0.0))
        share = SHARES.get(operator, 0.0)
        return 1.0 + _BELIEF * share + successes, 1.0 + _BELIEF * (1.0 - share) + failures

    def tell(self, operator: Operator, band: int, *, has_gained: bool) -> None:
        """Count a result; what an operator gains outside of its share, such as a repair, is not counted."""
        if operator not in SHARES:
            return
        for counts in self._counts.values():
            counts[0] *= _DISCOUNT
            counts[1] *= _DISCOUNT
        counts = self._counts.setdefault((operator, band), [0.0, 0.0])
        counts[0 if has_gained else 1] += 1.0
