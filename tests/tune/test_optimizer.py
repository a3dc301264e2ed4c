"""The optimisers find what they can with few evaluations, whatever fails; numbers as coordinates stay what they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.tasks.tune.optimizer import Coordinate, Found, Point, climb, evaluations_for, maximise

Score = Callable[[Point], float | None]


class Rated:
    """A function with a count of its evaluations."""

    def __init__(self, score: Score) -> None:
        self.score = score
        self.points: list[Point] = []

    def __call__(self, points: Sequence[Point]) -> list[float | None]:
        self.points += points
        return [self.score(point) for point in points]


def quadratic(dimensions: int, condition: float, seed: int) -> Score:
    draw = np.random.default_rng(seed)
    top, scales = draw.uniform(-0.5, 0.5, dimensions), np.geomspace(1, condition, dimensions)
    draw.shuffle(scales)
    return lambda point: -float((scales * (np.array(point) - top) ** 2).sum())


def search(score: Score, dimensions: int, seed: int = 1) -> tuple[Found, Rated]:
    rated, origin = Rated(score), (0.0,) * dimensions
    start = Found(origin, score(origin) or 0.0)
    evaluations = evaluations_for(dimensions)
    return maximise(rated, start, [(-1.0, 1.0)] * dimensions, evaluations=evaluations, seed=seed), rated


@pytest.mark.parametrize(("dimensions", "factor"), [(1, 1e3), (2, 100), (6, 10), (12, 5)])
def test_an_ill_conditioned_quadratic_is_improved_by_orders_of_magnitude(dimensions: int, factor: float):
    gains = []
    for seed in range(10):
        score = quadratic(dimensions, 1e4, seed)
        found, rated = search(score, dimensions, seed)
        assert len(rated.points) <= evaluations_for(dimensions)
        assert found.score == score(found.point)
        gains.append((score((0.0,) * dimensions) or 0.0) / found.score)
    assert sorted(gains)[len(gains) // 2] > factor


@pytest.mark.parametrize("dimensions", [1, 2, 8])
def test_failures_rank_last(dimensions: int):
    quiet = quadratic(dimensions, 10, 3)
    found, _ = search(lambda point: None if max(point) > 0.25 else quiet(point), dimensions)
    assert max(found.point) <= 0.25
    assert found.score >= (quiet((0.0,) * dimensions) or 0.0)


@pytest.mark.parametrize("dimensions", [1, 2, 8])
def test_without_a_gain_the_start_stays_and_the_search_ends_early(dimensions: int):
    found, _ = search(lambda _: 1.0, dimensions)
    assert found == Found((0.0,) * dimensions, 1.0)
    found, rated = search(lambda point: None if any(point) else 1.0, dimensions)
    assert found.point == (0.0,) * dimensions
    assert len(rated.points) <= evaluations_for(dimensions)


@pytest.mark.parametrize("dimensions", [1, 2, 8])
def test_points_stay_within_their_bounds_and_the_seed_settles_them(dimensions: int):
    score = quadratic(dimensions, 100, 5)
    _, first = search(lambda point: sum(point), dimensions, seed=7)
    assert all(-1 <= value <= 1 for point in first.points for value in point)
    (one, again), (other, _) = (search(score, dimensions, seed=7) for _ in range(2)), search(score, dimensions, seed=8)
    assert one[1].points == again[1].points
    assert dimensions == 1 or other != one[0]


def test_the_random_numbers_of_the_process_are_left_alone():
    np.random.seed(5)
    expected = np.random.random(3)
    np.random.seed(5)
    search(quadratic(4, 100, 1), 4)
    assert (np.random.random(3) == expected).all()


def test_climbing_ends_at_a_top_or_with_the_evaluations():
    def steps(point: Point) -> list[Point]:
        return [(point[0] - 1,), (point[0] + 1,)]

    rated = Rated(lambda point: -abs(point[0] - 3))
    assert climb(rated, Found((0.0,), -3.0), steps, evaluations=50) == Found((3.0,), 0.0)
    assert len(rated.points) == 8
    assert climb(rated, Found((0.0,), -3.0), steps, evaluations=4) == Found((2.0,), -1.0)
    assert climb(rated, Found((0.0,), -3.0), steps, evaluations=-1) == Found((0.0,), -3.0)


@pytest.mark.parametrize("dimensions", [1, 3])
def test_nothing_is_rated_without_evaluations(dimensions: int):
    rated = Rated(lambda _: 2.0)
    start = Found((0.0,) * dimensions, 1.0)
    assert maximise(rated, start, [(-1.0, 1.0)] * dimensions, evaluations=-3, seed=0) == start
    assert rated.points == []


ORIGINS = st.one_of(
    st.integers(1, 10**9).map(Coordinate),
    st.floats(1e-12, 1e12).map(Coordinate),
    st.floats(1e-6, 1 - 1e-6).map(lambda p: Coordinate(p, is_probability=True)),
)


@given(ORIGINS)
def test_the_start_is_the_number_itself(one: Coordinate):
    assert one.value(one.start) == pytest.approx(one.origin, rel=1e-9)


@given(ORIGINS, st.floats(-50, 50))
def test_a_value_is_of_the_same_kind_and_within_a_factor_of_ten(one: Coordinate, step: float):
    value = one.value(one.start + step)
    assert type(value) is type(one.origin)
    assert value > 0
    assert not one.is_probability or value < 1
    if isinstance(one.origin, int):
        assert one.origin / 10 - 0.6 <= value <= one.origin * 10 + 0.6
    else:
        assert one.origin / 10.1 <= value <= one.origin * 10.1


@given(ORIGINS)
def test_the_first_trial_is_more_and_the_second_less(one: Coordinate):
    more, half = one.trials
    assert more > one.origin
    assert half < one.origin or (half == one.origin == 1)


@given(st.integers(1, 1000), st.floats(-1, 1))
def test_the_numbers_beside_a_whole_one_differ_by_one(origin: int, step: float):
    one = Coordinate(origin)
    value = one.value(one.start + step)
    assert all(abs(one.value(place) - value) == 1 for place in one.beside(one.start + step))
    assert Coordinate(1.5).beside(0.0) == []


def test_the_largest_and_smallest_floats_stay_finite():
    assert 0 < Coordinate(1e308).value(400) < float("inf")
    assert Coordinate(1e-308).value(-400) > 0
