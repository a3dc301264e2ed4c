"""Erdős's minimum overlap: spread mass so that it overlaps little with what is free, however it is shifted.

A step function h on the interval from 0 to 2 has values from 0 to 1 and the integral 1. Its overlap at a shift is the
integral of h(x) (1 - h(x + shift)) over all x for which both are in the interval; the largest overlap over all shifts
is to be small. Improve `density`, which returns the values of h on steps of equal width. They are scaled so that the
integral is 1, in whole numbers, and so is the overlap: it is linear between shifts by whole steps, so that these
decide. The best known is 0.380859; a constant has 0.5.
"""
# /// script
# dependencies = ["numpy"]
#
# [tool.overnight]
# title = "Erdős's minimum overlap"
# inputs = [200]
# score_name = "minus the largest overlap"
#
# [tool.overnight.limits]
# wall_s = 20
# memory_mib = 512
#
# [tool.overnight.known]
# start = -0.5
# best = -0.380859
# label = "best published bound"
# source = "the line of Haugland (2016) and AlphaEvolve (2025), as of the date"
# date = "2026-07"
# ///

from fractions import Fraction

import funsearch
import numpy as np

UNIT = 2**30
"""Values are rounded to multiples of one part in so many."""


@funsearch.run
def evaluate(most_steps: int) -> float:
    """Minus the largest overlap of `density`, over all shifts."""
    values = [float(value) for value in density(most_steps)]
    if not 1 <= len(values) <= most_steps:
        raise ValueError(f"density must return 1 to {most_steps} values, got {len(values)}")
    if not all(0 <= value <= 1 for value in values):
        raise ValueError("a value of the density is not from 0 to 1")
    return -float(largest_overlap([round(value * UNIT) for value in values]))


def largest_overlap(heights: list[int]) -> Fraction:
    """The largest overlap, exactly, of the step function with these relative heights.

    With n steps of width 2/n and the sum S of the heights, h is n / 2S times each height. The overlap at a shift by k
    steps is then the sum of height * (2S - n * the height k steps on), over 2 S².
    """
    steps, total = len(heights), sum(heights)
    if total == 0 or steps * max(heights) > 2 * total:
        raise ValueError("scaled to the integral 1, a value of the density is above 1")
    mass = np.array(heights, dtype=object)
    room = 2 * total - steps * mass
    overlaps = [(mass[: steps - k] @ room[k:], mass[k:] @ room[: steps - k]) for k in range(steps)]
    return Fraction(max(max(pair) for pair in overlaps), 2 * total**2)


@funsearch.evolve
def density(most_steps: int) -> list[float]:
    """The step function.

    Args:
        most_steps: How many steps are allowed.

    Returns:
        Its value on each step, from 0 to 1, on average about 0.5.
    """
    return [0.5] * most_steps
