"""The population: ask it for parents, tell it of children; what it is follows from what it was told."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.schemas.algorithm import Change, Join, Plan, Reset
from overnight.schemas.program import Program
from overnight.schemas.search_settings import Search
from overnight.tasks.select.funsearch import draw_program, temperature_after
from overnight.tasks.select.pool import softmax_weights
from overnight.testing.made import search_table
from overnight.testing.population import Population
from tests.select.told import START, program

Children = list[tuple[int, Program]]


def search(**fields: Any) -> Search:
    return Search.model_validate(search_table(**{"algorithm": "islands", "islands": 1, "prompts": 300, **fields}))


def populated(scores: Sequence[float], **fields: Any) -> Population:
    """One island with a cluster for each score; the first is the start program's."""
    first, *rest = [program(f"p{place}", score, signature=(score, float(place))) for place, score in enumerate(scores)]
    population = Population(search(**fields), first, seed=1)
    population.tell(1, [(0, one) for one in rest], reset=False)
    return population


def ids(plans: Sequence[Plan]) -> list[tuple[str, tuple[str, ...]]]:
    return [(plan.niche, tuple(parent.id for parent in plan.shown)) for plan in plans]


def portrait(population: Population) -> list[Any]:
    return [(island.by_signature, island.programs, island.best) for island in deepcopy(population.islands)]


# Same told, same population


def test_islands_are_picked_uniformly():
    picked = Counter(plan.niche for plan in Population(search(islands=4, prompts=4000), START, seed=0).ask(1))
    assert set(picked) == {"0", "1", "2", "3"}
    assert all(850 < count < 1150 for count in picked.values())


# Which parents


@pytest.mark.parametrize("apart", [1e-9, 1.0, 1e9])
def test_by_default_two_parents_are_of_two_clusters_whenever_there_are_two(apart: float):
    for selection in populated([0.0, apart]).ask(1):
        assert [parent.id for parent in selection.shown] == ["p0", "p1"]


def test_as_in_the_paper_clusters_far_apart_give_the_same_parent_twice():
    selections = populated([0.0, 1.0], algorithm="funsearch", prompts=2000).ask(1)
    twice = sum(selection.shown[0] is selection.shown[1] for selection in selections)
    assert twice > 0.995 * len(selections)


def test_as_in_the_paper_clusters_close_together_give_the_same_parent_half_of_the_time():
    selections = populated([0.0, 1e-6], algorithm="funsearch", prompts=2000).ask(1)
    twice = sum(selection.shown[0] is selection.shown[1] for selection in selections)
    assert 900 < twice < 1100


def test_an_island_of_one_program_gives_one_parent():
    for algorithm in ("islands", "funsearch"):
        assert {ids_ for _, ids_ in ids(populated([5.0], algorithm=algorithm).ask(1))} == {("p0",)}


def test_clusters_of_equal_score_are_equally_likely():
    drawn = Counter(s.shown[0].id for s in populated([2.0] * 4, parents=1, prompts=4000).ask(1))
    assert len(drawn) == 4
    assert all(850 < count < 1150 for count in drawn.values())


def test_better_clusters_are_likelier():
    drawn = Counter(
        s.shown[0].id for s in populated([0.0, 0.1, 0.2], algorithm="funsearch", parents=1, prompts=6000).ask(1)
    )
    expected = softmax_weights([0.0, 0.1, 0.2], 0.1)
    for place, weight in enumerate(expected):
        assert drawn[f"p{place}"] / 6000 == pytest.approx(weight / sum(expected), abs=0.03)


def test_short_programs_are_preferred_within_a_cluster():
    short, long = program("short", 1.0, body="x" * 10), program("long", 1.0, body="x" * 100)
    population = Population(search(parents=1, prompts=4000), short, seed=0)
    population.tell(1, [(0, long)], reset=False)
    drawn = Counter(selection.shown[0].id for selection in population.ask(1))
    weight = math.exp(-90 / (100 + 1e-6))
    assert drawn["long"] / 4000 == pytest.approx(weight / (1 + weight), abs=0.03)
    assert {draw_program([short, long], 0.001, Random(n)).id for n in range(50)} == {"short"}


def test_programs_without_length_are_drawn_too():
    cluster = [program("a", 0.0, body=""), program("b", 0.0, body="")]
    assert {draw_program(cluster, 1.0, Random(n)).id for n in range(50)} == {"a", "b"}


# How greedily


def test_the_temperature_falls_with_every_program_of_an_island_and_starts_anew_after_a_period():
    schedule = [temperature_after(count, highest=0.8, period=4) for count in range(1, 10)]
    assert schedule == pytest.approx([0.6, 0.4, 0.2, 0.8, 0.6, 0.4, 0.2, 0.8, 0.6])


def drawn_with(scores: Sequence[float], **fields: Any) -> list[tuple[str, tuple[str, ...]]]:
    return ids(populated(scores, **fields).ask(5))


SCORES = [
    [1.0, 2.0, 4.0, 8.0, 8.5],
    [3.0, 3.0, 1.0],  # the median ties with the best
    [5.0, 5.0, 5.0, 4.9],
    [-512.0, -500.0, -3.0],
    [0.0, 1.0],
]


@pytest.mark.parametrize("scores", SCORES)
@pytest.mark.parametrize("factor", [1000.0, 0.001, 2.0**40, 2.0**-40])
def test_by_default_the_unit_of_the_score_does_not_matter(scores: list[float], factor: float):
    assert drawn_with([score * factor for score in scores]) == drawn_with(scores)


@pytest.mark.parametrize("scores", SCORES)
@pytest.mark.parametrize("shift", [-1000.0, 7.0, 2.0**20])
def test_by_default_the_zero_of_the_score_does_not_matter(scores: list[float], shift: float):
    assert drawn_with([score + shift for score in scores]) == drawn_with(scores)


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=6), st.integers(-30, 30), st.integers(-1000, 1000))
def test_by_default_neither_unit_nor_zero_matters_for_any_scores(scores: list[int], exponent: int, shift: int):
    moved = [(score + shift) * 2.0**exponent for score in scores]
    assert drawn_with(moved, prompts=40) == drawn_with([float(score) for score in scores], prompts=40)


def test_as_in_the_paper_the_unit_matters():
    scores = [0.0, 0.05, 0.1]
    assert drawn_with([1000 * score for score in scores], algorithm="funsearch") != drawn_with(
        scores, algorithm="funsearch"
    )
    assert drawn_with([score + 7 for score in scores], algorithm="funsearch") == drawn_with(
        scores, algorithm="funsearch"
    )


@pytest.mark.parametrize("algorithm", ["islands", "funsearch"])
@pytest.mark.parametrize(
    "scores",
    [
        [0.0, -1e9],
        [-1e9, -1e9 - 1, 0.0],
        [1e308, -1e308],
        [1e308, -1e308, -1e308, 1e308],
        [0.0, 5e-324],
        [0.0, 5e-324, 1e308],
        [-1e308, 0.0, 1e-300],
    ],
)
def test_scores_of_any_size_can_be_drawn_from(algorithm: str, scores: list[float]):
    for selection in populated(scores, algorithm=algorithm, parents=3).ask(1):
        assert len(selection.shown) == min(3, len(scores))


def test_the_best_has_weight_1_and_the_hopeless_are_never_negative_or_lost():
    weights = softmax_weights([1e308, 0.0, -1e308], 1e-308)
    assert weights[0] == 1.0
    assert all(0.0 < weight < 1e-300 for weight in weights[1:])
    assert softmax_weights([3.0, 3.0], 0.1) == [1.0, 1.0]


# Registering


def test_programs_with_the_same_scores_on_every_input_share_a_cluster_and_others_do_not():
    population = Population(search(), START, seed=0)
    same = [program("a", 1.0, signature=(0.0, 2.0)), program("b", 1.0, signature=(0.0, 2.0))]
    other = program("c", 1.0, signature=(2.0, 0.0))
    population.tell(1, [(0, one) for one in [*same, other]], reset=False)
    island = population.islands[0]
    assert list(island.by_signature.values()) == [[START], same, [other]]
    assert len(island.programs) == 4


def test_of_equal_programs_the_first_is_the_best():
    population = Population(search(islands=2), START, seed=0)
    population.tell(1, [(1, program("a", 3.0)), (1, program("b", 3.0)), (0, program("c", 3.0))], reset=False)
    assert population.islands[1].best.id == "a"
    assert population.best.id == "c"


def test_children_join_the_islands_they_are_said_to_in_order():
    children = [(2, program("a", 1.0)), (0, program("b", 2.0))]
    changes = Population(search(islands=3), START, seed=0).tell(1, children, reset=False)
    assert changes == [Join("2", "a"), Join("0", "b")]


# Resets


def islands_with_bests(scores: Sequence[float], seed: int = 0) -> tuple[Population, list[Change]]:
    start = program("start", -1e12)
    population = Population(search(islands=len(scores)), start, seed)
    population.tell(1, [(place, program(f"best{place}", score)) for place, score in enumerate(scores)], reset=False)
    return population, population.tell(2, [], reset=True)


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("islands", [2, 3, 4, 7, 10])
def test_a_reset_empties_exactly_the_worse_half_and_founds_each_with_the_best_of_a_survivor(islands: int, unit: float):
    scores = [unit * ((place * 7) % 11) for place in range(islands)]
    ranked = sorted(range(islands), key=lambda place: scores[place])
    worse, survivors = set(ranked[: islands // 2]), ranked[islands // 2 :]
    for seed in range(5):
        population, changes = islands_with_bests(scores, seed)
        assert {int(change.niche) for change in changes} == worse
        assert len(changes) == len(worse)
        for change in changes:
            assert isinstance(change, Reset)
            assert change.founder_id in {f"best{place}" for place in survivors}
            island = population.islands[int(change.niche)]
            assert [one.id for one in island.programs] == [change.founder_id]
            assert island.best.id == change.founder_id
        for place in survivors:
            assert len(population.islands[place].programs) == 2


def test_any_survivor_may_be_the_founder():
    founders = {
        change.founder_id
        for seed in range(60)
        for change in islands_with_bests([1, 2, 3, 4, 5, 6], seed)[1]
        if isinstance(change, Reset)
    }
    assert founders == {"best3", "best4", "best5"}


@pytest.mark.parametrize("score", [0.0, -1e9, 1e15])
def test_among_equal_islands_chance_decides_which_are_emptied(score: float):
    emptied = {frozenset(change.niche for change in islands_with_bests([score] * 4, seed)[1]) for seed in range(40)}
    assert all(len(islands) == 2 for islands in emptied)
    assert len(emptied) > 3


def test_a_reset_sees_the_children_of_its_own_generation():
    population = Population(search(islands=2), START, seed=0)
    changes = population.tell(1, [(1, program("a", 1.0))], reset=True)
    assert changes == [Join("1", "a"), Reset("0", "a")]


def test_a_single_island_is_never_emptied():
    population = populated([1.0, 2.0])
    before = portrait(population)
    assert population.tell(2, [], reset=True) == []
    assert portrait(population) == before


def test_a_founded_island_begins_its_temperature_anew():
    population = Population(search(islands=2, algorithm="funsearch"), START, seed=0)
    population.tell(1, [(0, program("a", 1.0)), (0, program("b", 2.0)), (1, program("c", 9.0))], reset=True)
    founded, other = population.islands
    assert population.algorithm._temperature(founded) == pytest.approx(0.1 * (1 - 1 / 30_000))
    assert population.algorithm._temperature(other) == pytest.approx(0.1 * (1 - 2 / 30_000))
