"""Jobs for five machines of different speeds, in the order in which they come."""
# /// script
# [tool.overnight]
# title = "Machines of different speeds"
# inputs = [1, 2, 3]
# validation = [101, 102, 103]
# held_out = [201, 202, 203, 204, 205, 206, 207, 208, 209, 210]
# show_inputs = false
# ///

import random

import funsearch


@funsearch.run
def evaluate(seed: int) -> float:
    """Minus the excess of the makespan over the mean load, %."""
    draw = random.Random(seed)
    speeds = [draw.uniform(1, 3) for _ in range(5)]
    jobs = [draw.uniform(1, 10) for _ in range(60)]
    loads = [0.0] * 5
    for size in jobs:
        chosen = max(range(5), key=lambda one: priority(size, loads[one], speeds[one], max(loads)))
        loads[chosen] += size / speeds[chosen]
    mean = sum(jobs) / sum(speeds)
    return -100.0 * (max(loads) - mean) / mean


@funsearch.evolve
def priority(size: float, load: float, speed: float, longest: float) -> float:
    """The machine with the highest number gets the job: its size, load and speed of the machine, longest load."""
    return -load
