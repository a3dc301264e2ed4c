"""A knapsack: items are taken in the order of a priority, as far as they fit."""
# /// script
# [tool.overnight]
# title = "Knapsack"
# inputs = [1, 2, 3]
# validation = [101, 102, 103]
# held_out = [201, 202, 203, 204, 205, 206, 207, 208, 209, 210]
# show_inputs = false
# ///

import random

import funsearch


@funsearch.run
def evaluate(seed: int) -> float:
    """Value of what was taken, % of all."""
    draw = random.Random(seed)
    items = [(draw.uniform(1, 100), draw.uniform(1, 50), draw.uniform(1, 50)) for _ in range(120)]
    weight_left = volume_left = 800.0
    taken = 0.0
    for value, weight, volume in sorted(items, key=lambda item: -priority(*item)):
        if weight <= weight_left and volume <= volume_left:
            weight_left, volume_left, taken = weight_left - weight, volume_left - volume, taken + value
    return 100.0 * taken / sum(value for value, _, _ in items)


@funsearch.evolve
def priority(value: float, weight: float, volume: float) -> float:
    """Items with a high number are taken first."""
    return value
