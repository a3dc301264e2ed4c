"""Learn to add: `update` is told what was wrong, `guess` answers."""
# /// script
# [tool.overnight]
# title = "Learn to add"
# inputs = [1, 2]
# score_name = "minus the mean error"
#
# [tool.overnight.search]
# algorithm.islands = 2
# prompts = 4
# samples = 2
#
# [tool.overnight.tuner]
# enabled = false
#
# [tool.overnight.limits]
# wall_s = 2
# memory_mib = 128
# ///

import random

import funsearch


@funsearch.evolve
def guess(x: float, state: float) -> float:
    """What comes out for x."""
    return 0.0


@funsearch.run
def evaluate(seed: int) -> float:
    """Minus the error over ten draws after thirty to learn from."""
    draw, state, errors = random.Random(seed), 0.0, []
    for _ in range(40):
        x = draw.uniform(-1, 1)
        error = x + seed - guess(x, state)
        state = float(update(state, error))
        errors.append(abs(error))
    return -sum(errors[30:]) / 10


@funsearch.evolve
def update(state: float, error: float) -> float:
    """The state after an answer that was wrong by `error`."""
    return state
