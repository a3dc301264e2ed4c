"""Shannon capacity of cycles: choose as many words of n letters as you can, no two of which can be mistaken.

Letters are 0 … m - 1 on a circle, and a letter can be mistaken for itself and its two neighbours; words can be mistaken
if in every place their letters can. So this is a large independent set in the n-th strong power of the cycle with m
nodes. Improve `priority`. All words are sorted by it, highest first, and taken in that order whenever they cannot be
mistaken for one that was taken before. For m = 11 and n = 4 the best known is 754.
"""
# /// script
# dependencies = ["numpy"]
#
# [tool.overnight]
# title = "Independent set in the 4th power of the 11-cycle"
# origin = "FunSearch, Nature 2023"
# inputs = [[11, 4]]
# score_name = "size of the independent set"
#
# [tool.overnight.limits]
# wall_s = 30
# memory_mib = 1024
#
# [tool.overnight.known]
# start = 625
# best = 754
# label = "FunSearch, 11-cycle to the 4th"
# source = "Romera-Paredes et al., Nature 625 (2023)"
# date = "2023-12-14"
# honesty = 625
# honesty_label = "greedy with a constant priority"
# baseline = "evaluate"
# ///

import itertools

import funsearch
import numpy as np


@funsearch.run
def evaluate(num_nodes: int, n: int) -> int:
    """Return the size of the independent set that `priority` leads to."""
    words = solve(num_nodes, n)
    check(words, num_nodes, n)
    return len(words)


def solve(num_nodes: int, n: int) -> np.ndarray:
    """Take words by priority while they are an independent set; return it, shape (size, n)."""
    words = np.array(list(itertools.product(range(num_nodes), repeat=n)))
    powers = num_nodes ** np.arange(n - 1, -1, -1)
    nearby = np.array(list(itertools.product((-1, 0, 1), repeat=n)))
    priorities = np.array([priority(tuple(word), num_nodes, n) for word in words.tolist()], dtype=float)
    free = np.ones(len(words), dtype=bool)
    chosen = []
    for index in np.argsort(-priorities, kind="stable"):
        if free[index]:
            free[(nearby + words[index]) % num_nodes @ powers] = False
            chosen.append(words[index])
    return np.array(chosen)


def check(words: np.ndarray, num_nodes: int, n: int) -> None:
    """Look at every pair in whole numbers; an error if two are near each other in every place."""
    if words.ndim != 2 or words.shape[1] != n or words.min() < 0 or words.max() >= num_nodes:
        raise ValueError(f"not all are words of {n} letters from 0 to {num_nodes - 1}")
    for index, word in enumerate(words):
        apart = (words[index + 1 :] - word) % num_nodes
        near = np.all(np.minimum(apart, num_nodes - apart) <= 1, axis=1)
        if near.any():
            raise ValueError(f"{word.tolist()} and {words[index + 1 + np.argmax(near)].tolist()} can be mistaken")


@funsearch.draw
def picture(num_nodes: int, n: int) -> str:
    """Draw the words as a grid: the first half of a word's letters is its row, the second half its column."""
    words = solve(num_nodes, n)
    rows, columns = num_nodes ** (n // 2), num_nodes ** (n - n // 2)
    side = 360 / columns
    title = f"An independent set of {len(words)} words of {n} letters from {num_nodes} on a circle"
    drawing = funsearch.svg.Picture(380, rows * side + 40, title)
    for k in range(1, num_nodes):
        x, y = 10 + 360 * k / num_nodes, 10 + rows * side * k / num_nodes
        drawing.line(x, 10, x, 10 + rows * side, stroke=funsearch.svg.SOFT, stroke_width=0.4)
        drawing.line(10, y, 370, y, stroke=funsearch.svg.SOFT, stroke_width=0.4)
    numbers = words @ num_nodes ** np.arange(n - 1, -1, -1)
    drawing.squares([(10 + k % columns * side, 10 + k // columns * side) for k in numbers], side)
    drawing.rect(10, 10, 360, rows * side, stroke=funsearch.svg.SOFT)
    drawing.text(10, rows * side + 30, f"{len(words)} of {num_nodes**n} words")
    return str(drawing)


@funsearch.evolve
def priority(el: tuple[int, ...], num_nodes: int, n: int) -> float:
    """Return the priority with which a word is taken into the set.

    Args:
        el: The word, n letters from 0 to num_nodes - 1.
        num_nodes: The number of letters, on a circle.
        n: The length of a word.

    Returns:
        A number; words with higher ones are tried first.
    """
    return 0.0
