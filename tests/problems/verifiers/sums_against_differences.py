"""Sums against differences: a finite set of whole numbers A with many sums for its number of differences.

Improve `construct`, which returns the numbers. The score is log(|A + A| / |A|) over log(|A - A| / |A|); the sets are
counted.
"""
# /// script
# [tool.overnight]
# title = "Sums against differences"
# inputs = [500]
# score_name = "quotient of the logarithms"
#
# [tool.overnight.known]
# start = 1.0344212
# ///

import math
import operator
from collections.abc import Sequence

import funsearch

LARGEST = 10**9


@funsearch.run
def evaluate(most: int) -> float:
    """Return the quotient of the logarithms."""
    return value_of(construct(most), most)


def value_of(given: Sequence[int], most: int) -> float:
    """Return the quotient for given numbers."""
    numbers = {operator.index(value) for value in given}
    if not 2 <= len(numbers) <= most or not all(abs(number) <= LARGEST for number in numbers):
        raise ValueError(f"expected 2 to {most} different whole numbers of at most {LARGEST}")
    sums = len({a + b for a in numbers for b in numbers})
    differences = len({a - b for a in numbers for b in numbers})
    return math.log(sums / len(numbers)) / math.log(differences / len(numbers))


@funsearch.evolve
def construct(most: int) -> list[int]:
    """Return the numbers: the smallest set with more sums than differences, by Conway."""
    return [0, 2, 3, 4, 7, 11, 12, 14]
