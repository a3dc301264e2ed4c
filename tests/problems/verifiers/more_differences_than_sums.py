"""More differences than sums: a finite set U of whole numbers, 0 among them, with few sums for its differences.

Improve `construct`, which returns the numbers, 0 or more. The score is 1 + log(|U - U| / |U + U|) / log(2 max U + 1),
a lower bound of a constant (Gyarmati, Hennecart and Ruzsa, 2007). The sets are counted, as the bits of whole numbers.
"""
# /// script
# [tool.overnight]
# title = "More differences than sums"
# inputs = [2048]
# score_name = "lower bound"
#
# [tool.overnight.known]
# start = 1.0792180
# ///

import math
import operator
from collections.abc import Sequence

import funsearch

LARGEST = 10**8


@funsearch.run
def evaluate(most: int) -> float:
    """Return the lower bound."""
    return value_of(construct(most), most)


def value_of(given: Sequence[int], most: int) -> float:
    """Return the lower bound that given numbers prove."""
    numbers = {operator.index(value) for value in given}
    if not 2 <= len(numbers) <= most or min(numbers) != 0 or max(numbers) > LARGEST:
        raise ValueError(f"expected 2 to {most} different whole numbers up to {LARGEST}, 0 the smallest")
    top = max(numbers)
    forward, backward = (sum_of_bits(one) for one in (numbers, [top - number for number in numbers]))
    sums = differences = 0
    for number in numbers:
        sums |= forward << number
        differences |= backward << number
    return 1 + math.log(differences.bit_count() / sums.bit_count()) / math.log(2 * top + 1)


def sum_of_bits(places: Sequence[int]) -> int:
    """Return the number with ones at different places."""
    bits = bytearray(max(places) // 8 + 1)
    for place in places:
        bits[place // 8] |= 1 << place % 8
    return int.from_bytes(bits, "little")


@funsearch.evolve
def construct(most: int) -> list[int]:
    """Return the numbers."""
    return [0, 1, 3]
