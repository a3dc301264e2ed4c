"""Online bin packing: items arrive one at a time and each goes into a bin at once, for good; use few bins.

Improve `priority`. It is called once for every item with the sizes that are still free in the bins that can take it
(the last of them is a new, empty bin), and returns one number for each; the item goes into the bin with the highest.
Best Fit, the classic rule, takes the fullest bin. Item sizes are whole numbers from 1 to 100 that follow a Weibull
distribution (shape 3, scale 45), bins hold 100.
"""
# /// script
# dependencies = ["numpy"]
#
# [tool.overnight]
# title = "Online bin packing, Weibull items"
# origin = "FunSearch, Nature 2023"
# inputs = [[5000, 1], [5000, 2]]
# show_inputs = false
# validation = [[5000, 101], [5000, 102], [5000, 103], [5000, 104], [5000, 105]]
# held_out = [[5000, 201], [5000, 202], [5000, 203], [5000, 204], [5000, 205]]
# finalists = 30
# reducer = "mean"
# score_name = "minus the excess over the lower bound, %"
#
# [tool.overnight.search]
# algorithm = "tree"  # greedy search is stuck at rules of the wrong form
#
# [tool.overnight.limits]
# wall_s = 10
# memory_mib = 512
#
# [tool.overnight.known]
# start = -3.95129
# best = -0.68
# label = "FunSearch on Weibull 5k"
# split = "other"
# source = "Romera-Paredes et al., Nature 625 (2023), table 1"
# date = "2023-12-14"
# honesty = -0.994036
# honesty_held_out = -1.09507
# honesty_label = "Best Fit that leaves no rest from 3 to 34 if it can, tuned by a grid"
# baseline = "two_numbers"
# ///

import random
from collections.abc import Callable

import funsearch
import numpy as np

CAPACITY = 100


def draw_items(count: int, seed: int) -> list[int]:
    """Return one instance: `count` sizes, Weibull with shape 3 and scale 45, rounded and clipped to 1 … 100."""
    sizes = random.Random(seed)
    return [min(max(round(sizes.weibullvariate(45.0, 3.0)), 1), 100) for _ in range(count)]


def pack(items: list[int], priority: Callable[[float, np.ndarray], np.ndarray]) -> list[int]:
    """Return the bin of each item, chosen by a priority as the items arrive."""
    free = np.full(len(items), float(CAPACITY))
    opened = 0
    choices = []
    for item in items:
        fits = np.nonzero(free[: opened + 1] >= item)[0]
        priorities = np.asarray(priority(float(item), free[fits]), dtype=float)
        if priorities.shape != fits.shape:
            raise ValueError(
                f"priority must return one number for each of {fits.size} bins, got shape {priorities.shape}"
            )
        bin_index = int(fits[np.argmax(priorities)])
        free[bin_index] -= item
        opened = max(opened, bin_index + 1)
        choices.append(bin_index)
    return choices


def count_bins(items: list[int], choices: list[int]) -> int:
    """Return bins used, after packing again in whole numbers; an overfull bin is an error."""
    load: dict[int, int] = {}
    for item, bin_index in zip(items, choices, strict=True):
        load[bin_index] = load.get(bin_index, 0) + item
    if max(load.values()) > CAPACITY:
        raise ValueError("a bin is overfull")
    return len(load)


@funsearch.run
def evaluate(count: int, seed: int) -> float:
    """Return minus the excess of the bins used over the lower bound, in per cent."""
    return excess(count, seed, priority)


def excess(count: int, seed: int, priority: Callable[[float, np.ndarray], np.ndarray]) -> float:
    """Return the score of any priority."""
    items = draw_items(count, seed)
    lower_bound = -(-sum(items) // CAPACITY)
    return -100.0 * (count_bins(items, pack(items, priority)) / lower_bound - 1.0)


def two_numbers(count: int, seed: int) -> float:
    """Return the score of Best Fit that avoids rests between two numbers, which are hard to fill."""
    tight, loose = 2, 35  # tuned by a grid on seeds that are in no split

    def rule(item: float, bins: np.ndarray) -> np.ndarray:
        rest = bins - item
        return np.where(rest <= tight, CAPACITY, np.where(rest < loose, -CAPACITY, 0)) - rest

    return excess(count, seed, rule)


@funsearch.inputs
def fresh(seed: int) -> list[int]:
    """Return the number of items of an input, and its seed."""
    return [5000, seed]


@funsearch.draw
def picture(count: int, seed: int) -> str:
    """Draw the bins in the order in which they were opened, each with its items; empty space is wasted."""
    items = draw_items(count, seed)
    choices = pack(items, priority)
    bins = count_bins(items, choices)
    lower_bound = -(-sum(items) // CAPACITY)
    per_row = min(bins, 300)
    rows = -(-bins // per_row)
    height, width = 90 if rows == 1 else 50, 360 / per_row
    title = f"{count} items in {bins} bins; no way to pack them needs fewer than {lower_bound}"
    drawing = funsearch.svg.Picture(380, rows * (height + 10) + 36, title)
    load, shades = [0] * (max(choices) + 1), ([], [])
    placed = [0] * len(load)
    for item, one in zip(items, choices, strict=True):
        x, y = 10 + one % per_row * width, 10 + one // per_row * (height + 10) + height
        top, tall = y - height * (load[one] + item) / CAPACITY, height * item / CAPACITY
        wide = f"{0.9 * width:.2f}"
        shades[placed[one] % 2].append(f"M{x:.1f} {top:.1f}h{wide}v{tall:.1f}h-{wide}z")
        load[one], placed[one] = load[one] + item, placed[one] + 1
    for shade, opacity in zip(shades, (0.9, 0.6), strict=True):
        drawing.add("path", d="".join(shade), fill=funsearch.svg.BLUE, fill_opacity=opacity)
    for row in range(rows):
        y, right = 10 + row * (height + 10), 10 + min(per_row, bins - row * per_row) * width
        drawing.line(10, y, right, y, stroke=funsearch.svg.ORANGE, stroke_width=0.7)
    drawing.text(10, rows * (height + 10) + 26, f"{bins} bins, at least {lower_bound} are needed")
    return str(drawing)


@funsearch.evolve
def priority(item: float, bins: np.ndarray) -> np.ndarray:
    """Return the priority of each bin for an item.

    Args:
        item: Size of the item.
        bins: Free size of each bin that can take it, shape (bins,).

    Returns:
        One number for each bin, shape (bins,); the highest takes the item.
    """
    return -(bins - item)
