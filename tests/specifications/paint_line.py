"""Paint shop: whenever the line is free, choose which of the waiting jobs is painted next; few late jobs, weighted.

Improve `urgency`. It is called for each waiting job when the line is free, and the job with the highest number is
painted next, without interruption. A job of another colour than the one before needs the line to be cleaned first,
which takes longer from a dark colour (high number) to a light one. Later jobs arrive while the line works.
The score is minus the weighted lateness of all jobs, in hours per job.
"""
# /// script
# dependencies = []
#
# [tool.overnight]
# title = "Paint line"
# score_name = "minus the weighted lateness, hours a job"
# inputs = [[120, 1], [120, 2], [120, 3], [120, 4], [120, 5], [120, 6]]
# show_inputs = false
# validation = [[120, 101], [120, 102], [120, 103], [120, 104], [120, 105], [120, 106], [120, 107], [120, 108],
#               [120, 109], [120, 110], [120, 111], [120, 112], [120, 113], [120, 114], [120, 115], [120, 116]]
# held_out = [[120, 201], [120, 202], [120, 203], [120, 204], [120, 205], [120, 206], [120, 207], [120, 208],
#             [120, 209], [120, 210], [120, 211], [120, 212], [120, 213], [120, 214], [120, 215], [120, 216],
#             [120, 217], [120, 218], [120, 219], [120, 220], [120, 221], [120, 222], [120, 223], [120, 224]]
# reducer = "mean"
#
# [tool.overnight.search]
# prompts = 24
# samples = 2
#
# [tool.overnight.limits]
# wall_s = 5
# memory_mib = 512
# ///

import math
import random

import funsearch

COLOURS = 6


def cleaning(before: int, after: int) -> float:
    """Return the hours of cleaning between two colours."""
    return 0.0 if before == after else 0.3 + (0.25 * (before - after) if before > after else 0.0)


def draw_jobs(count: int, seed: int) -> list[tuple[float, float, float, float, int]]:
    """Return jobs by arrival: when it arrives, hours of work, when it is due, weight, colour."""
    drawn = random.Random(seed)
    now, jobs = 0.0, []
    for _ in range(count):
        now += drawn.expovariate(0.82)
        work = 0.2 + drawn.expovariate(1 / 0.6)
        jobs.append(
            (
                now,
                work,
                now + work + drawn.uniform(0.5, 9.0),
                drawn.choice([1.0, 1.0, 2.0, 5.0]),
                drawn.randrange(COLOURS),
            )
        )
    return jobs


@funsearch.run
def evaluate(count: int, seed: int) -> float:
    """Return minus the weighted lateness of all jobs, hours a job."""
    jobs, waiting, late = draw_jobs(count, seed), [], 0.0
    now, colour, coming = 0.0, 0, 0
    while coming < count or waiting:
        if not waiting:
            now = max(now, jobs[coming][0])
        while coming < count and jobs[coming][0] <= now:
            waiting.append(jobs[coming])
            coming += 1
        same = [0] * COLOURS
        for job in waiting:
            same[job[4]] += 1
        mean_work = sum(job[1] for job in waiting) / len(waiting)
        wishes = [
            float(urgency(work, due - now, weight, cleaning(colour, paint), same[paint], len(waiting), mean_work))
            for _, work, due, weight, paint in waiting
        ]
        if not all(math.isfinite(wish) for wish in wishes):
            raise ValueError(f"urgency returned {wishes}: every number must be finite")
        _, work, due, weight, paint = waiting.pop(max(range(len(wishes)), key=wishes.__getitem__))
        now += cleaning(colour, paint) + work
        colour = paint
        late += weight * max(0.0, now - due)
    return -late / count


@funsearch.inputs
def drawn(seed: int) -> list[int]:
    """Return an input for a seed."""
    return [120, 1_000_000 + seed]


@funsearch.evolve
def urgency(
    work: float, left: float, weight: float, cleaning: float, same_colour: int, waiting: int, mean_work: float
) -> float:
    """Return how urgent a waiting job is.

    Args:
        work: Hours that painting it takes.
        left: Hours until it is due; negative if it is late already.
        weight: Weight of its lateness, 1, 2 or 5.
        cleaning: Hours of cleaning before it, 0 for the line's present colour.
        same_colour: Number of waiting jobs of its colour, itself included.
        waiting: Number of waiting jobs.
        mean_work: Mean hours of work of the waiting jobs.
    """
    return -left
