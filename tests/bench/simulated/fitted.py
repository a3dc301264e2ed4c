"""Personas of the second edition: each parameter is drawn from the interval of a figure of real answers.

The figures are in `../real_answers/figures.json`, each with its query. What no source tells (how often a model copies
from the programs beside the base, tries another algorithm, or avoids ideas that were tried) has the range of the weak
personas.
"""

from __future__ import annotations

import math
from functools import cache
from random import Random

from tests.bench.real_answers.figures import POWER, Figure, load
from tests.bench.simulated.personas import RANGES, Persona, persona_of

WEAK = "weak"
MODELS = (WEAK, "frontier", "gpt-4-class")
"""Classes of models that personas are drawn from."""

LOOKS = 16
"""Improving edits that are looked at: more make the median gain no larger, which is at the lower end of the interval of
real answers; one makes a quarter of it."""

_GAINS = "frontier"
"""Class whose chance of a gain all fitted personas have: it is fitted to parents that were the best, of which answers
of GPT-4-class have eleven; over all parents the two classes gain alike."""


def draw_persona(models: str, seed: int) -> Persona:
    """Return the persona of a class of models that a seed draws."""
    if models == WEAK:
        return persona_of(seed)
    rng = Random(f"{models}/{seed}")
    drawn = {name: rng.uniform(*ranges) for name, ranges in intervals(models).items()}
    tokens = _figures(models)["tokens of an answer"].value
    return Persona(seed, **drawn, power=POWER, reasoning_tokens=round(tokens), looks=LOOKS)


@cache
def intervals(models: str) -> dict[str, tuple[float, float]]:
    """Return the interval of each parameter of a class of models."""
    mine, gains = _figures(models), _figures(_GAINS)
    silent = mine["failed: no program"]
    own = {
        "valid": _ends(mine["valid"]),
        "without_code": _ends(silent),
        "wrong_syntax": tuple(min(1.0, end / (1.0 - silent.value)) for end in _ends(mine["failed: syntax"])),
        "slope": _ends(gains["slope"]),
        "floor": _ends(gains["floor"]),
        "alike": _ends(gains["siblings alike: better, parent the best"]),
        # Two answers are the same if both are drawn from the three likeliest edits, and are the same one of these.
        "collapses": tuple(math.sqrt(3.0 * end) for end in _ends(gains["repeats, one prompt"])),
    }
    edits = {"edits": (0.0, 1.0)}
    if "edits that do not apply" in mine:
        edits = {"edits": _ends(mine["edits where offered"]), "bad_edits": _ends(mine["edits that do not apply"])}
    unknown = {name: RANGES[name] for name in ("jumps", "copies", "avoids", "bad_edits")}
    return {**unknown, **edits, **own}


def _ends(figure: Figure) -> tuple[float, float]:
    return max(0.0, figure.low), max(0.0, figure.high)


@cache
def _figures(models: str) -> dict[str, Figure]:
    return {figure.name: figure for figure in load() if figure.persona == models}
