"""The first autocorrelation inequality: spread mass so that its convolution with itself has a low peak.

A step function f >= 0 on the interval from -1/4 to 1/4 has the convolution (f * f)(t), the integral of f(x) f(t - x).
Its largest value over the square of the integral of f is to be small. Improve `density`, which returns the values of f
on steps of equal width. The quotient is computed in whole numbers: the convolution is linear between whole steps, so
that these decide. The best known is 1.502850; a constant has 2.
"""
# /// script
# dependencies = ["numpy"]
#
# [tool.overnight]
# title = "First autocorrelation inequality"
# inputs = [200]
# score_name = "minus the peak of the autoconvolution"
#
# [tool.overnight.limits]
# wall_s = 20
# memory_mib = 512
#
# [tool.overnight.known]
# start = -2
# best = -1.502850
# label = "best published bound"
# source = "the line of Matolcsi and Vinuesa (2010) and AlphaEvolve (2025), as of the date"
# date = "2026-08"
# ///

import math
from fractions import Fraction

import funsearch
import numpy as np

UNIT = 2**30
"""Values are rounded to multiples of the largest over so many."""


@funsearch.run
def evaluate(most_steps: int) -> float:
    """Minus the peak of the autoconvolution of `density`, for the integral 1."""
    values = [float(value) for value in density(most_steps)]
    if not 1 <= len(values) <= most_steps:
        raise ValueError(f"density must return 1 to {most_steps} values, got {len(values)}")
    if not all(0 <= value < math.inf for value in values) or max(values) == 0:
        raise ValueError("the values of the density must be 0 or more, finite, and not all 0")
    return -float(peak([round(Fraction(value) / Fraction(max(values)) * UNIT) for value in values]))


def peak(heights: list[int]) -> Fraction:
    """The largest value of the autoconvolution, exactly, over the square of the integral.

    With n steps of width w = 1/2n, it is w times the largest sum of products over w² times the square of the sum.
    """
    steps, total = len(heights), sum(heights)
    mass = np.array(heights, dtype=object)
    pairs = [mass[max(0, k - steps + 1) : k + 1] for k in range(2 * steps - 1)]
    return Fraction(2 * steps * max(part @ part[::-1] for part in pairs), total**2)


@funsearch.evolve
def density(most_steps: int) -> list[float]:
    """The step function.

    Args:
        most_steps: How many steps are allowed.

    Returns:
        Its value on each step, 0 or more; a common factor makes no difference.
    """
    return [1.0] * most_steps
