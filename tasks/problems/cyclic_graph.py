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
    """The size of the independent set that `priority` leads to."""
    words = solve(num_nodes, n)
    check(words, num_nodes, n)
    return len(words)


def solve(num_nodes: int, n: int) -> np.ndarray:
    """An independent set, shape (size, n): words are taken by priority, as long as it stays one."""
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
    """Looks at every pair in whole numbers; an error if two are near each other in every place."""
    if words.ndim != 2 or words.shape[1] != n or words.min() < 0 or words.max() >= num_nodes:
        raise ValueError(f"not all are words of {n} letters from 0 to {num_nodes - 1}")
    for index, word in enumerate(words):
        apart = (words[index + 1 :] - word) % num_nodes
        near = np.all(np.minimum(apart, num_nodes - apart) <= 1, axis=1)
        if near.any():
            raise ValueError(f"{word.tolist()} and {words[index + 1 + np.argmax(near)].tolist()} can be mistaken")


@funsearch.evolve
def priority(el: tuple[int, ...], num_nodes: int, n: int) -> float:
    """How early we want to take a word into the set.

    Args:
        el: The word, n letters from 0 to num_nodes - 1.
        num_nodes: The number of letters, on a circle.
        n: The length of a word.

    Returns:
        A number; words with higher ones are tried first.
    """
    return 0.0
