"""Return a number, the higher the better; every evaluation takes 50 ms of processor time."""
# /// script
# [tool.overnight]
# title = "Improving"
# inputs = [0]
#
# [tool.overnight.tuner]
# enabled = false
#
# [tool.overnight.limits]
# wall_s = 5
# memory_mib = 256
# ///

import time

import funsearch


@funsearch.run
def evaluate(_: int) -> float:
    """Return the number; keep the processor busy until 50 ms are spent."""
    begin = time.process_time()
    while time.process_time() - begin < 0.050:
        pass
    return float(number())


@funsearch.evolve
def number() -> float:
    """Return a number."""
    return 0.0
