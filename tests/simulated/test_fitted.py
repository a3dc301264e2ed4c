"""Personas that are fitted to real answers behave as their figures say."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from statistics import fmean, median

import pytest

from tests.bench.real_answers.figures import load
from tests.bench.simulated.edits import edited
from tests.bench.simulated.fitted import LOOKS, MODELS, WEAK, draw_persona, intervals
from tests.bench.simulated.personas import persona_of
from tests.bench.simulated.problems import names_of, problem_named
from tests.bench.simulated.reading import Reading, Shown
from tests.bench.simulated.split import HELD_OUT, HELD_OUT_FITTED, PUBLIC

FITTED = [models for models in MODELS if models != WEAK]


@pytest.mark.parametrize("models", FITTED)
def test_parameters_lie_in_the_intervals_of_the_figures(models: str):
    personas = [draw_persona(models, seed) for seed in range(20)]
    assert personas[3] == draw_persona(models, 3) != personas[4]
    for name, (low, high) in intervals(models).items():
        drawn = [getattr(persona, name) for persona in personas]
        assert all(low <= value <= high for value in drawn), name
    valid = next(one for one in load() if (one.persona, one.name) == (models, "valid"))
    assert intervals(models)["valid"] == (valid.low, valid.high)


def test_weak_personas_are_those_of_the_first_edition():
    assert draw_persona(WEAK, 5) == persona_of(5)
    assert persona_of(5).looks == 1


def test_a_base_is_as_hard_for_all_answers_as_their_likeness_says():
    persona = replace(persona_of(1), slope=0.0, floor=0.3, alike=0.5)
    chances = [persona.improves(1.0, base) for base in range(2000)]
    assert fmean(chances) == pytest.approx(0.3, abs=0.02)
    variance = fmean((chance - 0.3) ** 2 for chance in chances)
    assert variance / (0.3 * 0.7) == pytest.approx(0.5, abs=0.05)
    assert persona.improves(1.0, 7) == chances[7]
    assert replace(persona, alike=0.0).improves(1.0, 7) == 0.3


def _gains(looks: int) -> float:
    """Return the median gain of twelve steps in a row on each problem, as a share of the gap."""
    persona = replace(persona_of(0), slope=0.0, floor=1.0, looks=looks)
    gains = []
    for problem in map(problem_named, names_of()):
        rng, design = Random(0), problem.start
        for _ in range(12):
            reading = Reading(problem, None, (), frozenset(), frozenset(), frozenset())
            changed, _ = edited(Shown("", design), reading, persona, rng)
            before, after = problem.landscape.score(design), problem.landscape.score(changed)
            if after > before and not problem.landscape.forbidden(changed):
                gains.append((after - before) / (problem.optimum - before))
                design = changed
    return median(gains)


def test_gains_are_nearly_as_large_as_those_of_real_answers():
    name = "gain, of the gap, parent the best"
    figure = next(one for one in load() if (one.persona, one.name) == ("frontier", name))
    assert 0.8 * figure.low < _gains(LOOKS) < figure.high
    assert _gains(1) < 0.6 * figure.low


def test_held_out_personas_are_drawn_anew():
    assert HELD_OUT_FITTED.problem_seed not in {HELD_OUT.problem_seed, PUBLIC.problem_seed}
    assert not set(HELD_OUT_FITTED.personas) & {*HELD_OUT.personas, *PUBLIC.personas}
