"""The third autocorrelation inequality: a step function of either sign whose autoconvolution has a low peak.

Improve `construct`, which returns the values of f on steps of equal width, from -1/4 to 1/4. The score is minus the
largest value of f * f (of its absolute value, if `absolute`) over the square of the integral, in whole numbers.
"""
# /// script
# dependencies = ["numpy"]
#
# [tool.overnight]
# title = "Third autocorrelation inequality"
# inputs = [[400, false], [400, true]]
# score_name = "minus the peak of the autoconvolution"
#
# [tool.overnight.known]
# start = -2
# ///

import math
from collections.abc import Sequence
from fractions import Fraction

import funsearch
import numpy as np

UNIT = 2**30
"""Values are rounded to multiples of the largest over so many."""


@funsearch.run
def evaluate(most_steps: int, absolute: bool) -> float:
    """Return minus the peak for the integral 1."""
    return value_of(construct(most_steps, absolute), most_steps, absolute)


def value_of(values: Sequence[float], most_steps: int, absolute: bool) -> float:
    """Return minus the peak for given values."""
    heights = [float(value) for value in values]
    if not 1 <= len(heights) <= most_steps:
        raise ValueError(f"expected 1 to {most_steps} values, got {len(heights)}")
    largest = max(map(abs, heights))
    if not all(map(math.isfinite, heights)) or largest == 0:
        raise ValueError("the values must be finite, and not all 0")
    mass = np.array([round(Fraction(h) / Fraction(largest) * UNIT) for h in heights], dtype=object)
    if mass.sum() == 0:
        raise ValueError("the integral must not be 0")
    at = np.convolve(mass, mass)
    # Where values of f * f are negative, 0 still counts: f * f is 0 outside of the interval.
    peak = max(np.abs(at) if absolute else at)
    return -float(Fraction(2 * len(heights) * max(peak, 0), mass.sum() ** 2))


@funsearch.evolve
def construct(most_steps: int, absolute: bool) -> list[float]:
    """Return the values of the step function."""
    return [1.0] * most_steps
