"""Erdős's minimum overlap: spread mass so that it overlaps little with what is free, however it is shifted.

A step function h on the interval from 0 to 2 has values from 0 to 1 and the integral 1. Its overlap at a shift is the
integral of h(x) (1 - h(x + shift)) over all x for which both are in the interval; the largest overlap over all shifts
is to be small. Improve `density`, which returns the values of h on steps of equal width. They are scaled so that the
integral is 1, in whole numbers, and so is the overlap: it is linear between shifts by whole steps, so that these
decide. The best known is 0.380859; a constant has 0.5. Programs may import scipy, for its optimizers.
"""
# /// script
# dependencies = ["numpy", "scipy"]
#
# [tool.overnight]
# title = "Erdős's minimum overlap"
# origin = "AlphaEvolve, arXiv 2025"
# inputs = [200]
# score_name = "minus the largest overlap"
#
# [tool.overnight.limits]
# wall_s = 20
# memory_mib = 512
#
# [tool.overnight.known]
# start = -0.5
# best = -0.3808590568
# label = "lnzwz, 512 steps, proven in exact arithmetic; Hyra, 1024 steps, had 0.3808594"
# source = "doi 10.5281/zenodo.21327851; the line to 0.380868 is in github.com/teorth/optimizationproblems, constant 1b"
# date = "2026-07-14"
# honesty = -0.381288
# honesty_label = "gradient descent from 3 random starts, two seconds; Haugland (2016): -0.380927"
# baseline = "descent"
# ///

from collections.abc import Callable, Sequence
from fractions import Fraction

import funsearch
import numpy as np

STARTS, STEPS, RATE = 3, 2000, 0.02
UNIT = 2**30
"""Values are rounded to multiples of one part in so many."""


@funsearch.run
def evaluate(most_steps: int) -> float:
    """Return minus the largest overlap of `density`, over all shifts."""
    return value_of(density(most_steps), most_steps)


def value_of(density: Sequence[float], most_steps: int) -> float:
    """Return minus the largest overlap of a step function, over all shifts."""
    values = [float(value) for value in density]
    if not 1 <= len(values) <= most_steps:
        raise ValueError(f"density must return 1 to {most_steps} values, got {len(values)}")
    if not all(0 <= value <= 1 for value in values):
        raise ValueError("a value of the density is not from 0 to 1")
    return -float(largest_overlap([round(value * UNIT) for value in values]))


def largest_overlap(heights: list[int]) -> Fraction:
    """Return the largest overlap, exactly, of the step function with these relative heights.

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


def descent(most_steps: int) -> float:
    """Return the best score of some random step functions after gradient descent on a smoothed largest overlap."""
    draw, found = np.random.default_rng(1), []
    for _ in range(STARTS):

        def gradient(logits: np.ndarray, progress: float) -> np.ndarray:
            values = with_mean_half(logits)
            overlaps = np.convolve(values, 1 - values[::-1]) * 2 / most_steps
            weights = np.exp(100 * 100**progress * (overlaps - overlaps.max()))
            weights /= weights.sum()
            inner = slice(most_steps - 1, 2 * most_steps - 1)
            slope = np.convolve(weights, 1 - values)[inner] - np.convolve(weights[::-1], values)[inner]
            give = values * (1 - values)
            return give * (slope - slope @ give / give.sum())

        bump = np.cos(np.linspace(-np.pi, np.pi, most_steps))
        logits = descend(bump + 0.3 * draw.normal(size=most_steps), gradient)
        found.append(value_of((0.999999 * with_mean_half(logits) + 0.0000005).tolist(), most_steps))
    return max(found)


def with_mean_half(logits: np.ndarray) -> np.ndarray:
    """Return values from 0 to 1 with the mean 1/2, by bisection."""
    low, high = -50.0, 50.0
    for _ in range(50):
        middle = (low + high) / 2
        too_high = np.mean(1 / (1 + np.exp(-logits - middle))) > 0.5
        low, high = (low, middle) if too_high else (middle, high)
    return 1 / (1 + np.exp(-logits - low))


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
    """Draw the step function, scaled to the integral 1, and its overlap at each shift."""
    values = np.array([float(value) for value in density(most_steps)])
    largest = -value_of(values.tolist(), most_steps)
    steps = len(values)
    values *= steps / (2 * values.sum())
    edges = np.linspace(0, 2, steps + 1)
    overlaps = np.correlate(1 - values, values, "full") * 2 / steps
    shifts = np.linspace(-2, 2, 2 * steps + 1)[1:-1]
    drawing = funsearch.svg.Picture(420, 300, f"A step function of {steps} steps; its largest overlap is {largest:.6f}")
    corners = zip(np.repeat(edges, 2)[1:-1], np.repeat(values, 2), strict=True)
    curves = {"the function h(x)": corners, "overlap at a shift x": zip(shifts, overlaps, strict=True)}
    drawing.plot(curves, x_label=f"x; largest overlap {largest:.6f}")
    return str(drawing)


@funsearch.evolve
def density(most_steps: int) -> list[float]:
    """Return the step function.

    Args:
        most_steps: How many steps are allowed.

    Returns:
        Its value on each step, from 0 to 1, on average about 0.5.
    """
    return [0.5] * most_steps
