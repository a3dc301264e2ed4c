"""Approximates the cosine."""


# EVOLVE-BLOCK-START
def approximate(x):
    return 1.0 - x * x / 2.0


# EVOLVE-BLOCK-END
