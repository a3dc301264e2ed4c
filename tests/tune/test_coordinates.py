"""Numbers as coordinates: what a start means, and that values stay what they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.tune.optimizer import Coordinate

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
