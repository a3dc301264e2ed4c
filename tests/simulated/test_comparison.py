"""Systems are compared in pairs: an interval over problems, personas and seeds, exact tests, and times to targets."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from random import Random

import pytest

from tests.bench.simulated.comparison import Key, difference, holm, reached, signed_rank_p

KEYS: list[Key] = list(itertools.product(("F1-a", "F1-b", "F2-a"), range(4), range(5)))


def noise(seed: int, spread: float) -> dict[Key, float]:
    rng = Random(seed)
    return {key: rng.gauss(0.0, spread) for key in KEYS}


def test_a_difference_that_is_there_is_found_and_its_interval_holds_it():
    reference, noises = noise(1, 1.0), noise(2, 0.05)
    mine = {key: reference[key] - 0.3 + noises[key] for key in KEYS}
    found = difference(mine, reference)
    middle = sorted(noises[key] for key in KEYS)[15:45]
    assert found.iqm == pytest.approx(-0.3 + sum(middle) / len(middle))
    assert -0.36 < found.low < found.iqm < found.high < -0.24
    assert (found.agreeing, found.wins, found.verdict) == (1.0, 1.0, "better")
    assert found.p < 1e-9
    assert difference(reference, mine).verdict == "worse"
    assert difference(mine, reference) == found


def test_without_a_difference_the_interval_holds_0_and_half_of_the_cells_agree():
    found = difference(noise(3, 0.2), noise(4, 0.2))
    assert found.low < 0 < found.high
    assert 0.2 < found.agreeing < 0.9
    assert found.p > 0.05
    assert (found.wins, found.a12) == (pytest.approx(0.5, abs=0.15), pytest.approx(0.5, abs=0.15))
    assert found.verdict == ""


def test_problems_count_as_units_not_searches():
    """One problem of three is better by 0.9, the others are the same: too little to say anything of more problems."""
    mine = {key: -0.9 if key[0] == "F2-a" else 0.0 for key in KEYS}
    found = difference(mine, dict.fromkeys(KEYS, 0.0))
    assert found.iqm == pytest.approx(-0.9 / 6)  # of the middle half of the pairs, a sixth is of that problem
    assert found.low == pytest.approx(-0.9)
    assert found.high == 0.0
    assert found.agreeing == pytest.approx(1 / 3)
    assert found.wins == pytest.approx(2 / 3)


def test_only_pairs_are_compared():
    reference = noise(1, 1.0)
    with pytest.raises(ValueError, match="the same problems"):
        difference(dict.fromkeys(KEYS[1:], 0.0), reference)


def by_enumeration(values: Sequence[float]) -> float:
    """Return the p-value of the signed-rank test from all signs."""
    sizes = sorted(map(abs, values))
    ranks = [sizes.index(abs(one)) + (sizes.count(abs(one)) + 1) / 2 for one in values]
    found = sum(rank for rank, one in zip(ranks, values, strict=True) if one > 0)
    sums = [sum(itertools.compress(ranks, signs)) for signs in itertools.product((0, 1), repeat=len(ranks))]
    tail = min(sum(one <= found for one in sums), sum(one >= found for one in sums))
    return min(1.0, 2 * tail / len(sums))


@pytest.mark.parametrize(
    "values", [[1.0], [1, 2, 3, 4, 5], [-3, 1, 2, 4, 5, 6], [-1, 1, 1, 2, 2, 3, -2], [5, -4, 3, -2, 1, 1, 1, 1, 7]]
)
def test_the_signed_rank_test_is_exact_with_ties_too(values: list[float]):
    assert signed_rank_p(values) == pytest.approx(by_enumeration(values))
    assert signed_rank_p([*values, 0.0, 0.0]) == pytest.approx(by_enumeration(values))


def test_many_pairs_are_tested_by_a_normal_approximation_that_agrees():
    rng = Random(5)
    values = [rng.gauss(0.12, 1.0) for _ in range(200)]
    assert signed_rank_p([*values, 1e-9]) == pytest.approx(signed_rank_p(values), rel=0.1)
    assert signed_rank_p([0.0, 0.0]) == 1.0


def test_p_values_are_adjusted_for_their_number():
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([]) == []


def test_the_expected_running_time_counts_what_failed_searches_spent():
    found = reached([30, None, 50, None], 100)
    assert (found.share, found.expected) == (0.5, 140.0)
    assert (found.low, found.high) == (pytest.approx(0.15, abs=0.001), pytest.approx(0.85, abs=0.001))
    none = reached([None] * 4, 100)
    assert (none.share, none.low, none.expected) == (0.0, 0.0, math.inf)
    assert none.high == pytest.approx(0.49, abs=0.001)
