"""Packs a knapsack greedily."""


# EVOLVE-BLOCK-START
def worth(weight, value):
    """How much we want an item; the most wanted that fits is taken next."""
    return value * 1.0 - weight * 0.0


# EVOLVE-BLOCK-END


def pack(items, capacity):
    chosen, room = [], capacity
    for number, (weight, _) in sorted(enumerate(items), key=lambda item: -worth(*item[1])):
        if weight <= room:
            chosen.append(number)
            room -= weight
    return chosen
