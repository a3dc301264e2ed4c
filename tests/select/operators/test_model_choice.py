"""Models are chosen by an asymmetric upper confidence bound on what they gained for their price."""

from __future__ import annotations

import math
from collections import Counter
from random import Random

import pytest

from overnight.tasks.select.operators.model_choice import ModelChoice, Price


def chosen(choice: ModelChoice) -> Counter[str]:
    return Counter(choice.choose(Random(seed)) for seed in range(1000))


def told(*results: tuple[str, float, float | Price], weights: dict[str, float] | None = None) -> ModelChoice:
    choice = ModelChoice(weights or {"a": 1.0, "b": 1.0})
    for name, gain, price in results:
        choice.tell(name, [gain], price if isinstance(price, Price) else Price(0, price))
    return choice


def test_in_the_beginning_models_are_drawn_by_their_weights():
    counts = chosen(ModelChoice({"a": 1.0, "b": 3.0}))
    assert 690 < counts["b"] < 810


def test_models_without_an_answer_come_first():
    assert set(chosen(told(("a", 5.0, 1.0)))) == {"b"}


def test_the_bounds_by_hand():
    # Rewards e^1 - 1 and 0; each later result discounts the earlier: of a, sum and count are 0.95 of what they were.
    # The mean of a is the highest, divided by the highest that was discounted once: 1 / 0.95. Both answered once.
    choice = told(("a", 1.0, 2.0), ("b", 0.0, 2.0))
    bonus = math.sqrt(2.0 * math.log(2.0))
    assert choice.bounds()["a"] == pytest.approx(0.5 * (1.0 / 0.95 + bonus) + 0.5)
    assert choice.bounds()["b"] == pytest.approx(0.5 * bonus + 0.5), "equal prices are equally cheap"


def test_a_model_that_gains_gets_most_prompts_and_the_other_its_share():
    counts = chosen(told(*[("a", 0.0, 1.0), ("b", 1.0, 1.0)] * 50))
    assert 750 < counts["b"] < 850


def test_of_models_that_gain_alike_the_cheap_one_gets_most():
    counts = chosen(told(*[("a", 0.5, 10.0), ("b", 0.5, 1.0)] * 50))
    assert counts["b"] > 750


def test_failures_count_as_no_reward_and_not_less():
    once, often = told(("a", 1.0, 1.0), ("b", 0.0, 1.0)), told(("a", 1.0, 1.0), *[("b", 0.0, 1.0)] * 9)
    assert often.bounds()["b"] >= 0.0
    assert often.bounds()["b"] < once.bounds()["b"]


def test_a_search_that_stagnates_asks_the_model_with_fewest_answers_since_the_last_best():
    choice = told(("a", 0.0, 9.0), ("a", 0.0, 9.0), ("b", 0.0, 1.0))
    assert choice.other == "b"
    choice.note_best()
    assert choice.other == "a", "of equals, the one whose answers cost most"
    choice.tell("a", [0.0], Price(0, 9.0))
    assert choice.other == "b"


DEAR, FREE = Price(1_000, 0.05), Price(3_000)
"""Answers of a model with a price, and of one whose price nobody knows, which takes more tokens."""


def test_where_one_price_is_unknown_all_models_are_compared_by_their_tokens():
    counts = chosen(told(*[("a", 0.5, DEAR), ("b", 0.5, FREE)] * 50))
    assert counts["a"] > 750, "a token of one is as dear as a token of the other"
    assert told(("a", 0.0, DEAR), ("b", 0.0, FREE)).other == "b"
    counts = chosen(told(*[("a", 0.5, DEAR), ("b", 0.5, Price(3_000, 0.01))] * 50))
    assert counts["b"] > 750, "both prices are known"
    assert told(("a", 0.0, DEAR), ("b", 0.0, Price(3_000, 0.01))).other == "a"


def test_a_price_that_becomes_unknown_makes_earlier_ones_count_in_tokens():
    known, longer = Price(1_000, 0.01), Price(2_000, 0.001)
    assert told(("a", 0.0, known), ("b", 0.0, longer)).other == "a"
    choice = told(("a", 0.0, known), ("b", 0.0, longer), ("b", 0.0, Price(2_000)))
    choice.note_best()
    assert choice.other == "b"


def test_a_price_of_nothing_is_known():
    assert told(("a", 0.0, Price(10, 0.01)), ("b", 0.0, Price(9_000, 0.0))).other == "a"


def test_a_model_that_is_not_in_the_list_is_not_counted():
    choice = told(("c", 3.0, 1.0))
    assert set(chosen(choice)) == {"a", "b"}
