"""The second autocorrelation inequality: a step function f >= 0 whose convolution with itself is nearly flat.

Improve `construct`, which returns the values of f on steps of equal width. The score is the square of the 2-norm of
f * f over the product of its 1-norm and its largest value, in whole numbers: f * f is linear between whole steps.
"""
# /// script
# dependencies = ["numpy"]
#
# [tool.overnight]
# title = "Second autocorrelation inequality"
# inputs = [50]
# score_name = "flatness of the autoconvolution"
#
# [tool.overnight.known]
# start = 0.6666667
# ///

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

import funsearch
import numpy as np

UNIT = 2**30
"""Values are rounded to multiples of the largest over so many."""


@funsearch.run
def evaluate(most_steps: int) -> float:
    """Return how flat the autoconvolution is, from 0 to 1."""
    return value_of(construct(most_steps), most_steps)


def value_of(values: Sequence[float], most_steps: int) -> float:
    """Return the flatness for given values."""
    heights = [float(value) for value in values]
    if not 1 <= len(heights) <= most_steps:
        raise ValueError(f"expected 1 to {most_steps} values, got {len(heights)}")
    if not all(0 <= height < math.inf for height in heights) or max(heights) == 0:
        raise ValueError("the values must be 0 or more, finite, and not all 0")
    mass = np.array([round(Fraction(h) / Fraction(max(heights)) * UNIT) for h in heights], dtype=object)
    at = [0, *np.convolve(mass, mass).tolist(), 0]
    squares = sum(y * y + y * z + z * z for y, z in itertools.pairwise(at))
    return float(Fraction(squares, 3 * sum(at) * max(at)))


@funsearch.evolve
def construct(most_steps: int) -> list[float]:
    """Return the values of the step function, 0 or more."""
    return [1.0] * most_steps
