"""Parameters of how a weak simulated model behaves, drawn from ranges that contain published figures.

They were written before real answers of stronger models were read, whose personas are in `fitted.py`.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from random import Random

RANGES = {
    "valid": (0.35, 0.9),
    "slope": (0.1, 0.3),
    "power": (0.5, 1.5),
    "floor": (0.001, 0.01),
    "jumps": (0.02, 0.1),
    "copies": (0.1, 0.3),
    "collapses": (0.2, 0.5),
    "avoids": (0.5, 0.9),
    "bad_edits": (0.05, 0.25),
}
"""Lowest and highest value of each parameter."""

CONSTANTS, ONE_FRAGMENT, TWO_FRAGMENTS = 0.4, 0.35, 0.15
"""Weights of the kinds of edits, beside that of jumps."""

_REASONING_SHARE, _REASONING_TOKENS = 0.25, 8_000
"""Share of personas that reason before they answer, and their median length, tokens."""


@dataclass(frozen=True)
class Persona:
    """A way to behave.

    Attributes:
        seed: Seed that it was drawn from; also the source of what it would do first.
        valid: Probability of an answer that runs.
        slope: a of the probability of an improvement, a · gap^b + c.
        power: b of it.
        floor: c of it.
        jumps: Weight of another algorithm among the kinds of edits.
        copies: Probability that a fragment of a program shown beside the base is copied.
        collapses: Probability of one of the three likeliest edits of a base.
        avoids: Probability that an idea listed as tried is not tried again.
        bad_edits: Probability that search/replace edits do not apply.
        edits: Probability that it answers with edits where it may.
        reasoning_tokens: Median tokens before the answer; 0 if it does not reason.
        looks: Improving edits among which it takes the best.
        alike: Correlation of whether answers to one base improve it: some bases are hard to improve.
        without_code: Share of the answers that do not run which have no code.
        wrong_syntax: Share of the others which have wrong syntax.
    """

    seed: int
    valid: float
    slope: float
    power: float
    floor: float
    jumps: float
    copies: float
    collapses: float
    avoids: float
    bad_edits: float
    edits: float
    reasoning_tokens: int
    looks: int = 1
    alike: float = 0.0
    without_code: float = 0.2
    wrong_syntax: float = 0.4

    def improves(self, gap: float, base: Hashable = None) -> float:
        """Return the probability that a valid edit improves a program.

        Args:
            gap: Distance of its score to the optimum, in units of that of the start program.
            base: What tells the program from others.
        """
        chance = min(1.0, self.slope * min(1.0, max(0.0, gap)) ** self.power + self.floor)
        if not self.alike or chance in (0.0, 1.0):
            return chance
        # A beta-binomial number of gains: its members have this correlation, and this mean.
        size = 1.0 / self.alike - 1.0
        return Random(f"{self.seed}/{base}/worth").betavariate(chance * size, (1.0 - chance) * size)


def persona_of(seed: int) -> Persona:
    """Return the persona that a seed draws."""
    rng = Random(f"persona/{seed}")
    drawn = {name: rng.uniform(*between) for name, between in RANGES.items()}
    reasons = rng.random() < _REASONING_SHARE
    return Persona(seed, **drawn, edits=rng.random(), reasoning_tokens=_REASONING_TOKENS if reasons else 0, looks=1)
