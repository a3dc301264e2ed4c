"""Greedy search: the best program is the base, now and then another, and the next best are shown with it."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.select.told import ask, ids, make, program, tell


def test_the_best_is_the_base_and_the_next_best_of_other_signatures_come_before_it():
    greedy = make("greedy", epsilon=0, parents=3)
    same = program("same", 3.0)  # as good as the best, and the same on every input
    tell(greedy, "start", program("a", 2.0), program("best", 3.0), same, program("b", 1.0), program("c", 2.0))
    # Best first, one of each signature: best (3), a (2, before c), b (1), start (0).
    assert [ids(plan.shown) for plan in ask(greedy, 5)] == [["b", "a", "best"]] * 5


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
