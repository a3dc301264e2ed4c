"""Weighted choice: a sigmoid of the distance to the median, divided by one more than the number of children."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.tasks.select.weighted import weights
from tests.select.told import ask, ids, make, program, tell


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
