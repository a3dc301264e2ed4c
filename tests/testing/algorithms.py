"""Contract of search algorithms: the state follows from what it was told, and a prompt always has a base."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import ClassVar

import pytest

from overnight.schemas.algorithm import Algorithm, Join, Plan, PromptResult, Turn
from overnight.schemas.program import Program

PROMPTS = 6
SAMPLES = 3
START = Program("start", "return 0", (0.0, 0.0), 0.0)
Make = Callable[..., Algorithm]


def plans(algorithm: Algorithm, generation: int, prompts: int = PROMPTS) -> list[Plan]:
    return [algorithm.ask(Turn(generation, index, index % 4)) for index in range(prompts)]


def results(asked: list[Plan], generation: int, seed: int) -> list[PromptResult]:
    """Return results of the plans with up to three children each, which have a few different signatures."""
    random = Random(f"{seed}/{generation}")
    return [
        PromptResult(
            plan.niche,
            plan.base.id,
            SAMPLES,
            tuple(child(random, f"{generation}-{index}-{k}") for k in range(random.randrange(SAMPLES + 1))),
        )
        for index, plan in enumerate(asked)
    ]


def child(random: Random, name: str) -> Program:
    scores = (random.choice((-1.0, 0.5, 2.0)), random.choice((0.0, 3.0)))
    return Program(name, "x" * random.randrange(40), scores, sum(scores) / 2)


def founded(algorithm: Algorithm, *programs: Program) -> list[PromptResult]:
    """Return a result for each niche whose children are some programs."""
    return [PromptResult(niche, START.id, len(programs), programs) for niche in algorithm.niches]


def portrait(algorithm: Algorithm) -> dict[str, tuple[str, list[str]]]:
    return {
        name: (niche.best.id, [program.id for program in niche.programs]) for name, niche in algorithm.niches.items()
    }


class AlgorithmContract:
    """What an algorithm keeps to; a subclass has the fixture `make`, which takes a seed and makes it from `START`."""

    draws: ClassVar[bool] = True
    """Whether it draws at random: other seeds and generations then give other plans."""

    @pytest.mark.parametrize("seed", range(5))
    def test_its_state_follows_from_what_it_was_told_and_a_replay_of_its_changes_gives_the_same(
        self, make: Make, seed: int
    ):
        told, again, replayed = (make(seed) for _ in range(3))
        programs = {START.id: START}
        for generation in range(1, 8):
            asked = plans(told, generation)
            assert asked == plans(again, generation) == plans(replayed, generation)
            offered = results(asked, generation, seed)
            programs |= {child.id: child for result in offered for child in result.children}
            changes = told.tell(generation, offered, reset=generation % 3 == 0)
            assert changes == again.tell(generation, offered, reset=generation % 3 == 0)
            replayed.replay(changes, programs)
            assert portrait(told) == portrait(again) == portrait(replayed)
            assert told.best == replayed.best
        assert plans(told, 8, 40) == plans(again, 8, 40) == plans(replayed, 8, 40)

    def test_prompt_by_prompt_and_all_at_once_are_the_same(self, make: Make):
        one_by_one, at_once, replayed = make(), make(), make()
        programs = {START.id: START}
        for generation in range(1, 6):
            offered = results(plans(at_once, generation), generation, 2)
            programs |= {child.id: child for result in offered for child in result.children}
            changes = at_once.tell(generation, offered, reset=False)
            by_prompt = [one_by_one.tell(generation, [result], reset=False) for result in offered]
            assert [change for mine in by_prompt for change in mine] == changes
            for mine in by_prompt:
                replayed.replay(mine, programs)
        assert plans(one_by_one, 6, 40) == plans(at_once, 6, 40) == plans(replayed, 6, 40)

    def test_a_result_without_a_verdict_changes_nothing(self, make: Make):
        algorithm, other = make(), make()
        niche = next(iter(algorithm.niches))
        assert algorithm.tell(1, [PromptResult(niche, START.id, 0)], reset=False) == []
        assert algorithm.tell(2, [], reset=False) == []
        assert plans(algorithm, 3, 40) == plans(other, 3, 40)

    def test_programs_that_the_search_began_with_are_registered_by_joins_alone(self, make: Make):
        algorithm = make()
        niche = list(algorithm.niches)[-1]
        given = [Program(f"given-{score}", "return 1", (score, score), score) for score in (5.0, -5.0)]
        algorithm.replay([Join(niche, one.id) for one in given], {one.id: one for one in given})
        assert algorithm.best == algorithm.niches[niche].best == given[0]
        assert [*algorithm.niches[niche].programs] == [START, *given]
        for turn in (Turn(1, index, index % 4) for index in range(40)):
            assert algorithm.ask(turn).shown

    def test_a_plan_shows_living_programs_of_its_niche_in_ascending_order(self, make: Make):
        algorithm = make()
        for generation in range(1, 6):
            asked = plans(algorithm, generation)
            for plan in asked:
                alive = {program.id for program in algorithm.niches[plan.niche].programs}
                assert plan.shown
                assert {program.id for program in plan.shown} <= alive
                assert [program.score for program in plan.shown] == sorted(program.score for program in plan.shown)
                assert plan.base == plan.shown[-1]
            algorithm.tell(generation, results(asked, generation, 1), reset=False)

    def test_asking_changes_nothing_that_a_later_answer_depends_on(self, make: Make):
        algorithm, other = make(3), make(3)
        before = portrait(algorithm)
        asked = plans(algorithm, 2)
        backwards = [algorithm.ask(Turn(2, index, index % 4)) for index in reversed(range(PROMPTS))]
        assert backwards == asked[::-1]
        plans(algorithm, 5)
        assert plans(algorithm, 2) == asked == plans(other, 2)
        assert portrait(algorithm) == before

    def test_generations_and_seeds_draw_otherwise(self, make: Make):
        algorithm, other = make(1), make(2)
        programs = [Program(f"{score}", "x", (score,), score) for score in (1.0, 2.0)]
        for one in (algorithm, other):
            one.tell(1, founded(one, *programs), reset=False)
        if not self.draws:
            assert plans(algorithm, 2) == plans(algorithm, 3) == plans(other, 2)
        else:
            assert plans(algorithm, 2, 20) != plans(algorithm, 3, 20)
            assert plans(algorithm, 2, 20) != plans(other, 2, 20)

    def test_prompts_in_flight_at_the_same_time_are_not_all_the_same(self, make: Make):
        algorithm = make()
        programs = [Program(f"{score}", "x", (score,), score) for score in (1.0, 1.5, 2.0)]
        algorithm.tell(1, founded(algorithm, *programs), reset=False)
        asked = [algorithm.ask(Turn(2, slot, slot)) for slot in range(20)]
        assert len({(plan.niche, plan.shown) for plan in asked}) > 1

    def test_the_start_program_founds_the_niches_that_the_settings_name(self, make: Make):
        algorithm = make()
        assert algorithm.best == START
        assert {niche.best for niche in algorithm.niches.values()} == {START}

    def test_the_best_is_the_best_of_all_niches_and_the_first_of_equals(self, make: Make):
        algorithm = make()
        niche = next(iter(algorithm.niches))
        best, equal, worse = (
            Program(name, "x", (score,), score) for name, score in (("a", 3.0), ("b", 3.0), ("c", 1.0))
        )
        algorithm.tell(1, [PromptResult(niche, START.id, 4, (best, equal, worse))], reset=False)
        assert algorithm.best == best
        assert algorithm.niches[niche].best == best
