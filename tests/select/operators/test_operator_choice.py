"""Operators are chosen by discounted Thompson sampling, in each band of bases on its own."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from schemas.operators import Operator
from tasks.select.operators.operator_choice import SHARES, OperatorChoice, band_of

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
