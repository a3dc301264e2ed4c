"""A job shop: 10 jobs with 8 operations on machines of their own order; the shortest schedule is best."""
# /// script
# [tool.overnight]
# title = "Job shop"
# inputs = [1, 2, 3]
# validation = [101, 102, 103]
# held_out = [201, 202, 203, 204, 205, 206, 207, 208, 209, 210]
# show_inputs = false
# ///

import random

import funsearch


@funsearch.run
def evaluate(seed: int) -> float:
    """Minus the excess of the makespan over the longest load, %."""
    draw = random.Random(seed)
    jobs = [[(machine, draw.randint(1, 30)) for machine in draw.sample(range(8), 8)] for _ in range(10)]
    loads = [sum(time for job in jobs for at, time in job if at == machine) for machine in range(8)]
    bound = max([*loads, *(sum(time for _, time in job) for job in jobs)])
    ready, free, place = [0] * 10, [0] * 8, [0] * 10
    while open_jobs := [number for number in range(10) if place[number] < 8]:
        starts = {one: max(ready[one], free[jobs[one][place[one]][0]]) for one in open_jobs}
        soonest = min(start + jobs[one][place[one]][1] for one, start in starts.items())
        able = [one for one, start in starts.items() if start < soonest]

        ranks = {}
        for one in able:
            times = [float(time) for _, time in jobs[one][place[one] :]]
            ranks[one] = priority(times[0], sum(times), float(len(times)), float(starts[one]))
        chosen = max(able, key=ranks.__getitem__)
        machine, time = jobs[chosen][place[chosen]]
        ready[chosen] = free[machine] = starts[chosen] + time
        place[chosen] += 1
    return -100.0 * (max(ready) - bound) / bound


@funsearch.evolve
def priority(duration: float, work: float, operations: float, start: float) -> float:
    """The job with the highest number is next: time of its operation, of all that are left, their number, its start."""
    return -duration
