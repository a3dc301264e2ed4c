"""The front: what no other program dominates, and prompts that build on it."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.schemas.algorithm import PromptResult, Turn
from overnight.schemas.algorithm_settings import GreedySettings
from overnight.schemas.objectives import Objectives
from overnight.schemas.program import Program
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.sample.prompts import instruction
from overnight.tasks.select import create_algorithm
from overnight.tasks.select.front import FrontSearch, best_by_weights, hypervolume, nondominated
from overnight.tasks.select.pool import NICHE
from overnight.testing.made import TOY

NUMBERS = st.integers(-3, 3).map(float)
POINTS = st.integers(2, 4).flatmap(lambda size: st.lists(st.tuples(*[NUMBERS] * size), min_size=1, max_size=12))


def dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(mine >= theirs for mine, theirs in zip(one, other, strict=True))


@given(POINTS)
def test_nondominated_points_are_those_of_the_definition_the_first_of_equals(points: list[tuple[float, ...]]):
    expected = [
        not any(dominates(other, one) for other in points) and one not in points[:place]
        for place, one in enumerate(points)
    ]
    assert nondominated(points) == expected


def test_hypervolume_is_the_area_above_the_reference():
    assert hypervolume([(1.0, 2.0), (2.0, 1.0), (1.0, 1.0), (-1.0, 9.0)], (0.0, 0.0)) == 3.0
    assert hypervolume([(-1.0, 9.0)], (0.0, 0.0)) == 0.0


def test_weights_choose_between_objectives_in_units_of_their_ranges():
    goals = [(0.0, 100.0), (0.6, 60.0), (1.0, 0.0)]
    assert [best_by_weights(goals, weights) for weights in ((1, 9), (1, 1), (9, 1))] == [0, 1, 2]
    assert best_by_weights([(1.0, 5.0)], (1, 1)) == 0


def program(name: str, score: float, seconds: float) -> Program:
    return Program(name, f"return {name!r}", (score,), score, metrics={"seconds": seconds})


START = program("start", 0.0, 5.0)


def search(share: float = 1.0) -> FrontSearch:
    objectives = Objectives(metrics={"seconds": "minimize"}, preference="pareto", share=share)
    return FrontSearch(create_algorithm(GreedySettings(), START, 7), objectives, START, 7)


def told(found: FrontSearch, *programs: Program, generation: int = 1) -> FrontSearch:
    found.tell(generation, [PromptResult(NICHE, START.id, len(programs), programs)], reset=False)
    return found


def test_a_prompt_builds_on_the_better_of_two_programs_with_the_same_score():
    found = told(search(share=0.0), program("first", 2.0, 4.0), program("better", 2.0, 3.0))
    bases = {found.ask(Turn(2, index)).base.id for index in range(100)}
    assert "better" in bases
    assert "first" not in bases


def test_what_is_dominated_leaves_the_front():
    found = told(search(), program("slow", 2.0, 9.0), program("worse", -1.0, 6.0), program("fast", 1.0, 4.0))
    assert [one.id for one in found.front] == ["slow", "fast"]
    told(found, program("best", 3.0, 1.0), program("as good", 3.0, 1.0))
    assert [one.id for one in found.front] == ["best"]


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.5, 70, 130), (1.0, 200, 200)])
def test_the_share_of_prompts_builds_on_the_front(share: float, least: int, most: int):
    found = told(search(share), *(program(str(n), float(n), 10.0 * n) for n in range(1, 6)))
    bases = [found.ask(Turn(1, index)).base.id for index in range(200)]
    plain = [create_and_ask(index) for index in range(200)]
    differ = sum(base != other for base, other in zip(bases, plain, strict=True))
    assert least * 0.5 <= differ <= most
    if share == 1.0:
        assert len(Counter(bases)) >= 5, "all of the front has its turn"


def create_and_ask(index: int) -> str:
    """Return the base that the algorithm chooses by itself."""
    algorithm = create_algorithm(GreedySettings(), START, 7)
    children = tuple(program(str(n), float(n), 10.0 * n) for n in range(1, 6))
    algorithm.tell(1, [PromptResult(NICHE, START.id, 5, children)], reset=False)
    return algorithm.ask(Turn(1, index)).base.id


def test_a_base_of_the_front_is_the_best_shown_and_its_rivals_are_next_better():
    found = told(search(), *(program(str(n), float(n), 10.0 * n) for n in range(1, 6)))
    for index in range(50):
        plan = found.ask(Turn(2, index))
        scores = [one.score for one in plan.shown]
        assert scores == sorted(scores)
        assert plan.base in found.front
        place = sorted(one.score for one in found.front).index(plan.base.score)
        neighbours = sorted(found.front, key=lambda one: one.score)[max(0, place - 1) : place + 2]
        assert set(plan.rivals) == set(neighbours) - {plan.base}


def test_some_prompts_ask_for_the_widest_gap_of_the_front_and_some_for_the_same_score_with_less():
    found = told(search(), *(program(str(n), float(n), 2.0 * n) for n in (1, 2, 3, 9, 10)))
    problem = load_problem(TOY, {"objectives": {"metrics": {"seconds": "minimize"}, "preference": "pareto"}})
    plans = [found.ask(Turn(2, index)) for index in range(100)]
    gaps = [plan for plan in plans if plan.gap]
    assert {tuple(one.id for one in plan.gap or ()) for plan in gaps} == {("3", "9")}
    assert {plan.base.id for plan in gaps} == {"3", "9"}
    ends = "one that scores 3 with seconds 6, and one that scores 9 with seconds 18: write one that lies between them"
    assert {ends in instruction(plan, problem) for plan in gaps} == {True}
    kept = [plan for plan in plans if plan.keeps_score]
    assert {"Keep its score, and do better in seconds" in instruction(plan, problem) for plan in kept} == {True}
    assert 10 < len(gaps) < 40 < 100 - len(kept) < 90
    told(found, program("all", 11.0, 0.0))
    assert not any(found.ask(Turn(3, index)).gap for index in range(40)), "one program has no neighbour"


def test_a_replay_of_the_changes_gives_the_same_front_and_plans():
    rng = Random(3)
    one, again = search(0.5), search(0.5)
    for generation in range(1, 6):
        children = tuple(program(f"{generation}{n}", rng.random(), rng.random()) for n in range(4))
        changes = one.tell(generation, [PromptResult(NICHE, START.id, 4, children)], reset=False)
        again.replay(changes, {child.id: child for child in children})
        assert again.front == one.front
        assert [again.ask(Turn(generation, n)) for n in range(8)] == [one.ask(Turn(generation, n)) for n in range(8)]
