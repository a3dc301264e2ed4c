"""Difference bases: few whole numbers, 0 or more, whose differences are all of 1, 2, …, k without a gap.

Improve `construct`, which returns the numbers. With k the last before the first gap, the score is minus the square of
how many numbers there are, over k. For long ones the limit is known to lie between 2.434 and 2.6390.
"""
# /// script
# [tool.overnight]
# title = "Difference basis"
# inputs = [1000]
# score_name = "minus the numbers squared over what they reach"
#
# [tool.overnight.known]
# start = -3.9920319
# ///

import operator
from collections.abc import Sequence
from fractions import Fraction

import funsearch

LARGEST = 10**6


@funsearch.run
def evaluate(most: int) -> float:
    """Return minus the square of the size over the reach."""
    return value_of(construct(most), most)


def value_of(given: Sequence[int], most: int) -> float:
    """Return the score of given numbers."""
    numbers = [operator.index(value) for value in given]
    if not 2 <= len(numbers) <= most or not all(0 <= number <= LARGEST for number in numbers):
        raise ValueError(f"expected 2 to {most} whole numbers from 0 to {LARGEST}")
    differences = {a - b for a in numbers for b in numbers}
    reach = next(k for k in range(1, LARGEST + 2) if k not in differences) - 1
    if reach == 0:
        raise ValueError("no two numbers differ by 1")
    return -float(Fraction(len(numbers) ** 2, reach))


@funsearch.evolve
def construct(most: int) -> list[int]:
    """Return the numbers."""
    side = most // 2
    return [*range(side), *range(2 * side - 1, side * (side + 1), side)]
