"""MAP-Elites: features of code, cells of a grid and around centroids, and the draw of parents from them."""

from __future__ import annotations

import math
from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.schemas.program import Program
from overnight.tasks.select.map_elites import Centroids, Grid, MapElites, centroids_of, features_of, nearest, scaled
from overnight.tasks.select.pool import sigmoid
from tests.select.told import ask, ids, make, program, tell

BODY = """
best = 0
for item in items:
    if item > best:
        best = item * 2 + 1
    elif item < -best:
        while item:
            item //= 2
    else:
        best -= 1
return max(x ** 2 for x in items) if best else -best
"""


# Features


def test_features_by_hand():
    # Loops: for, while, the generator. Branches: if, elif, the conditional expression.
    # Operators: * + in the first branch, − of −best, //=, −=, **, − of the last −best.
    # Nesting: for, if, while; the elif is no level deeper than its if.
    expected = {"loops": 3, "branches": 3, "operators": 7, "nesting": 3, "length": len(BODY)}
    assert features_of(BODY) == expected


def test_an_elif_is_no_level_deeper_and_an_if_within_else_is_a_matter_of_form():
    assert features_of("if a:\n    b\nelif c:\n    d\nelif e:\n    f")["nesting"] == 1
    assert features_of("if a:\n    if b:\n        c")["nesting"] == 2
    assert features_of("return 1")["nesting"] == 0


def test_what_is_no_python_has_a_length_alone():
    for body in ("#include <stdio.h>", "x" + "+x" * 5000, "(" * 5000, "\0"):
        assert features_of(body) == {"loops": 0, "branches": 0, "operators": 0, "nesting": 0, "length": len(body)}


# Cells


def test_cells_of_a_grid_by_hand():
    grid = Grid(4)
    for name, place, score in (
        ("low", 0.0, 1.0),
        ("high", 8.0, 2.0),
        ("a", 1.9, 5.0),
        ("b", 2.0, 3.0),
        ("c", 7.0, 1.0),
    ):
        grid.add((place,), program(name, score))
    # Intervals of 2: low and a in the first, b in the second, c in the last with high, which is better.
    assert ids([*grid.elites.values()]) == ["a", "high", "b"]
    # A point at 16 makes intervals of 4: b (2) is in the first now, where a is better; c (7) is alone in the second,
    # and high (8) in the third.
    grid.add((16.0,), program("far", 0.0))
    assert ids([*grid.elites.values()]) == ["a", "high", "c", "far"]


def test_of_equals_the_first_stays_in_a_cell():
    grid = Grid(1)
    for name in ("first", "second"):
        grid.add((0.0, 0.0), program(name, 1.0))
    assert ids([*grid.elites.values()]) == ["first"]


points = st.lists(st.tuples(st.integers(0, 20).map(float), st.integers(-2, 2).map(float)), min_size=1, max_size=30)


@given(points, st.integers(1, 5))
def test_a_grid_is_the_same_whatever_the_order_in_which_its_range_was_seen(seen: list[tuple[float, float]], bins: int):
    grid, at_once = Grid(bins), Grid(bins)
    programs = [program(str(number), float(number % 4)) for number in range(len(seen))]
    low, high = tuple(map(min, zip(*seen, strict=True))), tuple(map(max, zip(*seen, strict=True)))
    at_once._low, at_once._high = low, high
    for point, one in zip(seen, programs, strict=True):
        grid.add(point, one)
        at_once.add(point, one)
    assert grid.elites == at_once.elites
    assert max(one.score for one in grid.elites.values()) == max(one.score for one in programs)


def test_centroids_of_two_groups_are_their_means():
    near, far = [(0.0, 0.0), (0.0, 0.2)], [(1.0, 1.0), (1.0, 0.8), (1.0, 0.6)]
    for seed in range(20):
        found = sorted(centroids_of([*near, *far], 2, Random(seed)))
        assert found == [pytest.approx((0.0, 0.1)), pytest.approx((1.0, 0.8))]


def test_there_are_no_more_centroids_than_different_points():
    assert sorted(centroids_of([(0.0,), (1.0,), (0.0,)], 9, Random(0))) == [(0.0,), (1.0,)]


def test_points_are_standardised_and_squashed_once_there_are_enough():
    cells = Centroids(cells=2, first=4, rng=Random(0))
    for name, place, score in (("a", 0.0, 1.0), ("b", 0.0, 2.0), ("c", 10.0, 3.0)):
        cells.add((place, 7.0), program(name, score))
    assert ids([*cells.elites.values()]) == ["b", "c"], "each point is a cell"
    cells.add((10.0, 7.0), program("d", 1.0))
    # Mean 5, deviation 5: the points are at −1 and 1, squashed 0.268941 and 0.731059; the second axis is 0.5 for all.
    assert sorted(cells._centroids) == [
        pytest.approx((0.268941, 0.5), abs=1e-6),
        pytest.approx((0.731059, 0.5), abs=1e-6),
    ]
    cells.add((4.0, 9.0), program("e", 9.0))  # −0.2, squashed 0.45: the nearer centroid is that of a and b
    assert sorted(ids([*cells.elites.values()])) == ["c", "e"]


@given(points, st.integers(1, 6), st.integers(0, 99))
def test_every_point_is_in_the_cell_of_its_nearest_centroid(seen: list[tuple[float, float]], count: int, seed: int):
    squashed_points = [tuple(map(sigmoid, point)) for point in seen]
    centroids = centroids_of(squashed_points, count, Random(seed))
    assert 1 <= len(centroids) <= min(count, len(set(squashed_points)))
    for point in squashed_points:
        own = centroids[nearest(point, centroids)]
        assert all(math.dist(point, own) <= math.dist(point, other) for other in centroids)


# Parents


def grid(**settings: Any) -> MapElites:
    """Ten cells by the length of the body, from 0 to 90; the longer, the better."""
    start = Program("p0", "", (0.0,), 0.0)
    made = make("map-elites", start, variant="grid", axes=["length"], parents=1, **settings)
    tell(made, "p0", *[program(f"p{k}", float(k), body="x" * 10 * k) for k in range(1, 10)])
    return made


def test_bases_of_a_grid_are_drawn_by_their_shares():
    made = grid()
    tell(made, "p0", *[program(f"q{k}", -1.0 - k, body="") for k in range(10)])
    # 20 programs, ten cells with p0 to p9. The best fifth are p8 and p9.
    # p8: 0.2 / 10 + 0.7 / 2 + 0.1 / 20 = 0.375; p1: 0.2 / 10 + 0.1 / 20 = 0.025; q1: 0.1 / 20 = 0.005
    drawn = Counter(plan.base.id for plan in ask(made, 20_000))
    assert drawn["p8"] / 20_000 == pytest.approx(0.375, abs=0.012)
    assert drawn["p9"] / 20_000 == pytest.approx(0.375, abs=0.012)
    assert drawn["p1"] / 20_000 == pytest.approx(0.025, abs=0.005)
    assert sum(drawn[f"q{k}"] for k in range(10)) / 20_000 == pytest.approx(0.05, abs=0.006)


def test_bases_around_centroids_are_drawn_by_a_softmax_at_one_of_four_temperatures():
    start = Program("low", "", (10.0,), 10.0)
    made = make("map-elites", start, parents=1)
    tell(made, "low", program("high", 30.0, body="x"))
    # Scaled scores 0 and 1. The better has 1 / (1 + e^(−1/T)): 0.965555, 0.806659, 0.731059 and 0.697066; mean 0.800085
    drawn = Counter(plan.base.id for plan in ask(made, 20_000))
    assert drawn["high"] / 20_000 == pytest.approx(0.800085, abs=0.01)


def test_scores_are_scaled_to_between_0_and_1():
    assert scaled([2.0, 4.0, 3.0]) == [0.0, 1.0, 0.5]
    assert scaled([7.0, 7.0]) == [0.0, 0.0]
    assert scaled([-1.7e308, 1.7e308]) == [0.0, 1.0]


def test_the_scores_of_three_inputs_are_features_and_those_of_two_are_not():
    for scores, cells in (((1.0, 2.0, 3.0), 2), ((1.0, 2.0), 1)):
        start = Program("start", "return 1", scores, 2.0)
        made = make("map-elites", start)
        tell(made, "start", Program("other", "return 1", scores[::-1], 2.0))
        assert len(made._cells.elites) == cells


def test_others_shown_are_the_best_of_their_cells():
    made = make("map-elites", Program("p0", "", (0.0,), 0.0), variant="grid", axes=["length"], parents=4)
    tell(made, "p0", *[program(f"p{k}", float(k), body="x" * 10 * k) for k in range(1, 10)])
    tell(made, "p0", program("hidden", 8.5, body="x" * 90))
    shown = {one for plan in ask(made, 300) for one in ids(plan.shown[:-1])}
    assert "hidden" not in shown
    assert len(shown) == 9


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=3, max_size=3), st.sampled_from(["cvt", "grid"])
)
def test_scores_of_any_size_have_a_cell(scores: list[float], variant: str):
    made = make("map-elites", Program("start", "", (0.0, 0.0, 0.0), 0.0), variant=variant, first_programs=3)
    for number in range(4):
        tell(made, "start", Program(str(number), "x" * number, (*scores,), scores[number % 3]))
    assert ask(made, 5)
