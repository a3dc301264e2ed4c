"""A tour through points of a square: the next one is chosen by a priority."""
# /// script
# [tool.overnight]
# title = "Tour"
# inputs = [1, 2, 3]
# validation = [101, 102, 103]
# held_out = [201, 202, 203, 204, 205, 206, 207, 208, 209, 210]
# show_inputs = false
# ///

import random

import funsearch


@funsearch.run
def evaluate(seed: int) -> float:
    """Minus the length of the tour."""
    draw = random.Random(seed)
    left = [complex(draw.random(), draw.random()) for _ in range(50)]
    here = first = left.pop()
    length = 0.0
    while left:
        ranks = {}
        for point in left:
            others = sum(abs(point - one) for one in left) / len(left)
            ranks[point] = priority(abs(here - point), abs(first - point), others)
        following = max(left, key=ranks.__getitem__)
        left.remove(following)
        length += abs(here - following)
        here = following
    return -length - abs(here - first)


@funsearch.evolve
def priority(distance: float, home: float, others: float) -> float:
    """The point with the highest number is next: its distance, that to the first point, the mean one to the others."""
    return -others
