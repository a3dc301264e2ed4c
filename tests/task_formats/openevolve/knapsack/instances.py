"""Seeded instances."""

import random


def instance(number, size):
    drawn = random.Random(number)
    return [(drawn.randint(1, 50), drawn.randint(1, 100)) for _ in range(size)], 10 * size
