"""Sorting networks: sort n numbers with as few comparators as you can.

A comparator (i, j) with i < j swaps what is on the lines i and j if it is the wrong way round. The network is built one
comparator at a time, until every input is sorted, which is looked at for all 2^n inputs of 0 and 1. Improve `priority`.
It is called once a step with all comparators that would still change something, as arrays, and returns one number for
each; the one with the highest is added.

Comparators that share no line work at the same time, in a layer. Few layers are a second objective: the front of a run
has the programs with the fewest comparators for their layers.
"""
# /// script
# dependencies = ["numpy"]
#
# [tool.overnight]
# title = "Sorting networks, 4 to 9 lines"
# origin = "Knuth, TAOCP 3, 1973"
# inputs = [4, 5, 6, 7, 8, 9]
# reducer = "sum"
# score_name = "minus the comparators of the networks for 4 to 9 lines"
#
# [tool.overnight.objectives]
# metrics = {layers = "minimize"}
#
# [tool.overnight.limits]
# wall_s = 10
# memory_mib = 512
#
# [tool.overnight.known]
# start = -116
# best = -86
# label = "5, 9, 12, 16, 19 and 25 comparators"
# source = "Codish, Cruz-Filipe, Frank, Schneider-Kamp: Twenty-Five Comparators is Optimal when Sorting Nine Inputs"
# date = "2014-05-22"
# proven = true
# honesty = -97
# honesty_label = "the comparator that swaps the largest share, the widest of those"
# baseline = "largest_share"
# ///

import itertools
from collections.abc import Callable

import funsearch
import numpy as np


@funsearch.run
def evaluate(n: int) -> dict[str, int]:
    """Return minus the number of comparators of the network for n lines, and its layers."""
    network = build(n, priority)
    check(network, n)
    return {"score": -len(network), "layers": layers(network, n)}


def largest_share(n: int) -> int:
    """Return the score of the comparator that swaps the largest share, of those the widest."""
    network = build(n, lambda low, high, swaps, n, _: swaps + (high - low) / (1000 * n))
    check(network, n)
    return -len(network)


def build(n: int, priority: Callable[..., np.ndarray]) -> list[tuple[int, int]]:
    """Add comparators by priority, until all that can be on the lines is sorted."""
    states = np.array(list(itertools.product((0, 1), repeat=n)), dtype=np.int8)
    low, high = np.array(list(itertools.combinations(range(n), 2))).T
    network: list[tuple[int, int]] = []
    while True:
        swaps = np.count_nonzero(states[:, low] > states[:, high], axis=0)
        useful = np.nonzero(swaps)[0]
        if not useful.size:
            return network
        priorities = priority(low[useful], high[useful], swaps[useful] / len(states), n, len(network))
        priorities = np.asarray(priorities, dtype=float)
        if priorities.shape != useful.shape:
            raise ValueError(f"priority must return one number for each of {useful.size} comparators")
        best = useful[np.argmax(priorities)]
        network.append((int(low[best]), int(high[best])))
        states = np.unique(compared(states, *network[-1]), axis=0)


def layers(network: list[tuple[int, int]], n: int) -> int:
    """Return the number of layers, where each comparator is in the first one after all that share a line with it."""
    latest = [0] * n
    for i, j in network:
        latest[i] = latest[j] = max(latest[i], latest[j]) + 1
    return max(latest)


def compared(states: np.ndarray, i: int, j: int) -> np.ndarray:
    """Return what is on the lines after one comparator, shape (inputs, lines)."""
    after = states.copy()
    after[:, i], after[:, j] = np.minimum(states[:, i], states[:, j]), np.maximum(states[:, i], states[:, j])
    return after


def check(network: list[tuple[int, int]], n: int) -> None:
    """Sort every input of 0 and 1; a network that sorts those sorts everything."""
    if not all(0 <= i < j < n for i, j in network):
        raise ValueError(f"not all are comparators (i, j) with 0 <= i < j < {n}")
    states = np.array(list(itertools.product((0, 1), repeat=n)), dtype=np.int8)
    after = states
    for i, j in network:
        after = compared(after, i, j)
    unsorted = np.any(after != np.sort(states, axis=1), axis=1)
    if unsorted.any():
        raise ValueError(f"the network does not sort {states[np.argmax(unsorted)].tolist()}")


@funsearch.draw
def picture(n: int) -> str:
    """Draw the network: lines from left to right, and a bar for each comparator, as far left as it can be."""
    network = build(n, priority)
    columns: list[list[tuple[int, int]]] = []
    for i, j in network:
        touching = [k for k, column in enumerate(columns) if any(not (j < a or b < i) for a, b in column)]
        if (at := touching[-1] + 1 if touching else 0) == len(columns):
            columns.append([])
        columns[at].append((i, j))
    title = f"A sorting network of {len(network)} comparators for {n} lines"
    drawing = funsearch.svg.Picture(40 + 22 * len(columns), 22 * n + 32, title)
    for line in range(n):
        drawing.line(10, 16 + 22 * line, 30 + 22 * len(columns), 16 + 22 * line, stroke=funsearch.svg.SOFT)
    for x, column in enumerate(columns):
        for i, j in column:
            drawing.line(30 + 22 * x, 16 + 22 * i, 30 + 22 * x, 16 + 22 * j, stroke=funsearch.svg.BLUE, stroke_width=2)
            for end in (i, j):
                drawing.circle(30 + 22 * x, 16 + 22 * end, 4, fill=funsearch.svg.BLUE)
    drawing.text(10, 22 * n + 24, f"{len(network)} comparators, {n} lines")
    return str(drawing)


@funsearch.evolve
def priority(low: np.ndarray, high: np.ndarray, swaps: np.ndarray, n: int, step: int) -> np.ndarray:
    """Return the priority of each comparator.

    Args:
        low: First line of each comparator, shape (comparators,).
        high: Second line of each, shape (comparators,).
        swaps: Share of what can be on the lines now that it would swap, above 0 and below 1, shape (comparators,).
        n: The number of lines.
        step: Comparators that are there already.

    Returns:
        One number for each comparator, shape (comparators,); the highest is added.
    """
    return -(high - low)
