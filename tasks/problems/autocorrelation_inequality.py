"""The first autocorrelation inequality: spread mass so that its convolution with itself has a low peak.

A step function f >= 0 on the interval from -1/4 to 1/4 has the convolution (f * f)(t), the integral of f(x) f(t - x).
Its largest value over the square of the integral of f is to be small. Improve `density`, which returns the values of f
on steps of equal width. The quotient is computed in whole numbers: the convolution is linear between whole steps, so
that these decide. The best known is 1.502850; a constant has 2.
Programs may import scipy, for its optimizers.
"""
# /// script
# dependencies = ["numpy", "scipy"]
#
# [tool.overnight]
# title = "First autocorrelation inequality"
# origin = "AlphaEvolve, arXiv 2025"
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
# label = "Hyra, with thousands of steps"
# source = "einsteinarena.com; the line to 1.502862 is in github.com/teorth/optimizationproblems, constant 1a"
# date = "2026-08"
# honesty = -1.51439
# honesty_label = "gradient descent from 5 random starts, a second; Matolcsi and Vinuesa (2010): -1.50992"
# baseline = "descent"
# ///

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import funsearch
import numpy as np

STARTS, STEPS, RATE = 5, 4000, 0.05
UNIT = 2**30
"""Values are rounded to multiples of the largest over so many."""


@funsearch.run
def evaluate(most_steps: int) -> float:
    """Return minus the peak of the autoconvolution of `density`, for the integral 1."""
    return value_of(density(most_steps), most_steps)


def value_of(density: Sequence[float], most_steps: int) -> float:
    """Return minus the peak of the autoconvolution of a step function, for the integral 1."""
    values = [float(value) for value in density]
    if not 1 <= len(values) <= most_steps:
        raise ValueError(f"density must return 1 to {most_steps} values, got {len(values)}")
    if not all(0 <= value < math.inf for value in values) or max(values) == 0:
        raise ValueError("the values of the density must be 0 or more, finite, and not all 0")
    return -float(peak([round(Fraction(value) / Fraction(max(values)) * UNIT) for value in values]))


def peak(heights: list[int]) -> Fraction:
    """Return the largest value of the autoconvolution, exactly, over the square of the integral.

    With n steps of width w = 1/2n, it is w times the largest sum of products over w² times the square of the sum.
    """
    steps, total = len(heights), sum(heights)
    mass = np.array(heights, dtype=object)
    pairs = [mass[max(0, k - steps + 1) : k + 1] for k in range(2 * steps - 1)]
    return Fraction(2 * steps * max(part @ part[::-1] for part in pairs), total**2)


def descent(most_steps: int) -> float:
    """Return the best score of some random step functions after gradient descent on a smoothed peak."""
    draw, found = np.random.default_rng(1), []
    for _ in range(STARTS):

        def gradient(logs: np.ndarray, progress: float) -> np.ndarray:
            shares = np.exp(logs) / np.exp(logs).sum()
            heights = 2 * most_steps * np.convolve(shares, shares)
            weights = np.exp(30 * 100**progress * (heights - heights.max()))
            slope = 4 * most_steps * np.convolve(weights / weights.sum(), shares[::-1], "valid")
            return shares * (slope - slope @ shares)

        logs = descend(0.3 * draw.normal(size=most_steps), gradient)
        found.append(value_of(np.exp(logs - logs.max()).tolist(), most_steps))
    return max(found)


def descend(x: np.ndarray, gradient: Callable[[np.ndarray, float], np.ndarray]) -> np.ndarray:
    """Descend by Adam with a rate that falls to 0; `gradient` is also told the progress, from 0 to 1."""
    mean, square = np.zeros_like(x), np.zeros_like(x)
    for step in range(1, STEPS + 1):
        slope = gradient(x, step / STEPS)
        mean, square = 0.9 * mean + 0.1 * slope, 0.99 * square + 0.01 * slope**2
        size = np.sqrt(square / (1 - 0.99**step)) + 1e-12
        x = x - RATE * (1 - step / STEPS) * mean / (1 - 0.9**step) / size
    return x


@funsearch.draw
def picture(most_steps: int) -> str:
    """Draw the step function, scaled to the integral 1, and its autoconvolution."""
    values = np.array([float(value) for value in density(most_steps)])
    highest = -value_of(values.tolist(), most_steps)
    steps = len(values)
    values *= 2 * steps / values.sum()
    edges = np.linspace(-0.25, 0.25, steps + 1)
    convolved = [0, *np.convolve(values, values) / (2 * steps), 0]
    drawing = funsearch.svg.Picture(
        420, 300, f"A step function of {steps} steps; its autoconvolution reaches {highest:.6f}"
    )
    corners = zip(np.repeat(edges, 2)[1:-1], np.repeat(values, 2), strict=True)
    places = np.linspace(-0.5, 0.5, 2 * steps + 1)
    curves = {"the function f(x)": corners, "f convolved with itself": zip(places, convolved, strict=True)}
    drawing.plot(curves, x_label=f"x; peak {highest:.6f}")
    return str(drawing)


@funsearch.evolve
def density(most_steps: int) -> list[float]:
    """Return the step function.

    Args:
        most_steps: How many steps are allowed.

    Returns:
        Its value on each step, 0 or more; a common factor makes no difference.
    """
    return [1.0] * most_steps
