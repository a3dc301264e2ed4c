"""A gain is an improvement on the base in units of the run, whatever the scale of the scores."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.select.operators.operator_choice import Gains


def gains(*scores: float, noise: float = 0.0) -> Gains:
    made = Gains(scores[0], noise)
    for score in scores[1:]:
        made.note(score)
    return made


def test_the_unit_is_the_median_absolute_deviation_of_the_distinct_scores():
    # 0, 1, 2, 3 and 10: the median is 2, the deviations are 2, 1, 0, 1 and 8, and their median is 1.
    assert gains(0.0, 1.0, 2.0, 3.0, 10.0).gain(4.5, base=3.0) == 1.5
    # The same scores in another scale, with repetitions before the fifth distinct one.
    assert gains(0.0, 100.0, 100.0, 200.0, 200.0, 300.0, 1000.0).gain(450.0, base=300.0) == 1.5


def test_before_there_are_five_scores_any_improvement_is_worth_one():
    assert gains(0.0, 1.0, 2.0).gain(2.001, base=2.0) == 1.0


def test_a_gain_counts_from_the_start_program_where_the_base_is_worse():
    assert gains(2.0, 0.0, 1.0, 3.0, 10.0).gain(3.0, base=0.0) == 1.0


@pytest.mark.parametrize("score", [None, 2.9, 3.0, 3.1])
def test_failures_lower_scores_and_noise_gain_nothing(score: float | None):
    assert gains(0.0, 1.0, 2.0, 3.0, 10.0, noise=0.1 + 1e-12).gain(score, base=3.0) == 0.0


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=60), st.data())
def test_a_gain_is_finite_and_limited_whatever_the_scores(scores: list[float], data: st.DataObject):
    made = gains(*scores)
    gain = made.gain(data.draw(st.sampled_from(scores)), data.draw(st.sampled_from(scores)))
    assert math.isfinite(gain)
    assert 0.0 <= gain <= 5.0
    assert 0.0 <= made.rank(scores[-1]) < 1.0


def test_the_rank_is_the_share_of_scores_that_are_higher():
    made = gains(0.0, 1.0, 2.0, 3.0)
    assert [made.rank(score) for score in (3.0, 2.0, 0.0)] == [0.0, 0.25, 0.75]
