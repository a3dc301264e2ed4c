"""An uncertainty inequality: a function and its Fourier transform that both stop being negative early.

Improve `construct`, which returns the coefficients of the Hermite polynomials H0, H4, H8, …; the last one is added so
that the sum P vanishes at 0, and P is turned so that it is positive in the end. With r its largest root, the
score is minus r^2 / (2 pi). Sturm's theorem, in rational numbers, shows that there is none beyond r.
"""
# /// script
# [tool.overnight]
# title = "An uncertainty inequality"
# inputs = [3]
# score_name = "minus the bound"
#
# [tool.overnight.known]
# start = -0.3522956
# ///

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

import funsearch

Polynomial = list[Fraction]
"""Coefficients, the lowest first."""


@funsearch.run
def evaluate(count: int) -> float:
    """Return minus the bound, which is right to 1e-12."""
    return value_of(construct(count), count)


def value_of(given: Sequence[float], count: int) -> float:
    """Return minus the bound for given coefficients."""
    coefficients = [Fraction(float(value)) for value in given]
    if len(coefficients) != count or not any(coefficients):
        raise ValueError(f"expected {count} coefficients, not all 0")
    # In y = x^2, H_4k has the coefficient (-1)^(2k - j) (4k)! 4^j / ((2k - j)! (2j)!) at y^j.
    basis = [[hermite(2 * k, j) for j in range(2 * count + 1)] for k in range(count + 1)]
    coefficients.append(-sum(c * b[0] for c, b in zip(coefficients, basis, strict=False)) / basis[-1][0])
    total = [sum(c * b[j] for c, b in zip(coefficients, basis, strict=True)) for j in range(1, 2 * count + 1)]
    if total[-1] == 0:
        raise ValueError("the last coefficient came out as 0")
    chain = sturm(total)
    low, high = Fraction(0), 1 + max(abs(value / total[-1]) for value in total)
    if changes(chain, low) == changes(chain, high):
        raise ValueError("the polynomial has no positive root")
    while high - low > Fraction(1, 2**50):
        middle = (low + high) / 2
        low, high = (low, middle) if changes(chain, middle) == changes(chain, high) else (middle, high)
    return -float(high) / (2 * math.pi)


def hermite(half: int, j: int) -> int:
    """Return the coefficient of x^2j in the Hermite polynomial of the degree 2 half."""
    if j > half:
        return 0
    return (-1) ** (half - j) * math.factorial(2 * half) * 4**j // (math.factorial(half - j) * math.factorial(2 * j))


def sturm(first: Polynomial) -> list[Polynomial]:
    """Return the Sturm chain of a polynomial; the roots in (a, b] are the changes of sign at a less those at b."""
    chain = [first, [j * value for j, value in enumerate(first)][1:]]
    while len(chain[-1]) > 1:
        rest, by = list(chain[-2]), chain[-1]
        while len(rest) >= len(by):
            factor = rest[-1] / by[-1]
            shift = len(rest) - len(by)
            rest = [value - factor * by[i - shift] if i >= shift else value for i, value in enumerate(rest)][:-1]
        while rest and rest[-1] == 0:
            rest.pop()
        if not rest:
            break
        chain.append([-value for value in rest])
    return chain


def changes(chain: list[Polynomial], at: Fraction) -> int:
    """Count the changes of sign along a Sturm chain at a place."""
    values = [sum(value * at**j for j, value in enumerate(one)) for one in chain]
    return sum(a * b < 0 for a, b in itertools.pairwise(value for value in values if value))


@funsearch.evolve
def construct(count: int) -> list[float]:
    """Return the coefficients of H0, H4, …"""
    return [-1.13, 0.04, 1 / 3240, *[0.0] * count][:count]
