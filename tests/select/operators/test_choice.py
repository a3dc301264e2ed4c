"""Operators are chosen by what they gained in units of the run, models by what they gained for their price."""

from __future__ import annotations

import math
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.schemas.operators import Operator
from overnight.tasks.select.operators.model_choice import ModelChoice, Price
from overnight.tasks.select.operators.operator_choice import (
    SHARES,
    TACTICS,
    Gains,
    OperatorChoice,
    band_of,
    partner_of,
    stagnation_operator,
)
from tests.select.told import scored as program

# Operators, tactics on stagnation, and partners of a base


ALL = list(SHARES)


def drawn(choice: OperatorChoice, band: int = 0, enabled: list[Operator] = ALL) -> Counter[Operator]:
    return Counter(choice.choose(enabled, band, Random(seed)) for seed in range(1000))


def test_in_the_beginning_operators_are_drawn_as_they_are_believed_to_pay():
    counts = drawn(OperatorChoice())
    assert counts[Operator.REFINE] > counts[Operator.REWRITE] > counts[Operator.FRESH] > 0


def test_an_operator_that_pays_is_drawn_most_and_the_others_not_never():
    choice = OperatorChoice()
    for _ in range(100):
        choice.tell(Operator.CROSS, 0, has_gained=True)
        choice.tell(Operator.REFINE, 0, has_gained=False)
    counts = drawn(choice)
    assert counts[Operator.CROSS] > 850
    assert counts[Operator.REFINE] > 20
    assert drawn(choice, band=1) == drawn(OperatorChoice(), band=1), "what pays in one band says nothing of another"


def test_the_counts_are_discounted_at_each_result():
    choice = OperatorChoice()
    before = choice.belief(Operator.REFINE, 0)
    choice.tell(Operator.REFINE, 0, has_gained=True)
    assert choice.belief(Operator.REFINE, 0) == (before[0] + 1.0, before[1])
    choice.tell(Operator.CROSS, 1, has_gained=False)
    choice.tell(Operator.CROSS, 1, has_gained=False)
    assert choice.belief(Operator.REFINE, 0)[0] - before[0] == pytest.approx(0.99**2)


def test_repairs_and_tactics_are_not_in_the_choice():
    choice = OperatorChoice()
    choice.tell(Operator.REPAIR, 0, has_gained=True)
    assert choice.belief(Operator.REFINE, 0) == OperatorChoice().belief(Operator.REFINE, 0)


def test_only_enabled_operators_are_drawn():
    assert set(drawn(OperatorChoice(), enabled=[Operator.REFINE, Operator.SIMPLIFY])) == {
        Operator.REFINE,
        Operator.SIMPLIFY,
    }


def test_bands_are_the_best_tenth_the_upper_half_and_the_rest():
    assert [band_of(rank) for rank in (0.0, 0.1, 0.11, 0.5, 0.51, 0.99)] == [0, 0, 1, 1, 2, 2]


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


def test_a_search_stagnates_after_fifty_answers_or_a_tenth_of_all():
    assert stagnation_operator(49, 100, 1) is None
    assert stagnation_operator(50, 100, 1) == (Operator.TACTIC, TACTICS[4])
    assert stagnation_operator(99, 1000, 1) is None
    assert stagnation_operator(100, 1000, 1) is not None


def test_each_stretch_of_stagnation_begins_with_four_tactics_and_two_fresh_starts():
    found = [stagnation_operator(since, 100, 1) for since in range(50, 100)]
    assert [one[0] if one else None for one in found[:7]] == [*[Operator.TACTIC] * 4, *[Operator.FRESH] * 2, None]
    assert all(one is None for one in found[6:])
    assert len({one[1] for one in found[:4] if one}) == 4
    assert stagnation_operator(100, 100, 1) == (Operator.TACTIC, TACTICS[8]), "the next stretch has other tactics"


def test_with_several_answers_to_a_prompt_tactics_are_counted_in_prompts():
    found = [stagnation_operator(since, 100, 4) for since in range(50, 100, 4)]
    assert [one[0] if one else None for one in found[:6]] == [*[Operator.TACTIC] * 4, *[Operator.FRESH] * 2]


def test_the_partner_is_better_on_most_inputs_and_no_better_in_all():
    base, one, two = program("b", 5.0, 5.0, 5.0), program("1", 6.0, 0.0, 6.0), program("2", 4.9, 4.9, 5.1)
    better = program("3", 9.0, 9.0, 9.0)
    assert partner_of(base, [two, one, better]) == one
    assert partner_of(base, [two, better]) == two
    assert partner_of(base, [base, program("same", 5.0, 5.0, 5.0), better]) is None


# Models: an asymmetric upper confidence bound


def chosen_models(choice: ModelChoice) -> Counter[str]:
    return Counter(choice.choose(Random(seed)) for seed in range(1000))


def told_of(*results: tuple[str, float, float | Price], weights: dict[str, float] | None = None) -> ModelChoice:
    choice = ModelChoice(weights or {"a": 1.0, "b": 1.0})
    for name, gain, price in results:
        choice.tell(name, [gain], price if isinstance(price, Price) else Price(0, price))
    return choice


def test_in_the_beginning_models_are_drawn_by_their_weights():
    counts = chosen_models(ModelChoice({"a": 1.0, "b": 3.0}))
    assert 690 < counts["b"] < 810


def test_models_without_an_answer_come_first():
    assert set(chosen_models(told_of(("a", 5.0, 1.0)))) == {"b"}


def test_the_bounds_by_hand():
    # Rewards e^1 - 1 and 0; each later result discounts the earlier: of a, sum and count are 0.95 of what they were.
    # The mean of a is the highest, divided by the highest that was discounted once: 1 / 0.95. Both answered once.
    choice = told_of(("a", 1.0, 2.0), ("b", 0.0, 2.0))
    bonus = math.sqrt(2.0 * math.log(2.0))
    assert choice.bounds()["a"] == pytest.approx(0.5 * (1.0 / 0.95 + bonus) + 0.5)
    assert choice.bounds()["b"] == pytest.approx(0.5 * bonus + 0.5), "equal prices are equally cheap"


def test_a_model_that_gains_gets_most_prompts_and_the_other_its_share():
    counts = chosen_models(told_of(*[("a", 0.0, 1.0), ("b", 1.0, 1.0)] * 50))
    assert 750 < counts["b"] < 850


def test_of_models_that_gain_alike_the_cheap_one_gets_most():
    counts = chosen_models(told_of(*[("a", 0.5, 10.0), ("b", 0.5, 1.0)] * 50))
    assert counts["b"] > 750


def test_failures_count_as_no_reward_and_not_less():
    once, often = told_of(("a", 1.0, 1.0), ("b", 0.0, 1.0)), told_of(("a", 1.0, 1.0), *[("b", 0.0, 1.0)] * 9)
    assert often.bounds()["b"] >= 0.0
    assert often.bounds()["b"] < once.bounds()["b"]


def test_a_search_that_stagnates_asks_the_model_with_fewest_answers_since_the_last_best():
    choice = told_of(("a", 0.0, 9.0), ("a", 0.0, 9.0), ("b", 0.0, 1.0))
    assert choice.other == "b"
    choice.note_best()
    assert choice.other == "a", "of equals, the one whose answers cost most"
    choice.tell("a", [0.0], Price(0, 9.0))
    assert choice.other == "b"


DEAR, FREE = Price(1_000, 0.05), Price(3_000)
"""Answers of a model with a price, and of one whose price nobody knows, which takes more tokens."""


def test_where_one_price_is_unknown_all_models_are_compared_by_their_tokens():
    counts = chosen_models(told_of(*[("a", 0.5, DEAR), ("b", 0.5, FREE)] * 50))
    assert counts["a"] > 750, "a token of one is as dear as a token of the other"
    assert told_of(("a", 0.0, DEAR), ("b", 0.0, FREE)).other == "b"
    counts = chosen_models(told_of(*[("a", 0.5, DEAR), ("b", 0.5, Price(3_000, 0.01))] * 50))
    assert counts["b"] > 750, "both prices are known"
    assert told_of(("a", 0.0, DEAR), ("b", 0.0, Price(3_000, 0.01))).other == "a"


def test_a_price_that_becomes_unknown_makes_earlier_ones_count_in_tokens():
    known, longer = Price(1_000, 0.01), Price(2_000, 0.001)
    assert told_of(("a", 0.0, known), ("b", 0.0, longer)).other == "a"
    choice = told_of(("a", 0.0, known), ("b", 0.0, longer), ("b", 0.0, Price(2_000)))
    choice.note_best()
    assert choice.other == "b"


def test_a_price_of_nothing_is_known():
    assert told_of(("a", 0.0, Price(10, 0.01)), ("b", 0.0, Price(9_000, 0.0))).other == "a"


def test_a_model_that_is_not_in_the_list_is_not_counted():
    choice = told_of(("c", 3.0, 1.0))
    assert set(chosen_models(choice)) == {"a", "b"}


def test_an_operator_that_pays_far_less_than_the_others_is_not_asked_for_to_be_different():
    choice, enabled = OperatorChoice(), [Operator.REFINE, Operator.SIMPLIFY]
    assert choice.worth_asking(enabled, 0) == enabled
    for _ in range(20):
        choice.tell(Operator.SIMPLIFY, 0, has_gained=False)
        choice.tell(Operator.REFINE, 0, has_gained=True)
    assert choice.worth_asking(enabled, 0) == [Operator.REFINE]
    assert choice.worth_asking(enabled, 1) == enabled, "it is another band of bases"
