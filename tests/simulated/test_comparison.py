"""Searches on a simulated model are repeatable, tell an algorithm what the product would, and are compared in pairs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pytest

from tests.bench import search
from tests.bench.simulated.comparison import Key, Outcome, area, difference
from tests.bench.simulated.loop import SearchLoop, load_simulated
from tests.bench.simulated.model import Reply, SimulatedModel, text_of
from tests.bench.simulated.personas import Persona, persona_of
from tests.bench.simulated.problems import problem_named
from tests.bench.simulated.reading import Reading, read_request

EAGER = replace(
    persona_of(0), valid=1.0, slope=1.0, power=0.0, collapses=0.0, copies=0.0, bad_edits=0.0, reasoning_tokens=0
)
"""A persona that improves a program whenever an edit of the drawn kind can."""

KEYS: list[Key] = list(itertools.product(("F1-a", "F1-b", "F2-a"), range(4), range(5)))


def noise(seed: int, spread: float) -> dict[Key, float]:
    rng = Random(seed)
    return {key: rng.gauss(0.0, spread) for key in KEYS}


def test_the_area_is_the_mean_of_the_decades():
    assert area([1.0, 0.1, 0.01, 0.0]) == pytest.approx((0 - 1 - 2 - 6) / 4)


def test_a_difference_that_is_there_is_found_and_its_interval_holds_it():
    reference, noises = noise(1, 1.0), noise(2, 0.05)
    mine = {key: reference[key] - 0.3 + noises[key] for key in KEYS}
    found = difference(mine, reference)
    assert found.mean == pytest.approx(-0.3 + sum(noises.values()) / len(KEYS))
    assert -0.36 < found.low < found.mean < found.high < -0.24
    assert found.agreeing == 1.0
    assert difference(mine, reference) == found


def test_without_a_difference_the_interval_holds_0_and_half_of_the_cells_agree():
    found = difference(noise(3, 0.2), noise(4, 0.2))
    assert found.low < 0 < found.high
    assert 0.2 < found.agreeing < 0.9


def test_problems_count_as_units_not_searches():
    """One problem of three is better by 0.9, the others are the same: too little to say anything of more problems."""
    mine = {key: -0.9 if key[0] == "F2-a" else 0.0 for key in KEYS}
    found = difference(mine, dict.fromkeys(KEYS, 0.0))
    assert found.mean == pytest.approx(-0.3)
    assert found.low == pytest.approx(-0.9)
    assert found.high == 0.0
    assert found.agreeing == pytest.approx(1 / 3)


def test_only_pairs_are_compared():
    reference = noise(1, 1.0)
    with pytest.raises(ValueError, match="the same problems"):
        difference(dict.fromkeys(KEYS[1:], 0.0), reference)


def outcome(name: str, seed: int = 0, answers: int = 24, persona: Persona = EAGER, **settings: object) -> Outcome:
    return SearchLoop(problem_named(name), SimulatedModel(persona, seed), seed, settings).run(answers)


def test_a_search_is_repeatable_and_seeds_differ():
    assert outcome("F1-k1") == outcome("F1-k1")
    assert outcome("F1-k1") != outcome("F1-k1", seed=1)


def test_a_persona_that_always_improves_comes_near_the_optimum_by_many_steps():
    found = outcome("F1-k1", answers=120, algorithm={"name": "greedy"}, window=4, samples=1)
    assert found.gap < 0.2
    assert found.depth >= 8
    assert found.unscored < 0.05
    assert math.log10(found.gap) < found.area < 0


@dataclass(frozen=True)
class Listener(SimulatedModel):
    """A model that keeps what it read."""

    readings: list[Reading] = field(default_factory=list)

    def answer(self, request: Mapping[str, Any], number: int) -> Reply:
        self.readings.append(read_request(text_of(request)))
        return super().answer(request, number)


def test_a_wrong_pair_is_unscored_and_feedback_tells_of_it():
    told = {}
    for chars in (0, 4000):
        model = Listener(replace(EAGER, slope=0.2))
        search = {"algorithm": {"name": "greedy"}, "window": 2, "samples": 1, "feedback": chars}
        assert SearchLoop(problem_named("F4-k1"), model, 0, search).run(60).unscored > 0.1
        told[chars] = [reading for reading in model.readings if reading.conflicts]
        assert all(reading.base is not None for reading in model.readings)
    assert not told[0]
    assert len(told[4000]) > 5


def test_prompts_are_those_of_an_ordinary_problem():
    loaded = load_simulated(problem_named("F2-c2"), {"algorithm": {"name": "tree"}})
    assert loaded.settings.sampling.models[0].style == "chat"
    assert loaded.settings.search.algorithm.name == "tree"
    assert loaded.settings.statement.startswith("Improve the stages")
    assert loaded.specification.kind == "file"


def test_the_command_prints_a_table_with_greedy_as_the_reference(capsys: pytest.CaptureFixture[str]):
    search.main(
        ["--answers", "6", "--seeds", "1", "--personas", "1", "--algorithms", "tree", "--problems", "F3-a,F1-k1"]
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "6 answers, 2 searches for each algorithm"
    assert [line.split()[0] for line in lines[2:5]] == ["algorithm", "greedy", "tree"]
    assert [line for line in lines if line in ("F1", "F3")] == ["F1", "F3"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--algorithms", "greed"], "no such algorithm: greed"), (["--problems", "F7"], "got F7")],
)
def test_unknown_names_are_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        search.main(arguments)
    assert message in capsys.readouterr().err
