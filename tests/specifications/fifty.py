"""Pack bins; every evaluation takes 50 ms of processor time, so that the overhead of many can be measured."""
# /// script
# [tool.overnight]
# title = "Fifty milliseconds"
# inputs = [[200, 1]]
#
# [tool.overnight.tuner]
# enabled = false
#
# [tool.overnight.limits]
# wall_s = 5
# memory_mib = 256
# ///

import random
import time

import funsearch


@funsearch.run
def evaluate(count: int, seed: int) -> float:
    """Return minus the number of bins used; keep the processor busy until 50 ms are spent."""
    begin = time.process_time()
    sizes = random.Random(seed)
    free: list[float] = []
    for _ in range(count):
        item = sizes.uniform(0.1, 0.7)
        fits = [place for place, room in enumerate(free) if room >= item]
        if fits:
            free[max(fits, key=lambda place: priority(item, free[place]))] -= item
        else:
            free.append(1.0 - item)
    while time.process_time() - begin < 0.050:
        pass
    return -len(free)


@funsearch.evolve
def priority(item: float, room: float) -> float:
    """Return the priority of putting an item into a bin with this much room."""
    return -(room - item) * 1.0 + 0.5
