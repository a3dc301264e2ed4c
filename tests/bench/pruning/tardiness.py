"""One machine: jobs with due dates and weights; little weighted tardiness is best."""
# /// script
# [tool.overnight]
# title = "Weighted tardiness"
# inputs = [1, 2, 3]
# validation = [101, 102, 103]
# held_out = [201, 202, 203, 204, 205, 206, 207, 208, 209, 210]
# show_inputs = false
# ///

import random

import funsearch


@funsearch.run
def evaluate(seed: int) -> float:
    """Minus the mean weighted tardiness."""
    draw = random.Random(seed)
    jobs = [(draw.randint(1, 50), draw.randint(1, 10), draw.randint(50, 900)) for _ in range(40)]
    now, late = 0, 0
    while jobs:
        job = max(jobs, key=lambda one: priority(float(one[0]), float(one[1]), float(one[2] - now)))
        jobs.remove(job)
        now += job[0]
        late += job[1] * max(0, now - job[2])
    return -late / 40


@funsearch.evolve
def priority(duration: float, weight: float, left: float) -> float:
    """The job with the highest number comes next; `left` is the time until it is due."""
    return -left
