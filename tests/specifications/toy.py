"""Guess a number: the nearer to 10, the higher the score."""
# /// script
# [tool.overnight]
# title = "Guess a number"
# inputs = [0, 1]
# sandbox.confirm = "never"
#
# [tool.overnight.search]
# prompts = 3
# samples = 2
# prune = 0
# algorithm = {islands = 3, reset_generations = 2}
#
# [tool.overnight.tuner]
# enabled = false
#
# [tool.overnight.limits]
# wall_s = 2
# memory_mib = 128
# ///

import funsearch


@funsearch.run
def evaluate(offset: int) -> float:
    """Minus the distance from 10."""
    return -abs(guess(offset) - 10.0 - offset)


@funsearch.evolve
def guess(offset: int) -> float:
    """A number."""
    return offset + 1.0
