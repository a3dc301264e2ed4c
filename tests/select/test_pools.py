"""Algorithms that choose from one pool of programs, or from pools side by side: greedy, weighted, halving."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.schemas.algorithm import Expand, Join, PromptResult, Reset
from overnight.schemas.algorithm_settings import HalvingSettings
from overnight.tasks.select.halving import Halving, niches_at
from overnight.tasks.select.pool import changes_of, results_in
from overnight.tasks.select.weighted import weights
from tests.select.told import ask, ids, make, program, tell

# Greedy search: the best program is the base, now and then another, and the next best are shown with it


def test_the_best_is_the_base_and_the_next_best_of_other_signatures_come_before_it():
    greedy = make("greedy", epsilon=0, parents=3)
    same = program("same", 3.0)  # as good as the best, and the same on every input
    tell(greedy, "start", program("a", 2.0), program("best", 3.0), same, program("b", 1.0), program("c", 2.0))
    # Best first, one of each signature: best (3), a (2, before c), b (1), start (0).
    assert [ids(plan.shown) for plan in ask(greedy, 5)] == [["b", "a", "best"]] * 5


def test_a_program_with_nearly_the_same_scores_is_shown_last():
    greedy = make("greedy", epsilon=0)
    tell(greedy, "start", program("best", 3.0), program("nearly", 3.0 - 1e-7), program("other", 2.0))
    assert ids(ask(greedy)[0].shown) == ["other", "best"]


def test_a_program_of_equal_score_and_another_signature_is_shown():
    greedy = make("greedy", epsilon=0)
    tell(greedy, "start", program("best", 3.0), program("other", 3.0, signature=(2.0, 4.0)))
    assert ids(ask(greedy)[0].shown) == ["other", "best"]


def test_other_bases_are_drawn_by_signature_then_by_program():
    greedy = make("greedy", epsilon=1, parents=1)
    tell(greedy, "start", *[program(f"a{k}", 1.0) for k in range(3)], program("b", 2.0))
    # Three signatures, a third each: start, the three a with a ninth each, b.
    drawn = Counter(plan.base.id for plan in ask(greedy, 9000))
    assert drawn["start"] == pytest.approx(3000, rel=0.1)
    assert drawn["b"] == pytest.approx(3000, rel=0.1)
    assert drawn["a1"] == pytest.approx(1000, rel=0.15)


def test_a_fifth_of_the_prompts_is_drawn_by_default():
    greedy = make("greedy", parents=1)
    tell(greedy, "start", program("best", 1.0))
    # 0.8 + 0.2 / 2 = 0.9 of the prompts have the best as their base.
    drawn = Counter(plan.base.id for plan in ask(greedy, 5000))
    assert drawn["best"] == pytest.approx(4500, rel=0.03)


def test_nothing_better_than_a_drawn_base_is_shown_with_it():
    greedy = make("greedy", epsilon=1, parents=4)
    tell(greedy, "start", program("a", 1.0), program("b", 2.0))
    shown = {tuple(ids(plan.shown)) for plan in ask(greedy, 100)}
    assert shown == {("start",), ("start", "a"), ("start", "a", "b")}


# Weighted choice: a sigmoid of the distance to the median, divided by one more than the number of children


def test_weights_by_hand():
    # Scores 0, 1, 2, 3, 10: median 2; distances 2, 1, 0, 1, 8: median absolute deviation 1.
    # λ = 1: the sigmoids of −2, −1, 0, 1 and 8 are 0.119203, 0.268941, 0.5, 0.731059 and 0.999665.
    # They are divided by 1 + children: by 1, 2, 1, 4 and 1.
    found = weights([0.0, 1.0, 2.0, 3.0, 10.0], [0, 1, 0, 3, 0], sharpness=1.0)
    assert found == pytest.approx([0.119203, 0.134471, 0.5, 0.182765, 0.999665], abs=1e-6)


def test_with_the_published_sharpness_all_above_the_median_weigh_the_same():
    # λ = 10: a deviation above the median, the sigmoid of 10 is 0.999955; a deviation below, it is 0.0000454.
    found = weights([0.0, 1.0, 2.0, 3.0, 10.0], [0] * 5, sharpness=10.0)
    assert found[3:] == pytest.approx([0.999955, 1.0], abs=1e-6)
    assert found[1] == pytest.approx(0.0000454, abs=1e-7)


def test_scores_that_are_equal_weigh_by_children_alone():
    assert weights([4.0, 4.0, 4.0], [0, 1, 3], sharpness=10.0) == pytest.approx([0.5, 0.25, 0.125])


def test_where_most_are_equal_the_unit_is_a_millionth():
    # The deviations are 0, 0, 0 and 1e-6, so the unit is 1e-6 and the last is one unit above: the sigmoid of 1.
    assert weights([1.0, 1.0, 1.0, 1.000001], [0] * 4, sharpness=1.0)[3] == pytest.approx(0.731059, abs=1e-5)


@given(st.lists(st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 99)), min_size=1))
def test_weights_are_between_0_and_1_and_never_all_0(drawn: list[tuple[float, int]]):
    scores, children = [score for score, _ in drawn], [count for _, count in drawn]
    found = weights(scores, children, sharpness=10.0)
    assert all(0 <= weight <= 1 and math.isfinite(weight) for weight in found)
    assert sum(found) > 0
    childless = weights(scores, [0] * len(scores), sharpness=10.0)
    assert [w for _, w in sorted(zip(scores, childless, strict=True))] == sorted(childless), "better ones weigh no less"


def test_samples_of_a_base_count_as_its_children_also_if_they_failed():
    weighted = make("weighted", parents=1)
    tell(weighted, "start", program("a", 0.0), samples=3)
    tell(weighted, "a", samples=1)
    # Equal scores: 0.5 / (1 + 3) for the start program and 0.5 / (1 + 1) for a, so a third and two thirds.
    drawn = Counter(plan.base.id for plan in ask(weighted, 3000))
    assert drawn["a"] == pytest.approx(2000, rel=0.06)


def test_the_archive_has_the_best_programs_and_of_equals_the_first():
    weighted = make("weighted", archive=3)
    tell(weighted, "x", program("a", 1.0), program("b", 2.0), program("c", 1.0), program("d", 2.0))
    # Best first: b, d, a; then c, and the start program, are left out.
    assert {one.id for plan in ask(weighted, 300) for one in plan.shown} == {"a", "b", "d"}
    assert weighted.best.id == "b"
    assert len(weighted.niches["0"].programs) == 5, "none is forgotten"


def test_what_is_shown_beside_the_base_is_drawn_from_the_archive():
    weighted = make("weighted", archive=4)
    tell(weighted, "start", *[program(name, float(score)) for score, name in enumerate("abcde")])
    shown = {tuple(ids(plan.shown)) for plan in ask(weighted, 500)}
    assert {pair for pair in shown if pair[-1] == "e"} == {("b", "e"), ("c", "e"), ("d", "e")}


# Halving: greedy searches side by side, fewer of them as the samples told of approach the budget


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


PROGRAMS = {f"p{number}": program(f"p{number}", float(number)) for number in range(9)}


@st.composite
def results(draw: st.DrawFn) -> list[PromptResult]:
    found = []
    for _ in range(draw(st.integers(0, 6))):
        children = tuple(draw(st.lists(st.sampled_from([*PROGRAMS.values()]), max_size=3)))
        samples = len(children) + draw(st.integers(0, 3))
        found.append(PromptResult(draw(st.sampled_from("012")), draw(st.sampled_from("ab")), samples, children))
    return found


@given(results())
def test_results_come_back_from_their_changes(told: list[PromptResult]):
    changes = changes_of(told, expansions=True)
    assert [*results_in(changes, PROGRAMS)] == [result for result in told if result.samples]


def test_joins_without_an_expansion_or_of_another_niche_belong_to_no_prompt():
    one, two, three = [*PROGRAMS.values()][:3]
    changes = [
        Join("0", "p0"),
        Expand("0", "p0", 4),
        Join("0", "p1"),
        Join("1", "p2"),
        Reset("0", "p1"),
        Join("0", "p1"),
    ]
    assert [*results_in(changes, PROGRAMS)] == [
        PromptResult("0", "", 0, (one,)),
        PromptResult("0", "p0", 4, (two,)),
        PromptResult("1", "", 0, (three,)),
        PromptResult("0", "", 0, (two,)),
    ]
