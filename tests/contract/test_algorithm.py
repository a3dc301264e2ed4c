"""What every search algorithm keeps to: its state follows from what it was told, and a prompt always has a base."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, get_args

import pytest

from schemas.algorithm import Algorithm, Child, Plan, Turn
from schemas.algorithm_settings import AnyAlgorithm
from schemas.program import Program
from schemas.settings import Search
from tasks.select.registry import create_algorithm

NAMES = [kind.model_fields["name"].default for kind in get_args(get_args(AnyAlgorithm)[0])]
PROMPTS = 6
START = Program("start", "return 0", (0.0, 0.0), 0.0)
Make = Callable[..., Algorithm]


@pytest.fixture(params=NAMES)
def make(request: pytest.FixtureRequest) -> Make:
    """Makes one algorithm after the other, with its default settings."""

    def make(seed: int = 0, **settings: Any) -> Algorithm:
        search = Search.model_validate({"algorithm": {"name": request.param, **settings}})
        return create_algorithm(search.algorithm, START, seed)

    return make


def plans(algorithm: Algorithm, generation: int) -> list[Plan]:
    return [algorithm.ask(Turn(generation, index)) for index in range(PROMPTS)]


def children(asked: list[Plan], generation: int, seed: int) -> list[Child]:
    """Return a scored child of two thirds of the plans, with a few different signatures."""
    random = Random(f"{seed}/{generation}")
    found = []
    for index, plan in enumerate(asked):
        scores = (random.choice((-1.0, 0.5, 2.0)), random.choice((0.0, 3.0)))
        if random.random() < 2 / 3:
            body = "x" * random.randrange(40)
            found.append(Child(plan.niche, Program(f"{generation}-{index}", body, scores, sum(scores) / 2)))
    return found


def portrait(algorithm: Algorithm) -> dict[str, tuple[str, list[str]]]:
    return {
        name: (niche.best.id, [program.id for program in niche.programs]) for name, niche in algorithm.niches.items()
    }


@pytest.mark.parametrize("seed", range(5))
def test_its_state_follows_from_what_it_was_told_and_a_replay_of_its_changes_gives_the_same(make: Make, seed: int):
    told, again, replayed = (make(seed) for _ in range(3))
    programs = {START.id: START}
    for generation in range(1, 8):
        asked = plans(told, generation)
        assert asked == plans(again, generation) == plans(replayed, generation)
        offered = children(asked, generation, seed)
        programs |= {child.program.id: child.program for child in offered}
        changes = told.tell(generation, offered, reset=generation % 3 == 0)
        assert changes == again.tell(generation, offered, reset=generation % 3 == 0)
        replayed.replay(changes, programs)
        assert portrait(told) == portrait(again) == portrait(replayed)
        assert told.best == replayed.best


def test_a_plan_shows_living_programs_of_its_niche_in_ascending_order(make: Make):
    algorithm = make()
    for generation in range(1, 6):
        asked = plans(algorithm, generation)
        for plan in asked:
            alive = {program.id for program in algorithm.niches[plan.niche].programs}
            assert plan.shown
            assert {program.id for program in plan.shown} <= alive
            assert [program.score for program in plan.shown] == sorted(program.score for program in plan.shown)
            assert plan.base == plan.shown[-1]
        algorithm.tell(generation, children(asked, generation, 1), reset=False)


def test_asking_changes_nothing_that_a_later_answer_depends_on(make: Make):
    algorithm, other = make(3), make(3)
    before = portrait(algorithm)
    asked = plans(algorithm, 2)
    assert [algorithm.ask(Turn(2, index)) for index in reversed(range(PROMPTS))] == asked[::-1]
    plans(algorithm, 5)
    assert plans(algorithm, 2) == asked == plans(other, 2)
    assert portrait(algorithm) == before


def test_generations_and_seeds_draw_otherwise(make: Make):
    algorithm, other = make(1), make(2)
    programs = [Program(f"{score}", "x", (score,), score) for score in (1.0, 2.0)]
    offered = [Child(niche, program) for niche in algorithm.niches for program in programs]
    for one in (algorithm, other):
        one.tell(1, offered, reset=False)
    assert plans(algorithm, 2) != plans(algorithm, 3)
    assert plans(algorithm, 2) != plans(other, 2)


def test_the_start_program_founds_the_niches_that_the_settings_name(make: Make):
    algorithm = make()
    assert algorithm.best == START
    assert {niche.best for niche in algorithm.niches.values()} == {START}


def test_the_best_is_the_best_of_all_niches_and_the_first_of_equals(make: Make):
    algorithm = make()
    niche = next(iter(algorithm.niches))
    best, equal, worse = (Program(name, "x", (score,), score) for name, score in (("a", 3.0), ("b", 3.0), ("c", 1.0)))
    algorithm.tell(1, [Child(niche, program) for program in (best, equal, worse)], reset=False)
    assert algorithm.best == best
    assert algorithm.niches[niche].best == best
