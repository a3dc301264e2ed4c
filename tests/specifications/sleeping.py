"""Pack bins; every evaluation takes a time of sleep, so that many fit on few processors."""
# /// script
# [tool.overnight]
# title = "Asleep"
# inputs = [0.4]
#
# [tool.overnight.tuner]
# enabled = false
#
# [tool.overnight.limits]
# wall_s = 20
# memory_mib = 128
# ///

import random
import time

import funsearch


@funsearch.run
def evaluate(seconds: float) -> float:
    """Return minus the number of bins used, after some seconds."""
    time.sleep(seconds)
    sizes = random.Random(1)
    free: list[float] = []
    for _ in range(200):
        item = sizes.uniform(0.1, 0.7)
        fits = [place for place, room in enumerate(free) if room >= item]
        if fits:
            free[max(fits, key=lambda place: priority(item, free[place]))] -= item
        else:
            free.append(1.0 - item)
    return -len(free)


@funsearch.evolve
def priority(item: float, room: float) -> float:
    """Return the priority of putting an item into a bin with this much room."""
    return -(room - item) * 1.0 + 0.5
