"""Flat polynomials: n coefficients, each 1 or -1, with a small largest absolute value on the unit circle.

Improve `construct`, which returns them. The score is minus the largest value over the root of n + 1. It is computed at
N = 2^20 points; between them the square, a trigonometric polynomial of degree n - 1, is at most 1 / cos(pi (n - 1) / N)
times as large (Ehlich and Zeller, 1964), which counts as if it were reached. So the error is below 1e-6.
"""
# /// script
# dependencies = ["numpy"]
#
# [tool.overnight]
# title = "Flat polynomial with 64 coefficients"
# inputs = [64]
# score_name = "minus the largest value, normalised"
#
# [tool.overnight.known]
# start = -7.9382231
# ///

from collections.abc import Sequence

import funsearch
import numpy as np

PLACES = 2**20


@funsearch.run
def evaluate(n: int) -> float:
    """Return minus the largest value on the unit circle, normalised."""
    return value_of(construct(n), n)


def value_of(given: Sequence[int], n: int) -> float:
    """Return the score of given coefficients."""
    signs = [float(sign) for sign in given]
    if len(signs) != n or not 1 <= n <= 1000 or not set(signs) <= {1.0, -1.0}:
        raise ValueError(f"expected {n} coefficients, each 1 or -1")
    largest = float(np.abs(np.fft.rfft(signs, PLACES)).max())
    return -largest / float(np.cos(np.pi * (n - 1) / PLACES) ** 0.5) / (n + 1) ** 0.5


@funsearch.evolve
def construct(n: int) -> list[int]:
    """Return the coefficients."""
    return [1] * n
