"""Which problems and personas are public, for tuning, and which are held out."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

_SEED = "held out, third edition, 2026-11-29"
"""Source of the held-out half; it changes only together with a release that has run on it."""


@dataclass(frozen=True)
class Split:
    """Half of the problems, and some personas.

    Attributes:
        problem_seed: Seed that the problems of all names are drawn from.
        personas: Seeds of the personas.
    """

    problem_seed: int
    personas: tuple[int, ...]


PUBLIC = Split(0, tuple(range(8)))
"""Problems and personas that anything may be tuned on."""


def _drawn(seed: str) -> Split:
    rng = Random(seed)
    return Split(rng.randrange(10**6, 10**9), tuple(rng.sample(range(10**6, 10**9), 24)))


HELD_OUT = _drawn(_SEED)
"""As many other problems, and 24 other personas, on which nothing is tuned: they are run once, at the end."""

HELD_OUT_FITTED = _drawn(f"{_SEED}, fitted")
"""The same for fitted personas."""
