"""Halving: greedy searches side by side, fewer of them as the samples told of approach the budget."""

from __future__ import annotations

from typing import Any

import pytest

from overnight.schemas.algorithm import Expand, Join
from overnight.schemas.algorithm_settings import HalvingSettings
from overnight.tasks.select.halving import Halving, niches_at
from tests.select.told import ask, ids, make, program, tell


def halving(**settings: Any) -> Halving:
    return make("halving", **{"budget": 100, "searches": 4, "epsilon": 0, **settings})


def test_the_number_of_searches_follows_from_the_budget():
    founded = {
        budget: len(HalvingSettings(budget=budget).founded_niches) for budget in (149, 150, 300, 301, 1000, 1001)
    }
    assert founded == {149: 1, 150: 3, 300: 3, 301: 4, 1000: 4, 1001: 8}
    assert [len(HalvingSettings(budget=budget).founded_niches) for budget in (3000, 3001)] == [8, 12]
    assert len(HalvingSettings(budget=10, searches=7).founded_niches) == 7


def test_twelve_become_five_two_and_one():
    # ⌈12 · 5/12⌉ = 5, ⌈8 · 5/12⌉ = ⌈3.33⌉ = 4, ⌈4 · 5/12⌉ = ⌈1.67⌉ = 2, ⌈3 · 5/12⌉ = ⌈1.25⌉ = 2
    shares = (0, 0.2499, 0.25, 0.4999, 0.5, 0.7499, 0.75, 3)
    assert [niches_at(share, 12) for share in shares] == [12, 12, 5, 5, 2, 2, 1, 1]
    assert [niches_at(0.25, founded) for founded in (1, 2, 3, 4, 8)] == [1, 1, 2, 2, 4]
    assert [niches_at(0.5, founded) for founded in (1, 3)] == [1, 2]


def test_searches_take_turns_and_each_generation_begins_with_the_next():
    made = halving()
    assert [plan.niche for plan in ask(made, 6, generation=1)] == ["1", "2", "3", "0", "1", "2"]
    assert [plan.niche for plan in ask(made, 6, generation=2)] == ["2", "3", "0", "1", "2", "3"]


def test_the_worst_are_given_up_when_the_samples_reach_a_quarter_a_half_and_three_quarters():
    made = halving()
    tell(made, "start", program("a", 2.0), samples=8, niche="3")
    tell(made, "start", program("b", 3.0), samples=8, niche="1")
    tell(made, "start", program("c", 1.0), samples=8, niche="2")
    assert list(made.going_on) == ["0", "1", "2", "3"], "24 samples of 100"
    # The 25th sample: two go on, those with 3 and 2.
    tell(made, "start", samples=1, niche="0")
    assert list(made.going_on) == ["1", "3"]
    tell(made, "a", program("d", 9.0), samples=25, niche="3")
    assert list(made.going_on) == ["1", "3"], "two go on from a half, too"
    tell(made, "b", samples=25, niche="1")
    assert list(made.going_on) == ["3"]
    assert {plan.niche for plan in ask(made, 5)} == {"3"}
    assert ids(ask(made)[0].shown) == ["a", "d"]


def test_of_equal_searches_the_first_goes_on():
    made = halving()
    tell(made, "start", samples=75, niche="2")
    assert list(made.going_on) == ["0"]


def test_children_of_a_prompt_in_flight_join_a_niche_that_was_given_up():
    made = halving()
    tell(made, "start", program("a", 1.0), samples=75, niche="2")
    changes = tell(made, "start", program("late", 5.0), samples=4, niche="0")
    assert changes == [Expand("0", "start", 4), Join("0", "late")]
    assert made.niches["0"].best.id == made.best.id == "late"
    assert {plan.niche for plan in ask(made, 5)} == {"2"}


def test_a_budget_of_nothing_is_refused():
    with pytest.raises(ValueError, match="budget"):
        HalvingSettings(budget=0)
